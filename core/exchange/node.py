"""A node: database, writer, inbox, outbox, doors and background work, for any party."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa

from core.exchange.door import Door, Request, Response
from core.exchange.mailbox import Mailbox
from core.exchange.outbox import Outbox
from core.exchange.receiving import Party, Receiving
from core.exchange.tables import INBOX, OUTBOX, inbox, outbox
from core.exchange.turn import RETRY_GRACE, Identity, Turn
from core.protocol.control import Checkpoint, Refusal
from core.protocol.envelope import Verified
from core.protocol.faults import OurFault, PeerFault, SuretyError, fault
from core.protocol.keys import jwk_set
from core.storage import journal
from core.storage.journal import CHAIN, CHECKPOINTS, SignedHead
from core.storage.writer import Writer

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.exchange.directory import Directory
    from core.exchange.peers import Caller
    from core.protocol.message import Message
    from core.storage.engine import Database
    from core.storage.unit import Unit

log = logging.getLogger(__name__)
T = TypeVar("T")
ASK_SECONDS: Final = 10.0
CHECKPOINT_SECONDS: Final = 1.0
PURGE_SECONDS: Final = 60.0
PURGE_ROWS: Final = 2000
_UNCOLLECTED: Final = (
    sa.select(outbox.c.message_id)
    .where(outbox.c.expires_at < sa.bindparam("old"))
    .limit(PURGE_ROWS)
)


class Node:
    """What every party's server stands on. `open` it, then `start`, in the end `stop`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        caller: Caller,
        directory: Directory,
        *,
        proxies: tuple[str, ...] = (),
    ) -> None:
        self.database = database
        self.clock = clock
        self.directory = directory
        self.caller = caller
        self.identity: Identity | None = None
        self.writer = Writer(database, clock.milliseconds)
        self.mailbox = Mailbox(self.writer)
        self.door = Door(proxies)
        self.outbox = Outbox(
            caller,
            clock,
            self.writer,
            self._endpoint,
            # Looked up late: parties put their own in its place.
            lambda sender, recipient: self.headers_for(sender, recipient),  # noqa: PLW0108
        )
        self.license: str | None = None
        self.stopping = False
        self._receiving: Receiving | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[str, asyncio.Future[Verified[Any]]] = {}
        self._checkpointed = 0

    @property
    def receiving(self) -> Receiving:
        """The way of messages into this node."""
        if self._receiving is None:
            raise OurFault(fault("internal"), "the node serves no party yet")
        return self._receiving

    def serve(self, party: Party) -> None:
        """Work for this party."""
        self._receiving = Receiving(
            party, self.writer, self.clock, self.identity_of, self.outbox.dispatch
        )
        self._receiving.on_answer = self._answered
        self.outbox.connect(self._receiving, self.mailbox.put)
        self.door.add_messages(self._receiving)
        self.door.add("GET", "/.well-known/jwks.json", self._jwks)

    def open(self) -> None:
        """Open the writer; before anything is read or committed."""
        self.writer.start()

    async def start(self) -> None:
        """Send what was left unanswered, and begin the work that comes by time."""
        await self.outbox.resume()
        self.every(CHECKPOINT_SECONDS, self.checkpoint)
        self.every(PURGE_SECONDS, self.purge)

    async def drain(self) -> None:
        """About to stop: let those go who wait for their mail."""
        self.stopping = True
        self.mailbox.release()

    async def stop(self) -> None:
        """Begin nothing new, commit what was begun, sign the chain's head, close."""
        self.stopping = True
        self.mailbox.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.outbox.stop()
        try:
            await self.checkpoint()
        except SuretyError as error:
            log.warning("no last checkpoint", extra={"code": error.fault.code})
        await self.writer.stop()
        self.database.close()

    def every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        """Do this again and again, `seconds` apart; a failure is logged and the next time comes."""

        async def run() -> None:
            while True:
                await self.clock.sleep(seconds)
                try:
                    await do()
                except SuretyError as error:
                    log.warning(
                        "not done", extra={"code": error.fault.code, "detail": error.detail}
                    )
                except Exception:
                    log.exception("background work failed")

        self._tasks.append(asyncio.get_running_loop().create_task(run()))

    async def work(self, do: Callable[[Turn], T]) -> T:
        """Do something of this node's own in the next commit. Raises what it raises."""
        receiving = self.receiving
        return await self.writer.submit(lambda unit: do(receiving.turn(unit)))

    async def ask(self, message: Message, to: str, seconds: float = ASK_SECONDS) -> Verified[Any]:
        """Send a message and wait for its answer.

        Raises `PeerFault` with the refusal's code, `OurFault` after `seconds`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verified[Any]] = loop.create_future()

        def send(turn: Turn) -> str:
            sealed = turn.send(message, to, turn.now + int(seconds) + 1)
            turn.unit.after(partial(self._expect, sealed.message_id, future))
            return sealed.message_id

        identifier = await self.work(send)
        try:
            answer = await asyncio.wait_for(future, seconds)
        except TimeoutError as error:
            raise OurFault(fault("peer_unreachable"), to) from error
        finally:
            self._asked.pop(identifier, None)
        if isinstance(answer.message, Refusal):
            raise PeerFault(fault(answer.message.code), answer.message.detail)
        return answer

    def headers_for(self, sender: str, recipient: str) -> Mapping[str, str]:  # noqa: ARG002 - a wallet puts its own in its place
        """What goes with every request: the license key, to approval and nobody else."""
        trust = self.directory.trust
        if self.license is not None and trust is not None and recipient == trust.principal:
            return {"Surety-License": self.license}
        return {}

    def identity_of(self, principal: str | None) -> Identity | None:
        """The identity that a message to this principal is for; None: not for this node."""
        own = self.identity
        return own if own is not None and principal in {None, own.principal} else None

    async def checkpoint(self) -> None:
        """Sign the chain's head if it has moved."""

        def sign(unit: Unit) -> int:
            head = journal.head(unit)
            if head.position == self._checkpointed or self.identity is None:
                return head.position
            turn = self.receiving.turn(unit)
            sealed = turn.seal(Checkpoint(head=head), "anyone", turn.now + Checkpoint.lifetime)
            unit.put(CHECKPOINTS, SignedHead(CHAIN, head.position, sealed.raw))
            return head.position

        self._checkpointed = await self.writer.submit(sign)

    def _endpoint(self, recipient: str) -> str | None:
        contact = self.directory.by_name(recipient)
        return None if contact is None else contact.endpoint

    def _expect(self, asked: str, future: asyncio.Future[Verified[Any]]) -> None:
        self._asked.setdefault(asked, future)

    def _answered(self, asked: str, answer: Verified[Any]) -> None:
        future = self._asked.get(asked)
        if future is not None and not future.done():
            future.set_result(answer)

    async def purge(self) -> None:
        """Forget what has expired: inbox entries, and messages that nobody came to collect."""

        def purge(unit: Unit) -> None:
            old = unit.now // 1000 - RETRY_GRACE
            table = inbox
            keys = unit.query(
                sa.select(table.c.issuer, table.c.message_id)
                .where(table.c.expires_at < sa.bindparam("old"))
                .limit(PURGE_ROWS),
                old=old,
            )
            for issuer, identifier in keys:
                unit.remove(INBOX, issuer, identifier)
            # What is sent gives itself up; what nobody came to collect has to be cleared away.
            late = unit.query(_UNCOLLECTED, old=old)
            for (identifier,) in late:
                unit.remove(OUTBOX, identifier)

        await self.writer.submit(purge)

    async def _jwks(self, _request: Request) -> Response:
        if self.identity is None:
            raise PeerFault(fault("not_registered"))
        return Response(200, jwk_set(self.identity.key.public), "application/jwk-set+json")
