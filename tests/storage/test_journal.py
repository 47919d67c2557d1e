import asyncio
import hashlib
from functools import partial
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from core.evidence.chain import Direction, Link, extend, genesis
from core.protocol.canonical import b64url
from core.protocol.faults import PeerFault, fault
from core.storage import journal
from core.storage.engine import open_database
from core.storage.journal import ENTRIES, HEADS, ChainHead, Entry
from core.storage.unit import Unit
from core.storage.writer import Writer
from tests.storage.shelf import opened

pytestmark = pytest.mark.anyio


def _record(number: int, unit: Unit) -> None:
    journal.record(
        unit,
        f"raw {number}".encode(),
        list(Direction)[number % 3],
        name="offer/1",
        message_id=f"{number:032x}",
        counterpart="anyone",
        subject=None if number % 2 else "A" * 43,
    )


def _entries(path: Path) -> list[Entry]:
    engine = open_database(f"sqlite:///{path}", exclusive=False).reader()
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(journal.entries).order_by(journal.entries.c.position)
        ).all()
    engine.dispose()
    return [ENTRIES.load(tuple(row)) for row in rows]


def _heads(entries: list[Entry]) -> list[bytes]:
    """The chain computed anew from what is stored, by the formula of docs/protocol.md."""
    now = hashlib.sha256(b"surety evidence chain 1\nmain").digest()
    found: list[bytes] = []
    for number, entry in enumerate(entries, 1):
        link = Link(
            at=entry.at, direction=entry.direction, digest=hashlib.sha256(entry.raw).digest()
        )
        now = extend(now, number, link)
        found.append(now)
    return found


async def _fill(writer: Writer, size: int) -> ChainHead:
    await asyncio.gather(*(writer.submit(partial(_record, each)) for each in range(size)))
    head = await writer.submit(lambda unit: unit.get(HEADS, "main"))
    assert head is not None
    return head


async def test_the_chain_computed_anew_is_the_one_that_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        head = await _fill(writer, 200)
        stated = await writer.submit(journal.head)
    entries = _entries(tmp_path / "a.db")

    assert [entry.position for entry in entries] == list(range(1, 201))
    assert _heads(entries) == [entry.hash for entry in entries]
    assert [entry.digest for entry in entries] == [
        hashlib.sha256(entry.raw).digest() for entry in entries
    ]
    assert head == ChainHead("main", 200, entries[-1].hash)
    assert (stated.chain, stated.position, stated.hash) == ("main", 200, b64url(head.hash))
    assert {type(entry.direction) for entry in entries} == {Direction}


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    heads: list[bytes] = []
    for _ in range(3):
        async with opened(tmp_path / "a.db") as writer:
            heads.append((await _fill(writer, 5)).hash)
    entries = _entries(tmp_path / "a.db")

    assert len(entries) == 15
    assert _heads(entries)[4::5] == heads


async def test_before_the_first_entry_it_stands_at_its_genesis(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as writer:
        stated = await writer.submit(journal.head)

    assert (stated.position, stated.hash) == (0, b64url(genesis("main")))


async def test_what_failed_leaves_no_gap(tmp_path: Path) -> None:
    def fails(number: int, unit: Unit) -> None:
        _record(number, unit)
        raise PeerFault(fault("declined"))

    def fails_in_part(number: int, unit: Unit) -> None:
        _record(number, unit.nested())
        _record(number + 1, unit)

    async with opened(tmp_path / "a.db") as writer:
        works = [partial(kind, at) for at in range(20) for kind in (_record, fails, fails_in_part)]
        results = await asyncio.gather(
            *(writer.submit(work) for work in works), return_exceptions=True
        )
    entries = _entries(tmp_path / "a.db")

    assert sum(isinstance(each, PeerFault) for each in results) == 20
    assert [entry.position for entry in entries] == list(range(1, 41))
    assert _heads(entries)[-1] == entries[-1].hash


@pytest.mark.parametrize("field", ["raw", "direction", "at", "left out", "swapped"])
async def test_any_change_of_the_past_shows(tmp_path: Path, field: str) -> None:
    async with opened(tmp_path / "a.db") as writer:
        head = await _fill(writer, 9)
    entries = _entries(tmp_path / "a.db")
    changed = list(entries)
    if field == "left out":
        del changed[4]
    elif field == "swapped":
        changed[4], changed[5] = changed[5], changed[4]
    else:
        other = {"raw": b"other", "at": 1, "direction": Direction.REFUSED}[field]
        assert getattr(changed[4], field) != other
        changed[4] = msgspec.structs.replace(changed[4], **{field: other})

    assert _heads(entries)[-1] == head.hash
    assert _heads(changed)[-1] != head.hash
    assert _heads(changed)[:4] == _heads(entries)[:4]
    assert _heads(changed)[4] != _heads(entries)[4]
