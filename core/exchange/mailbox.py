"""What waits to be collected: a wallet runs no server, it long-polls its agency."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from core.exchange.tables import OUTBOX, Waiting, outbox
from core.protocol.faults import OurFault, fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.storage.unit import Unit
    from core.storage.writer import Writer

LONGEST_WAIT: Final = 25.0
AT_ONCE: Final = 32
_WAITING = (
    sa.select(outbox)
    .where(outbox.c.recipient == sa.bindparam("who"), outbox.c.expires_at >= sa.bindparam("now"))
    .order_by(outbox.c.message_id)
    .limit(sa.bindparam("most"))
)


class _Reader:
    """Somebody who waits, and what has arrived for him meanwhile."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.arrived: list[Waiting] = []


class Mailbox:
    """Messages for those who fetch them; each stays until its recipient says that it has it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._readers: dict[str, set[_Reader]] = {}
        self._closing = False

    def put(self, waiting: Waiting) -> None:
        """A message for somebody who collects was committed."""
        for reader in self._readers.get(waiting.recipient, ()):
            reader.arrived.append(waiting)
            reader.event.set()

    async def collect(self, recipient: str, received: Sequence[str], wait: float) -> list[bytes]:
        """Forget what the recipient has, then return what waits for it.

        Waits up to `wait` seconds until something does.
        """
        if self._closing:
            raise OurFault(fault("shutting_down"))
        reader = _Reader()
        readers = self._readers.setdefault(recipient, set())
        readers.add(reader)
        try:
            lines = await self._writer.submit(lambda unit: _exchange(unit, recipient, received))
            if not lines and wait > 0:
                try:
                    await asyncio.wait_for(reader.event.wait(), min(wait, LONGEST_WAIT))
                except TimeoutError:
                    return []
                lines = [waiting.raw for waiting in reader.arrived]
            return lines
        finally:
            readers.discard(reader)
            if not readers:
                self._readers.pop(recipient, None)

    def release(self) -> None:
        """Let everybody who waits go: the node stops."""
        self._closing = True
        for reader in [each for readers in self._readers.values() for each in readers]:
            reader.event.set()


def _exchange(unit: Unit, recipient: str, received: Sequence[str]) -> list[bytes]:
    done: set[str] = set()
    for identifier in received:
        row = unit.get(OUTBOX, identifier)
        if row is not None and row.recipient == recipient:
            unit.remove(OUTBOX, identifier)
            done.add(identifier)
    # The query does not see what this unit has just removed: that many more may come back.
    most = AT_ONCE + len(done)
    found = unit.query(_WAITING, who=recipient, now=unit.now // 1000, most=most)
    rows = [OUTBOX.load(values) for values in found]
    return [row.raw for row in rows if row.message_id not in done][:AT_ONCE]
