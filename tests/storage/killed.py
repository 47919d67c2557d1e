"""A process to be killed: writes one row after another and says so once each is committed."""

import asyncio
import sys
from functools import partial
from pathlib import Path

from core.storage.unit import Unit
from core.storage.writer import Writer
from tests.storage.shelf import BOOKS, Clock, book, make


def _put(place: int, unit: Unit) -> int:
    unit.put(BOOKS, book(place, text="x" * 500))
    return place


async def _lane(writer: Writer, lane: int) -> None:
    place = lane
    while True:
        done = await writer.submit(partial(_put, place))
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
        place += 1000_000


async def _main(path: Path) -> None:
    writer = Writer(make(path), Clock())
    writer.start()
    await asyncio.gather(*(_lane(writer, lane) for lane in range(8)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
