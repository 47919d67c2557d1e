"""What was committed to be sent is sent with the same bytes until it is answered or expires.

Everything that waits for one peer travels in one request. At rest nothing waits for anything; under
load one request carries many messages, and its cost is divided by them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from core.exchange.peers import Caller, post_lines
from core.exchange.tables import OUTBOX, Waiting, outbox
from core.protocol.faults import SuretyError
from core.protocol.identifiers import kind_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from core.exchange.clock import Clock
    from core.exchange.receiving import Receiving
    from core.storage.unit import Unit
    from core.storage.writer import Writer

log = logging.getLogger(__name__)
MAX_LINES: Final = 64
MAX_BYTES: Final = 600_000
FIRST_RETRY: Final = 0.5
LAST_RETRY: Final = 60.0
IN_FLIGHT: Final = 2


class Link:
    """The way from one principal to another: a queue, and at most a few requests under way."""

    def __init__(self, sender: str, recipient: str, outbox_: Outbox) -> None:
        self.sender = sender
        self.recipient = recipient
        self.queue: deque[Waiting] = deque()
        self.delay = 0.0
        self._outbox = outbox_
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: dict[str, int] = {}

    def put(self, waiting: Waiting) -> None:
        """Queue a message and see to it that somebody sends it."""
        if self._outbox.closing:
            return
        self.queue.append(waiting)
        if len(self._tasks) < IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up; what is unanswered is still in the database."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while self.queue:
            batch = self._take()
            if not batch:
                continue
            answered = await self._outbox.deliver(self.sender, self.recipient, batch)
            if answered is None:
                self.queue.extendleft(reversed(batch))
                await self._outbox.pause(self)
                continue
            self.delay = 0.0
            for waiting in batch:
                if waiting.message_id in answered:
                    self._attempts.pop(waiting.message_id, None)
                else:
                    self._later(waiting)

    def _later(self, waiting: Waiting) -> None:
        # The peer was reached but could not deal with this one yet: it waits, the others go on.
        attempts = self._attempts.get(waiting.message_id, 0)
        self._attempts[waiting.message_id] = attempts + 1
        delay = min(FIRST_RETRY * 2**attempts, LAST_RETRY) * self._outbox.jitter()
        asyncio.get_running_loop().call_later(delay, self.put, waiting)

    def _take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size = 0
        now = self._outbox.now
        while self.queue and len(batch) < MAX_LINES and size < MAX_BYTES:
            waiting = self.queue.popleft()
            if waiting.expires_at < now:
                self._attempts.pop(waiting.message_id, None)
                self._outbox.give_up(waiting)
                continue
            batch.append(waiting)
            size += len(waiting.raw)
        return batch


class Outbox:
    """All links of a node.

    `endpoint(recipient)`: where it is reached, None or empty where it collects.
    """

    def __init__(
        self,
        caller: Caller,
        clock: Clock,
        writer: Writer,
        endpoint: Callable[[str], str | None],
        headers: Callable[[str, str], Mapping[str, str]],
    ) -> None:
        self._caller = caller
        self._clock = clock
        self._writer = writer
        self._endpoint = endpoint
        self._headers = headers
        self._links: dict[tuple[str, str], Link] = {}
        self._receiving: Receiving | None = None
        self._collected: Callable[[Waiting], None] | None = None
        self.closing = False
        self.locate: Callable[[str], Awaitable[object]] = _nowhere
        self._gone: set[asyncio.Task[None]] = set()
        self.sent_lines = 0
        self.sent_requests = 0

    def connect(self, receiving: Receiving, collected: Callable[[Waiting], None]) -> None:
        """Where answers go, and who is told of messages that wait to be collected."""
        self._receiving = receiving
        self._collected = collected

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return self._clock.milliseconds() // 1000

    @property
    def waiting(self) -> int:
        """How many messages are queued for links, in memory."""
        return sum(len(link.queue) for link in self._links.values())

    def dispatch(self, waiting: Waiting) -> None:
        """Send a committed message on its way. Called on the event loop, after the commit."""
        if self.closing:
            return
        if kind_of(waiting.recipient) == "device" or self._endpoint(waiting.recipient) == "":
            if self._collected is not None:
                self._collected(waiting)
            return
        way = (waiting.sender, waiting.recipient)
        link = self._links.get(way)
        if link is None:
            link = self._links[way] = Link(*way, self)
        link.put(waiting)

    async def resume(self) -> None:
        """Send again what was unanswered when the node last stopped."""

        def unanswered(unit: Unit) -> list[Waiting]:
            rows = unit.query(sa.select(outbox).order_by(outbox.c.created_at, outbox.c.message_id))
            return [OUTBOX.load(row) for row in rows]

        for waiting in await self._writer.submit(unanswered):
            if kind_of(waiting.recipient) != "device":
                self.dispatch(waiting)

    async def stop(self) -> None:
        """Stop sending."""
        self.closing = True
        await asyncio.gather(*(link.stop() for link in self._links.values()))

    async def deliver(self, sender: str, recipient: str, batch: list[Waiting]) -> set[str] | None:
        """One request.

        Returns the identifiers of the messages that were answered; None where the peer was not
        reached.
        """
        endpoint = self._endpoint(recipient) or await self._find(recipient)
        if self._receiving is None or not endpoint:
            return None
        self.sent_lines += len(batch)
        self.sent_requests += 1
        try:
            answer = await post_lines(
                self._caller, endpoint, [row.raw for row in batch], self._headers(sender, recipient)
            )
            taken = await self._receiving.answers(answer.lines)
        except SuretyError as error:
            log.warning(
                "not delivered",
                extra={"to": recipient, "code": error.fault.code, "detail": error.detail},
            )
            return None
        except Exception:
            log.exception("not delivered", extra={"to": recipient})  # the messages must not be lost
            return None
        for trouble in taken.troubles:
            log.warning(
                "answer refused",
                extra={"to": recipient, "code": trouble.fault.code, "detail": trouble.detail},
            )
        for line in answer.lines:
            if line.startswith(b"{"):
                log.warning("unsigned problem", extra={"to": recipient, "problem": _code_of(line)})
        return taken.answered

    async def _find(self, recipient: str) -> str | None:
        # A party that was never met: whoever knows is asked, and the messages wait as for any that
        # is not reached.
        try:
            await self.locate(recipient)
        except SuretyError as error:
            log.warning("not located", extra={"to": recipient, "code": error.fault.code})
        return self._endpoint(recipient)

    async def pause(self, link: Link) -> None:
        """Wait before the next attempt: 0.5 s, doubled each time up to a minute, with jitter."""
        link.delay = min(max(FIRST_RETRY, link.delay * 2), LAST_RETRY)
        await self._clock.sleep(link.delay * self.jitter())

    def jitter(self) -> float:
        """Between a half and one, so that peers that failed together do not come back together."""
        return 0.5 + self._clock.entropy(1)[0] / 512

    def give_up(self, waiting: Waiting) -> None:
        """Its time is up: the order's own timer ends what hung on it."""
        log.warning(
            "expired unanswered", extra={"to": waiting.recipient, "message_name": waiting.name}
        )
        task = asyncio.get_running_loop().create_task(self._forget(waiting))
        self._gone.add(task)
        task.add_done_callback(self._gone.discard)

    async def _forget(self, waiting: Waiting) -> None:
        try:
            await self._writer.submit(lambda unit: unit.remove(OUTBOX, waiting.message_id))
        except SuretyError as error:
            log.warning("not forgotten", extra={"code": error.fault.code})


async def _nowhere(_recipient: str) -> None:
    return None


def _code_of(line: bytes) -> str:
    try:
        return str(json.loads(line)["code"])[:60]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unreadable"
