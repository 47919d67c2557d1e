"""A small table of our own to write to, and a writer on a real file."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path

import msgspec
import sqlalchemy as sa

from core.storage.engine import Database, open_database
from core.storage.records import Records
from core.storage.schema import NODE
from core.storage.writer import Writer


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Book(msgspec.Struct, frozen=True):
    shelf: str
    place: int
    colour: Colour
    lent: Colour | None = None
    text: str = ""


SHELF = sa.MetaData()
books = sa.Table(
    "books",
    SHELF,
    sa.Column("shelf", sa.String(20), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("colour", sa.String(8), nullable=False),
    sa.Column("lent", sa.String(8), nullable=True),
    sa.Column("text", sa.Text, nullable=False),
)
BOOKS: Records[Book] = Records(books, Book)
COUNT = sa.select(sa.func.count()).select_from(books)


def book(place: int, colour: Colour = Colour.RED, *, shelf: str = "a", text: str = "") -> Book:
    return Book(shelf, place, colour, None, text)


def make(path: Path) -> Database:
    """The database with its tables; the file is this process's alone until it is closed."""
    database = open_database(f"sqlite:///{path}")
    engine = database.schema_engine()
    for tables in (NODE, SHELF):
        tables.create_all(engine)
    engine.dispose()
    return database


class Clock:
    """Milliseconds that rise by one each time that they are asked for."""

    def __init__(self) -> None:
        self._next = count(1_800_000_000_000)

    def __call__(self) -> int:
        return next(self._next)


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[Writer]:
    database = make(path)
    writer = Writer(database, Clock())
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()
        database.close()


def stored(path: Path) -> list[Book]:
    """What an independent reader finds in the file."""
    database = open_database(f"sqlite:///{path}", exclusive=False)
    engine = database.reader()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(books).order_by(books.c.shelf, books.c.place)).all()
    engine.dispose()
    return [BOOKS.load(tuple(row)) for row in rows]
