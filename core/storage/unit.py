"""One piece of work's view of the database: reads go through, writes wait for the group's commit.

Writes of a unit that fails are simply dropped. Units of one group see each other's writes, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from core.storage.records import Key, Records, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa
    from sqlalchemy.engine.interfaces import DBAPICursor, Dialect

R = TypeVar("R", bound=msgspec.Struct)
_Cells = dict[Records[Any], dict[Key, "Cell"]]


class Cell:
    """A row as it is now (`None`: there is none) and as the database still has it."""

    __slots__ = ("dirty", "row", "stored")

    def __init__(self, row: Any, *, stored: bool, dirty: bool) -> None:
        self.row = row
        self.stored = stored
        self.dirty = dirty


class Group:
    """What the units of one commit have read and written."""

    def __init__(self, cursor: DBAPICursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self.cells: _Cells = {}
        self.after: list[Callable[[], None]] = []

    def cell(self, records: Records[Any], key: Key) -> Cell:
        """The row at this key, read once a group."""
        cells = self.cells.setdefault(records, {})
        found = cells.get(key)
        if found is None:
            self._cursor.execute(records.statements(self._dialect).select, key)
            values = self._cursor.fetchone()
            row = None if values is None else records.load(values)
            found = cells[key] = Cell(row, stored=row is not None, dirty=False)
        return found

    def query(self, statement: sa.ClauseElement, parameters: dict[str, Any]) -> list[Sequence[Any]]:
        """Rows of a query over everything that the group has written so far."""
        self.flush()
        sql, order = bind(statement, self._dialect)
        self._cursor.execute(sql, tuple(parameters[name] for name in order))
        return list(self._cursor.fetchall())

    def flush(self) -> None:
        """Execute each kind of statement once, with all its rows."""
        for records, cells in self.cells.items():
            inserts, upserts, deletes = [], [], []
            for key, cell in cells.items():
                if not cell.dirty:
                    continue
                cell.dirty = False
                if cell.row is None:
                    if cell.stored:
                        deletes.append(key)
                elif cell.stored:
                    upserts.append(msgspec.structs.astuple(cell.row))
                else:
                    inserts.append(msgspec.structs.astuple(cell.row))
                cell.stored = cell.row is not None
            statements = records.statements(self._dialect)
            for sql, rows in ((statements.delete, deletes), (statements.insert, inserts), (statements.upsert, upserts)):
                if rows:
                    self._cursor.executemany(sql, rows)


class Unit:
    """What one piece of work reads and writes. `now`: milliseconds since 1970."""

    def __init__(self, group: Group, now: int, outer: Unit | None = None) -> None:
        self._group = group
        self._outer = outer
        self._rows: dict[Records[Any], dict[Key, Any]] = {}
        self._after: list[Callable[[], None]] = []
        self._new: set[tuple[Records[Any], Key]] = set()
        self.now = now

    def get(self, records: Records[R], *key: Any) -> R | None:
        """The row at this key, or None."""
        mine = self._rows.get(records)
        if mine is not None and key in mine:
            return cast("R | None", mine[key])
        if self._outer is not None:
            return self._outer.get(records, *key)
        return cast("R | None", self._group.cell(records, key).row)

    def put(self, records: Records[R], row: R) -> None:
        """Insert the row, or put it in place of the one with the same key."""
        self._rows.setdefault(records, {})[records.key_of(row)] = row

    def add(self, records: Records[R], row: R) -> None:
        """Insert a row whose key is known to be new (a fresh identifier): nothing is read first; the database refuses a double."""
        key = records.key_of(row)
        self._rows.setdefault(records, {})[key] = row
        self._new.add((records, key))

    def remove(self, records: Records[R], *key: Any) -> None:
        """Delete the row at this key, if there is one."""
        self._rows.setdefault(records, {})[key] = None

    def nested(self) -> Unit:
        """A unit inside this one, for a part that may fail by itself: `merge` it or forget it."""
        return Unit(self._group, self.now, self)

    def query(self, statement: sa.ClauseElement, **parameters: Any) -> list[Sequence[Any]]:
        """Rows of a query; sees what earlier units of the group wrote, not what this one has written."""
        return self._group.query(statement, parameters)

    def after(self, action: Callable[[], None]) -> None:
        """Run on the event loop once the commit is durable; dropped if it fails."""
        self._after.append(action)

    def merge(self) -> None:
        """Hand this unit's writes outwards: to the unit around it, or to the group (the writer does that)."""
        if self._outer is not None:
            for records, rows in self._rows.items():
                self._outer._rows.setdefault(records, {}).update(rows)  # noqa: SLF001 - the same class
            self._outer._new |= self._new  # noqa: SLF001
            self._outer._after += self._after  # noqa: SLF001
            return
        for records, rows in self._rows.items():
            cells = self._group.cells.setdefault(records, {})
            for key, row in rows.items():
                if (records, key) in self._new and key not in cells:
                    cells[key] = Cell(row, stored=False, dirty=True)
                    continue
                cell = self._group.cell(records, key)
                cell.row = row
                cell.dirty = True
        self._group.after.extend(self._after)
