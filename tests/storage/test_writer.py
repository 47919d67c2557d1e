import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.protocol.faults import OurFault, PeerFault, fault
from core.storage.engine import open_database
from core.storage.unit import Doubled, Unit
from core.storage.writer import MAX_GROUP, Writer
from tests.storage.shelf import BOOKS, COUNT, Book, Clock, Colour, book, books, make, opened, stored

pytestmark = pytest.mark.anyio


def _put(row: Book, unit: Unit) -> int:
    unit.put(BOOKS, row)
    return row.place


def _count(unit: Unit) -> int:
    return int(unit.query(COUNT)[0][0])


def _add(row: Book, unit: Unit) -> int:
    unit.add(BOOKS, row)
    return row.place


def _healthy(writer: Writer) -> bool:
    return writer.healthy


async def _together(writer: Writer, *works: "partial[int]") -> list[int | BaseException]:
    """Hand all of it in within one turn of the loop, so that it shares a commit."""
    return await asyncio.gather(*(writer.submit(work) for work in works), return_exceptions=True)


async def test_many_works_share_few_commits(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        results = await _together(writer, *(partial(_put, book(at)) for at in range(300)))

        assert results == list(range(300))
        assert writer.works == 300
        assert writer.commits == -(-300 // MAX_GROUP)
    assert [row.place for row in stored(tmp_path / "a.db")] == list(range(300))


async def test_an_acknowledged_work_is_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        for at in range(3):
            await writer.submit(partial(_put, book(at)))
            assert [row.place for row in stored(tmp_path / "a.db")] == list(range(at + 1))


async def test_a_work_that_fails_drops_its_own_writes_only(tmp_path: Path) -> None:
    ran: list[str] = []

    def fails(unit: Unit) -> int:
        unit.put(BOOKS, book(1, Colour.BLUE))
        unit.put(BOOKS, book(2))
        unit.after(lambda: ran.append("failed"))
        raise PeerFault(fault("declined"))

    def works(unit: Unit) -> int:
        unit.after(lambda: ran.append("worked"))
        return _put(book(3), unit)

    async with opened(tmp_path / "a.db") as writer:
        results = await _together(writer, partial(_put, book(1)), partial(fails), partial(works))
        commits = writer.commits

    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], PeerFault)
    assert commits == 1
    assert ran == ["worked"]
    assert stored(tmp_path / "a.db") == [book(1), book(3)]


async def test_units_of_a_group_see_each_other_in_order(tmp_path: Path) -> None:
    def add_one(unit: Unit) -> int:
        row = unit.get(BOOKS, "a", 0)
        size = len(row.text) + 1 if row else 1
        unit.put(BOOKS, book(0, text="x" * size))
        return size

    async with opened(tmp_path / "a.db") as writer:
        assert await _together(writer, *[partial(add_one)] * 50) == list(range(1, 51))
        assert writer.commits == 1
    assert stored(tmp_path / "a.db") == [book(0, text="x" * 50)]


async def test_nested_units_are_merged_or_forgotten(tmp_path: Path) -> None:
    ran: list[str] = []

    def work(unit: Unit) -> None:
        unit.put(BOOKS, book(1))
        kept, forgotten = unit.nested(), unit.nested()
        kept.put(BOOKS, book(2))
        kept.remove(BOOKS, "a", 1)
        kept.after(lambda: ran.append("kept"))
        inner = kept.nested()
        inner.add(BOOKS, book(3))
        assert inner.get(BOOKS, "a", 2) == book(2)
        inner.merge()
        forgotten.put(BOOKS, book(9))
        forgotten.after(lambda: ran.append("forgotten"))
        assert unit.get(BOOKS, "a", 1) == book(1)
        assert (unit.get(BOOKS, "a", 2), kept.get(BOOKS, "a", 3)) == (None, book(3))
        kept.merge()
        assert (unit.get(BOOKS, "a", 1), unit.get(BOOKS, "a", 2)) == (None, book(2))

    async with opened(tmp_path / "a.db") as writer:
        await writer.submit(work)

    assert stored(tmp_path / "a.db") == [book(2), book(3)]
    assert ran == ["kept"]


async def test_of_two_that_add_the_same_row_the_second_fails_and_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        results = await _together(
            writer,
            partial(_add, book(1)),
            partial(_add, book(2)),
            partial(_add, book(1, Colour.BLUE)),
            partial(_add, book(3)),
        )
        assert writer.healthy

    assert (results[0], results[1], results[3]) == (1, 2, 3)
    assert isinstance(results[2], OurFault)
    assert results[2].fault.code == "storage_unavailable"
    assert stored(tmp_path / "a.db") == [book(1), book(2), book(3)]


async def test_adding_what_the_file_has_fails_that_work_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        await writer.submit(partial(_add, book(2)))
        results = await _together(
            writer,
            *(partial(_add, book(at, Colour.BLUE)) for at in (1, 2, 3)),
        )

    assert [isinstance(each, OurFault) for each in results] == [False, True, False]
    assert stored(tmp_path / "a.db") == [book(1, Colour.BLUE), book(2), book(3, Colour.BLUE)]


async def test_adding_twice_in_one_work_is_its_own_mistake(tmp_path: Path) -> None:
    def twice(unit: Unit) -> int:
        unit.add(BOOKS, book(1))
        unit.add(BOOKS, book(1, Colour.BLUE))
        return 0

    def twice_through_a_part(unit: Unit) -> int:
        unit.add(BOOKS, book(1))
        part = unit.nested()
        part.add(BOOKS, book(1, Colour.BLUE))
        part.merge()
        return 0

    async with opened(tmp_path / "a.db") as writer:
        for work in (twice, twice_through_a_part):
            with pytest.raises(Doubled):
                await writer.submit(work)
    assert stored(tmp_path / "a.db") == []


async def test_removing_and_adding_again_replaces(tmp_path: Path) -> None:
    def again(unit: Unit) -> None:
        unit.remove(BOOKS, "a", 1)
        unit.add(BOOKS, book(1, Colour.BLUE))
        part = unit.nested()
        part.remove(BOOKS, "a", 2)
        part.merge()
        unit.add(BOOKS, book(2, Colour.BLUE))

    def there_and_gone(unit: Unit) -> None:
        unit.add(BOOKS, book(7))
        unit.remove(BOOKS, "a", 7)

    async with opened(tmp_path / "a.db") as writer:
        await writer.submit(partial(_add, book(1)))
        await writer.submit(partial(_add, book(2)))
        await writer.submit(again)
        await writer.submit(there_and_gone)
    assert stored(tmp_path / "a.db") == [book(1, Colour.BLUE), book(2, Colour.BLUE)]


async def test_a_query_sees_earlier_units_and_not_its_own(tmp_path: Path) -> None:
    def query(unit: Unit) -> int:
        unit.put(BOOKS, book(99))
        red = sa.select(books.c.place).where(
            books.c.colour == sa.bindparam("colour"), books.c.place < sa.bindparam("below")
        )
        found = [row[0] for row in unit.query(red.order_by(books.c.place), below=9, colour="red")]
        assert found == [1, 2]
        return int(unit.query(COUNT)[0][0])

    async with opened(tmp_path / "a.db") as writer:
        results = await _together(
            writer,
            partial(_put, book(1)),
            partial(_put, book(2)),
            partial(_put, book(3, Colour.BLUE)),
            partial(query),
            partial(_count),
        )
    assert results == [1, 2, 3, 3, 4]


async def test_rows_come_back_with_their_enums(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        await writer.submit(partial(_put, Book("a", 1, Colour.BLUE, Colour.RED)))
        row = await writer.submit(lambda unit: unit.get(BOOKS, "a", 1))

    assert row is not None
    assert (type(row.colour), type(row.lent)) == (Colour, Colour)
    assert stored(tmp_path / "a.db")[0].lent is Colour.RED
    assert BOOKS.load(("a", 1, "red", None, "")).lent is None
    with pytest.raises(ValueError, match="green"):
        BOOKS.load(("a", 1, "green", None, ""))


async def test_a_broken_query_is_answered_and_harms_nobody(tmp_path: Path) -> None:
    def broken(unit: Unit) -> int:
        unit.put(BOOKS, book(5))
        return len(unit.query(sa.text("SELECT nothing FROM nowhere")))

    async with opened(tmp_path / "a.db") as writer:
        results = await _together(writer, partial(_put, book(1)), partial(broken))
        again = await writer.submit(partial(_put, book(2)))

    assert (results[0], again) == (1, 2)
    assert isinstance(results[1], OurFault)
    assert isinstance(results[1].__cause__, sqlite3.OperationalError)
    assert [row.place for row in stored(tmp_path / "a.db")] == [1, 2]


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    kept: list[int] = []
    async with opened(path) as writer:
        await writer.submit(partial(_put, book(0)))
        pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
        writer._connection.execute(f"PRAGMA max_page_count={pages + 4}")
        refused = 0
        for at in range(1, 30):
            try:
                kept.append(await writer.submit(partial(_put, book(at, text="x" * 3000))))
            except OurFault as error:
                refused += error.fault.code == "storage_unavailable"
        assert refused > 10
        assert kept
        assert not _healthy(writer)
        assert [row.place for row in stored(path)] == [0, *kept]
        # One that is too large does not keep out those beside it that fit.
        results = await _together(
            writer, partial(_put, book(90, text="x" * 30_000)), partial(_put, book(0, Colour.BLUE))
        )
        assert isinstance(results[0], OurFault)
        assert results[1] == 0
        writer._connection.execute("PRAGMA max_page_count=1000000")
        assert await writer.submit(partial(_put, book(90, text="x" * 30_000))) == 90
        assert _healthy(writer)
    assert [row.place for row in stored(path)] == [0, *kept, 90]
    assert stored(path)[0].colour is Colour.BLUE


async def test_what_comes_after_a_commit_runs_even_if_one_of_it_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    def work(unit: Unit) -> None:
        unit.put(BOOKS, book(1))
        unit.after(lambda: ran.append(1))
        unit.after(lambda: ran.append(1 // 0))
        unit.after(lambda: ran.append(2))

    async with opened(tmp_path / "a.db") as writer:
        await writer.submit(work)

    assert ran == [1, 2]
    assert "ZeroDivisionError" in caplog.text


async def test_a_work_whose_asker_went_away_is_done_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        task = asyncio.create_task(writer.submit(partial(_put, book(1))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await writer.submit(partial(_put, book(2))) == 2
    assert [row.place for row in stored(tmp_path / "a.db")] == [1, 2]


async def test_stopping_finishes_what_has_queued_and_refuses_what_comes_then(
    tmp_path: Path,
) -> None:
    database = make(tmp_path / "a.db")
    writer = Writer(database, Clock())
    with pytest.raises(OurFault, match="shutting_down"):
        await writer.submit(partial(_put, book(0)))
    writer.start()
    queued = asyncio.create_task(writer.submit(partial(_put, book(1))))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    with pytest.raises(OurFault, match="shutting_down"):
        await asyncio.wait_for(writer.submit(partial(_put, book(2))), 5)
    await stopping

    assert await queued == 1
    assert [row.place for row in stored(tmp_path / "a.db")] == [1]
    await writer.stop()
    database.close()


async def test_a_database_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database, and it is long enough to be noticed as such" * 9)
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(OurFault, match="storage_unavailable"):
        Writer(database, Clock()).start()
    database.close()
