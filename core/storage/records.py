"""Tables as frozen rows addressed by key.

SQLAlchemy Core writes the statements once; the writer executes them in groups.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_type_hints

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine.interfaces import Dialect

R = TypeVar("R", bound=msgspec.Struct)
Key = tuple[Any, ...]


class Statements:
    """The four statements of one table, compiled for one dialect, parameters by position."""

    __slots__ = ("delete", "insert", "select", "upsert")

    def __init__(self, table: sa.Table, key: tuple[str, ...], dialect: Dialect) -> None:
        names = [column.name for column in table.columns]
        where = sa.and_(*(table.c[name] == sa.bindparam(name) for name in key))
        values: dict[str, Any] = {name: sa.bindparam(name) for name in names}
        insert = (pg_insert if dialect.name == "postgresql" else sqlite_insert)(table).values(
            values
        )
        others = {name: insert.excluded[name] for name in names if name not in key}
        upsert = (
            insert.on_conflict_do_update(index_elements=list(key), set_=others)
            if others
            else insert
        )
        self.select = _text(sa.select(table).where(where), dialect)
        self.insert = _text(insert, dialect)
        self.upsert = _text(upsert, dialect)
        self.delete = _text(sa.delete(table).where(where), dialect)


def _text(clause: sa.ClauseElement, dialect: Dialect) -> str:
    return str(clause.compile(dialect=dialect))


class Records(Generic[R]):
    """One table.

    `row`: a frozen struct whose fields are the table's columns in the same order; `key`: its
    primary key.
    """

    def __init__(self, table: sa.Table, row: type[R], *, kept: bool = True) -> None:
        self.kept = kept
        self.table = table
        self.row = row
        self.fields = tuple(field.name for field in msgspec.structs.fields(row))
        if self.fields != tuple(column.name for column in table.columns):
            raise RuntimeError(f"{table.name}: the row's fields are not the table's columns")
        self.key = tuple(column.name for column in table.primary_key)
        take = attrgetter(*self.key)
        self._key_of: Callable[[R], Key] = take if len(self.key) > 1 else lambda row: (take(row),)
        hints = get_type_hints(row)
        kinds = [(at, _enum_of(hints[name])) for at, name in enumerate(self.fields)]
        self._enums = tuple((at, kind) for at, kind in kinds if kind is not None)
        self._statements: dict[str, Statements] = {}

    def statements(self, dialect: Dialect) -> Statements:
        """The table's statements for a dialect."""
        found = self._statements.get(dialect.name)
        if found is None:
            found = self._statements[dialect.name] = Statements(self.table, self.key, dialect)
        return found

    def load(self, values: Sequence[Any]) -> R:
        """A row from the driver's values, in column order."""
        if self._enums:
            listed = list(values)
            for at, kind in self._enums:
                if listed[at] is not None:
                    listed[at] = kind(listed[at])
            values = listed
        return self.row(*values)

    def key_of(self, row: R) -> Key:
        """The row's primary key."""
        return self._key_of(row)


def _enum_of(hint: object) -> type[StrEnum] | None:
    for kind in get_args(hint) or (hint,):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return kind
    return None


@lru_cache(maxsize=512)
def bind(statement: sa.ClauseElement, dialect: Dialect) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """SQL text, and its parameters in order.

    Each has its name and the value that the statement itself gives it.
    """
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    order: list[str] = list(getattr(compiled, "positiontup", None) or ())
    given: dict[str, Any] = dict(compiled.params or {})
    return str(compiled), tuple((name, given.get(name)) for name in order)
