"""One piece of work's view of the database: reads go through, writes wait for the group's commit.

Writes of a unit that fails are simply dropped. Units of one group see each other's writes, in
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from core.storage.records import Key, Records, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa
    from sqlalchemy.engine.interfaces import DBAPICursor, Dialect

R = TypeVar("R", bound=msgspec.Struct)
_Cells = dict[Records[Any], dict[Key, "Cell"]]
Place = tuple[Records[Any], Key]
"""Where a row is: its table and its key."""

MOST_KEPT: Final = 4_000
"""How many rows a writer that has its database to itself remembers between commits."""


class Cell:
    """A row as it is now (`None`: there is none) and as the database still has it."""

    __slots__ = ("dirty", "row", "stored")

    def __init__(self, row: Any, *, stored: bool, dirty: bool) -> None:  # noqa: ANN401 - any table's
        self.row = row
        self.stored = stored
        self.dirty = dirty


class Group:
    """What the units of one commit have read and written."""

    def __init__(
        self, cursor: DBAPICursor, dialect: Dialect, kept: dict[Place, Any] | None = None
    ) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._kept = kept
        self.cells: _Cells = {}
        self.after: list[Callable[[], None]] = []
        self.wrote = False

    def cell(self, records: Records[Any], key: Key) -> Cell:
        """The row at this key, read once a group."""
        cells = self.cells.setdefault(records, {})
        found = cells.get(key)
        if found is None:
            row = self._kept.get((records, key)) if self._kept is not None else None
            if row is None:
                self._cursor.execute(records.statements(self._dialect).select, key)
                values = self._cursor.fetchone()
                row = None if values is None else records.load(values)
            found = cells[key] = Cell(row, stored=row is not None, dirty=False)
        return found

    def keep(self) -> None:
        """Remember, now that they are durable, the rows that this group has read and written."""
        kept = self._kept
        if kept is None:
            return
        for records, cells in self.cells.items():
            if not records.kept:
                continue
            for key, cell in cells.items():
                if cell.row is None:
                    kept.pop((records, key), None)
                else:
                    kept[records, key] = cell.row
        while len(kept) > MOST_KEPT:
            del kept[next(iter(kept))]

    def query(self, statement: sa.ClauseElement, parameters: dict[str, Any]) -> list[Sequence[Any]]:
        """Rows of a query over everything that the group has written so far."""
        self.flush()
        sql, order = bind(statement, self._dialect)
        self._cursor.execute(sql, tuple(parameters.get(name, given) for name, given in order))
        return list(self._cursor.fetchall())

    def flush(self) -> None:
        """Execute each kind of statement once, with all its rows."""
        for records, cells in self.cells.items():
            inserts: list[Key] = []
            upserts: list[Key] = []
            deletes: list[Key] = []
            for key, cell in cells.items():
                if not cell.dirty:
                    continue
                if cell.row is not None:
                    rows = upserts if cell.stored else inserts
                    rows.append(msgspec.structs.astuple(cell.row))
                elif cell.stored:
                    deletes.append(key)
                cell.dirty = False
                cell.stored = cell.row is not None
            self._execute(records, inserts, upserts, deletes)

    def _execute(
        self, records: Records[Any], inserts: list[Key], upserts: list[Key], deletes: list[Key]
    ) -> None:
        statements = records.statements(self._dialect)
        for sql, rows in (
            (statements.delete, deletes),
            (statements.insert, inserts),
            (statements.upsert, upserts),
        ):
            if rows:
                self.wrote = True
                self._cursor.executemany(sql, rows)


class Doubled(RuntimeError):
    """A row was added whose key is taken: what `Unit.add` was promised is not so."""


class Unit:
    """What one piece of work reads and writes. `now`: milliseconds since 1970."""

    def __init__(self, group: Group, now: int, outer: Unit | None = None) -> None:
        self._group = group
        self._outer = outer
        self._rows: dict[Records[Any], dict[Key, Any]] = {}
        self._after: list[Callable[[], None]] = []
        self._new: set[tuple[Records[Any], Key]] = set()
        self.now = now

    def get(self, records: Records[R], *key: Any) -> R | None:  # noqa: ANN401 - any table's
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
        """Insert a row whose key is known to be new (a fresh identifier).

        Nothing is read first; the database refuses a double.
        """
        key = records.key_of(row)
        mine = self._rows.setdefault(records, {})
        if key not in mine:
            self._new.add((records, key))
        elif mine[key] is not None:
            raise Doubled(records.table.name)
        mine[key] = row

    def remove(self, records: Records[R], *key: Any) -> None:  # noqa: ANN401 - any table's
        """Delete the row at this key, if there is one."""
        self._rows.setdefault(records, {})[key] = None

    def nested(self) -> Unit:
        """A unit inside this one, for a part that may fail by itself: `merge` it or forget it."""
        return Unit(self._group, self.now, self)

    def query(
        self,
        statement: sa.ClauseElement,
        **parameters: Any,  # noqa: ANN401 - any column's
    ) -> list[Sequence[Any]]:
        """Rows of a query; sees what earlier units of the group wrote, not what this one did."""
        return self._group.query(statement, parameters)

    def after(self, action: Callable[[], None]) -> None:
        """Run on the event loop once the commit is durable; dropped if it fails."""
        self._after.append(action)

    def merge(self) -> None:
        """Hand this unit's writes to the unit around it, or to the group (the writer does that)."""
        if self._outer is not None:
            self._merge_into(self._outer)
            return
        for records, rows in self._rows.items():
            cells = self._group.cells.setdefault(records, {})
            for key, row in rows.items():
                new = (records, key) in self._new
                if new and key not in cells:
                    cells[key] = Cell(row, stored=False, dirty=True)
                    continue
                cell = self._group.cell(records, key)
                if new and cell.row is not None:
                    raise Doubled(records.table.name)
                cell.row = row
                cell.dirty = True
        self._group.after.extend(self._after)

    def _merge_into(self, outer: Unit) -> None:
        for records, rows in self._rows.items():
            theirs = outer._rows.setdefault(records, {})
            for key, row in rows.items():
                new = (records, key) in self._new
                if new and theirs.get(key) is not None:
                    raise Doubled(records.table.name)
                if new and key not in theirs:
                    outer._new.add((records, key))
                theirs[key] = row
        outer._after += self._after
