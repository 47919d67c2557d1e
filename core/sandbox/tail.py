"""Watches what nodes put into their chains of evidence, as it happens, in their databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from core.evidence.chain import Direction
from core.protocol.identifiers import kind_of
from core.storage.engine import open_database
from core.storage.journal import entries

if TYPE_CHECKING:
    from collections.abc import Mapping

PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True, order=True)
class Passed:
    """A message that a node sent.

    `at`: milliseconds; `sender`, `receiver`: "approval", "agency", "merchant", "member", "anyone".
    """

    at: int
    position: int
    name: str
    sender: str
    receiver: str


class Tail:
    """Follows several nodes' evidence.

    `databases`: by the sender's name; `seen`: called with each message, in order of time.
    """

    def __init__(self, databases: Mapping[str, str], seen: Callable[[Passed], None]) -> None:
        self._engines = {
            name: open_database(url, exclusive=False).reader() for name, url in databases.items()
        }
        self._last = dict.fromkeys(databases, 0)
        self._seen = seen
        self.passed: list[Passed] = []

    async def follow(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(PAUSE)

    def read(self) -> None:
        """Tell of everything that is new."""
        fresh: list[Passed] = []
        for sender, engine in self._engines.items():
            statement = (
                sa.select(entries.c.position, entries.c.at, entries.c.name, entries.c.counterpart)
                .where(
                    entries.c.position > self._last[sender],
                    entries.c.direction == Direction.SENT.value,
                )
                .order_by(entries.c.position)
            )
            with engine.connect() as connection:
                for position, at, name, counterpart in connection.execute(statement):
                    self._last[sender] = position
                    fresh.append(Passed(at, position, name, sender, role_of(counterpart)))
        for passed in sorted(fresh):
            self.passed.append(passed)
            self._seen(passed)

    def close(self) -> None:
        """Close the databases."""
        for engine in self._engines.values():
            engine.dispose()


def role_of(principal: str) -> str:
    """The party's role, as people say it."""
    kind = kind_of(principal)
    return (
        "member"
        if principal.startswith(("device:", "order-key:"))
        else "new program"
        if kind == "unregistered"
        else kind
    )
