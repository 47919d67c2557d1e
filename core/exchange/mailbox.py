"""What waits to be collected: a wallet runs no server, it long-polls its agency."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from core.exchange.tables import OUTBOX, Waiting, outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.storage.unit import Unit
    from core.storage.writer import Writer

LONGEST_WAIT: Final = 25.0
AT_ONCE: Final = 32
_WAITING = sa.select(outbox).where(outbox.c.recipient == sa.bindparam("who")).order_by(outbox.c.message_id).limit(AT_ONCE)


class Mailbox:
    """Messages for those who come to fetch them; each stays until its recipient says that it has it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._arrived: dict[str, asyncio.Event] = {}
        self._readers: dict[str, int] = {}

    def put(self, waiting: Waiting) -> None:
        """A message for somebody who collects was committed."""
        event = self._arrived.get(waiting.recipient)
        if event is not None:
            event.set()

    async def collect(self, recipient: str, received: Sequence[str], wait: float) -> list[bytes]:
        """Forget what the recipient has, then return what waits for it; up to `wait` seconds until something does."""
        event = self._arrived.setdefault(recipient, asyncio.Event())
        self._readers[recipient] = self._readers.get(recipient, 0) + 1
        try:
            event.clear()
            lines = await self._writer.submit(lambda unit: _exchange(unit, recipient, received))
            if not lines and wait > 0:
                try:
                    await asyncio.wait_for(event.wait(), min(wait, LONGEST_WAIT))
                except TimeoutError:
                    return []
                lines = await self._writer.submit(lambda unit: _exchange(unit, recipient, ()))
            return lines
        finally:
            self._readers[recipient] -= 1
            if not self._readers[recipient]:
                del self._readers[recipient], self._arrived[recipient]

    def release(self) -> None:
        """Let everybody who waits go: the node stops."""
        for event in self._arrived.values():
            event.set()


def _exchange(unit: Unit, recipient: str, received: Sequence[str]) -> list[bytes]:
    done = set()
    for identifier in received:
        row = unit.get(OUTBOX, identifier)
        if row is not None and row.recipient == recipient:
            unit.remove(OUTBOX, identifier)
            done.add(identifier)
    now = unit.now // 1000
    found = [OUTBOX.load(row) for row in unit.query(_WAITING, who=recipient)]
    return [row.raw for row in found if row.message_id not in done and row.expires_at >= now]
