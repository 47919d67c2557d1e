"""What a node has written down, read from beside it: rows, evidence, and that nothing changed."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from core.protocol.canonical import digest, unb64url
from core.protocol.message import Message

Row = dict[str, Any]
MOVING = {"last_seen", "confirmed_at"}
"""Columns that keep time; they are left out where contents are compared."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a node's chain of evidence."""

    position: int
    direction: str
    name: str
    message_id: str
    counterpart: str
    subject: str | None
    raw: bytes

    @property
    def digest(self) -> str:
        return digest(self.raw)

    @property
    def claims(self) -> dict[str, Any]:
        """What stands in the message, not checked."""
        return dict(json.loads(unb64url(self.raw.split(b".")[1])))

    @property
    def body(self) -> dict[str, Any]:
        return dict(self.claims["body"])


class Written:
    """A node's database, opened to read only and closed again each time."""

    def __init__(self, party: str, path: Path) -> None:
        self.party = party
        self.path = path

    def rows(self, sql: str, *values: object) -> list[Row]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    def row(self, sql: str, *values: object) -> Row:
        """The only row that there is."""
        found = self.rows(sql, *values)
        assert len(found) == 1, found
        return found[0]

    def count(self, table: str) -> int:
        return int(self.row(f"SELECT count(*) AS many FROM {table}")["many"])  # noqa: S608

    def setting(self, name: str) -> str:
        return str(self.row("SELECT value FROM settings WHERE name = ?", name)["value"])

    def entries(
        self,
        kind: type[Message] | None = None,
        *,
        direction: str | None = None,
        counterpart: str | None = None,
        subject: str | None = None,
        after: int = 0,
    ) -> list[Entry]:
        """Evidence, oldest first; of one type, one direction, one counterpart, one order."""
        wanted = {
            "name": kind.name if kind else None,
            "direction": direction,
            "counterpart": counterpart,
            "subject": subject,
        }
        given = {column: value for column, value in wanted.items() if value is not None}
        where = "".join(f" AND {column} = :{column}" for column in given)
        sql = (
            "SELECT position, direction, name, message_id, counterpart, subject, raw FROM evidence"  # noqa: S608
            f" WHERE position > :after{where} ORDER BY position"
        )
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            found = connection.execute(sql, {**given, "after": after}).fetchall()
        return [Entry(*values) for values in found]

    def head(self) -> int:
        """How many entries the chain of evidence has."""
        return int(self.row("SELECT coalesce(max(position), 0) AS head FROM evidence")["head"])

    def contents(self) -> dict[str, list[str]]:
        """Every row of the party's own tables and of its guarantees, without what keeps time."""
        tables = [*import_module(f"core.{self.party}.books").METADATA.tables, "guarantees"]
        return {table: self._table(table) for table in tables}

    def _table(self, table: str) -> list[str]:
        rows = self.rows(f"SELECT * FROM {table}")  # noqa: S608
        return sorted(
            repr([(name, value) for name, value in row.items() if name not in MOVING])
            for row in rows
        )


@contextmanager
def unchanged(*books: Written, but: Collection[str] = ()) -> Generator[None]:
    """What happens inside changes nothing that these parties keep, `but` in these tables."""
    before = [each.contents() for each in books]
    yield
    after = [each.contents() for each in books]
    for each, then, now in zip(books, before, after, strict=True):
        for table in then.keys() - set(but):
            assert now[table] == then[table], f"{each.party}: {table} changed"


def eventually(see: Callable[[], object], wanted: object, seconds: float = 10) -> None:
    """What was sent and not asked for arrives soon."""
    end = time.monotonic() + seconds
    while see() != wanted:
        assert time.monotonic() < end, (see(), wanted)
        time.sleep(0.02)
