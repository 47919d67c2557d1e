"""Bytes in, answers out: envelope opened, inbox asked, handler run, all in one commit.

There is no step back up: what a handler gets was signed by a known key, is for this node, is fresh,
and is new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.evidence.chain import Direction
from core.exchange import refusing
from core.exchange.tables import INBOX, OUTBOX, STRANGERS, Received, Stranger, Waiting
from core.exchange.turn import OURS, Arrival, Identity, Turn, subject_of
from core.protocol.control import Receipt
from core.protocol.envelope import (
    SKEW,
    Unopened,
    Verified,
    unwrap,
    verify,
    verify_self_signed,
)
from core.protocol.faults import PeerFault, SuretyError, fault
from core.protocol.identifiers import device, kind_of, order_key
from core.storage import journal

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.exchange.directory import Contact
    from core.protocol.message import Message
    from core.storage.unit import Unit
    from core.storage.writer import Writer

log = logging.getLogger(__name__)
UNREGISTERED: Final = "unregistered"
STRANGERS_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Handler:
    """What a party does with one type of message.

    `run(turn, received)`: returns the answer, or None where a receipt is enough; raises `PeerFault`
    to refuse. `senders`: the kinds that may send it. `asked`: it is only ever an answer to a
    message of ours.
    """

    run: Callable[[Turn, Verified[Any]], Message | None]
    senders: frozenset[str]
    asked: bool = False


class Party(Protocol):
    """What exchange has to know of the party that it works for."""

    @property
    def handlers(self) -> dict[type[Message], Handler]:
        """A handler for each message type that this party takes."""
        ...

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:
        """Whose key it is, asking approval where need be; None if nobody knows."""
        ...

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        """Raise `PeerFault` unless the sender may be heard: standing, license, address, session."""
        ...

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        """A message of ours was acknowledged by a receipt."""
        ...


@dataclass(slots=True)
class Reply:
    """What goes back: signed lines, and problems for lines that nobody signed for.

    `headers`: secrets that must not be in evidence.
    """

    lines: list[bytes] = field(default_factory=list[bytes])
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Taken:
    """What came of an answer: which of our messages it answers, and what was wrong with it."""

    answered: set[str] = field(default_factory=set[str])
    troubles: list[SuretyError] = field(default_factory=list[SuretyError])


class Receiving:
    """The way of every message that comes into a node, be it in a request or in an answer."""

    def __init__(
        self,
        party: Party,
        writer: Writer,
        clock: Clock,
        identity: Callable[[str | None], Identity | None],
        dispatch: Callable[[Waiting], None],
    ) -> None:
        self._party = party
        self._writer = writer
        self._clock = clock
        self._identity = identity
        self._dispatch = dispatch
        self._turned_away = 0
        self.on_answer: Callable[[str, Verified[Any]], None] = lambda _asked, _answer: None

    def turn(
        self,
        unit: Unit,
        *,
        arrival: Arrival = OURS,
        asked: Waiting | None = None,
        principal: str | None = None,
    ) -> Turn:
        """A turn of this node's own, or of the principal that a message is for.

        Raises `PeerFault("not_registered")` before registration.
        """
        identity = self._identity(principal)
        if identity is None:
            raise PeerFault(fault("not_registered"))
        return Turn(unit, identity, self._clock, self._dispatch, arrival=arrival, asked=asked)

    async def request(self, lines: list[bytes], arrival: Arrival) -> Reply:
        """Deal with the messages of one request.

        Raises `OurFault` where nothing could be committed.
        """
        reply = Reply()
        opened = await self._open_all(lines, reply)
        unreadable = tuple(reply.lines)
        if opened:
            await self._writer.submit(
                lambda unit: self._deal(unit, opened, arrival, reply, unreadable)
            )
        return reply

    async def collected(self, lines: list[bytes]) -> list[str]:
        """Deal with what was collected from a mailbox.

        Returns the identifiers that may be forgotten there. Raises `OurFault` where nothing could
        be committed.
        """
        reply = Reply()
        done: list[str] = []
        opened: list[Verified[Any]] = []
        for line in lines:
            try:
                opened.append(await self._open(line))
            except SuretyError as error:
                log.warning("not readable", extra={"code": error.fault.code})
                # What can never be read must not stand in the way of what comes after it.
                done += [] if error.fault.again else refusing.claimed_id(line)
        if opened:
            await self._writer.submit(
                lambda unit: self._deal(unit, opened, OURS, reply, (), receipts=False)
            )
        later = {refusing.digest_in(line) for line in reply.lines if line.startswith(b"{")}
        return done + [each.message_id for each in opened if each.digest not in later]

    async def answers(self, lines: list[bytes]) -> Taken:
        """Deal with the lines of an answer that another node gave us.

        Raises `OurFault` where nothing could be committed.
        """
        taken = Taken()
        opened: list[Verified[Any]] = []
        for line in lines:
            if line.startswith(b"{"):
                continue
            try:
                opened.append(await self._open(line))
            except SuretyError as error:
                taken.troubles.append(error)
        if opened:
            unreadable = list(taken.troubles)
            await self._writer.submit(
                lambda unit: self._take_answers(unit, opened, taken, unreadable)
            )
        return taken

    async def _open_all(self, lines: list[bytes], reply: Reply) -> list[Verified[Any]]:
        opened: list[Verified[Any]] = []
        for line in lines:
            try:
                opened.append(await self._open(line))
            except SuretyError as error:
                reply.lines.append(refusing.problem(error, line))
        return opened

    async def _open(self, raw: bytes) -> Verified[Any]:
        unopened = unwrap(raw)
        if unopened.kind not in self._party.handlers and unopened.kind is not Receipt:
            raise PeerFault(fault("unknown_type"), unopened.kind.name)
        now = self._clock.milliseconds() // 1000
        if unopened.kind.self_signed:
            found = verify_self_signed(unopened, audience=None, now=now)
            expected = {UNREGISTERED, device(found.kid), order_key(found.kid)}
        else:
            contact = await self._party.find(unopened.kid, unopened)
            if contact is None:
                raise PeerFault(fault("unknown_key"))
            found = verify(unopened, contact.key, audience=None, now=now)
            expected = {contact.principal}
        if found.issuer not in expected:
            raise PeerFault(fault("wrong_issuer"))
        if self._identity(found.audience) is None:
            registered = self._identity(None) is not None
            raise PeerFault(fault("wrong_audience" if registered else "not_registered"))
        return found

    def _deal(  # noqa: PLR0913 - what a request came with
        self,
        unit: Unit,
        opened: list[Verified[Any]],
        arrival: Arrival,
        reply: Reply,
        unreadable: tuple[bytes, ...],
        *,
        receipts: bool = True,
    ) -> None:
        # A commit that fails runs this again: what goes back is built anew each time.
        reply.lines = list(unreadable)
        reply.headers.clear()
        accepted: dict[str, list[str]] = {}
        for received in opened:
            self._deal_with(unit, received, arrival, reply, accepted)
        for issuer, identifiers in accepted.items() if receipts else ():
            turn = self.turn(unit)
            receipt = Receipt(accepted=tuple(identifiers), head=journal.head(unit))
            sealed = turn.seal(receipt, issuer, turn.now + Receipt.lifetime)
            turn.keep_sent(receipt, sealed, issuer, None)
            reply.lines.append(sealed.raw)

    def _deal_with(
        self,
        unit: Unit,
        received: Verified[Any],
        arrival: Arrival,
        reply: Reply,
        accepted: dict[str, list[str]],
    ) -> None:
        before = unit.get(INBOX, received.issuer, received.message_id)
        if before is not None:
            if before.digest != received.digest:
                problem = PeerFault(fault("message_conflict"))
                reply.lines.append(refusing.problem(problem, received.raw))
            elif before.answer is None:
                accepted.setdefault(received.issuer, []).append(received.message_id)
            else:
                reply.lines.append(before.answer)
            return
        part = unit.nested()
        turn = self.turn(part, arrival=arrival, principal=received.audience)
        try:
            answer = self._handle(turn, received, reply)
        except PeerFault as error:
            if error.fault.again:
                reply.lines.append(refusing.problem(error, received.raw))
                return
            part = unit.nested()
            turn = self.turn(part, arrival=arrival, principal=received.audience)
            message: Message = received.message
            if message.self_signed:
                # Anybody can make a key: what a stranger sends in vain is answered, not collected.
                reply.lines.append(self._turn_away(turn, received, error))
                part.merge()
                return
            answer = self._refuse(turn, received, error)
        self._remember(part, received, answer)
        part.merge()
        if answer is None:
            accepted.setdefault(received.issuer, []).append(received.message_id)
        else:
            reply.lines.append(answer)

    def _handle(self, turn: Turn, received: Verified[Any], reply: Reply) -> bytes | None:
        handler = self._handler(received)
        if handler.asked:
            raise PeerFault(
                fault("out_of_order"), f"{received.message.name} answers nothing that was asked"
            )
        self._party.admit(turn, received)
        self._record(turn, received, Direction.RECEIVED)
        message = handler.run(turn, received)
        reply.headers.update(turn.reply_headers)
        return None if message is None else turn.answer(message, received)

    def _handler(self, received: Verified[Any]) -> Handler:
        message: Message = received.message
        handler = self._party.handlers.get(type(message))
        if handler is None or kind_of(received.issuer) not in handler.senders:
            raise PeerFault(
                fault("unknown_type"), f"{received.message.name} from {kind_of(received.issuer)}"
            )
        return handler

    def _turn_away(self, turn: Turn, received: Verified[Any], error: PeerFault) -> bytes:
        slot = self._turned_away % STRANGERS_KEPT
        self._turned_away += 1
        name, code = received.message.name, error.fault.code
        turn.unit.put(STRANGERS, Stranger(slot, turn.unit.now, name, code, received.raw))
        refusal = refusing.refusal(received, error)
        until = turn.now + Receipt.lifetime
        return turn.seal(refusal, received.issuer, until, answers=received.message_id).raw

    def _refuse(self, turn: Turn, received: Verified[Any], error: PeerFault) -> bytes:
        self._record(turn, received, Direction.REFUSED)
        return turn.answer(refusing.refusal(received, error), received)

    def _record(self, turn: Turn, received: Verified[Any], direction: Direction) -> None:
        journal.record(
            turn.unit,
            received.raw,
            direction,
            name=received.message.name,
            message_id=received.message_id,
            counterpart=received.issuer,
            subject=subject_of(received.message) or (turn.asked.subject if turn.asked else None),
        )

    def _remember(self, unit: Unit, received: Verified[Any], answer: bytes | None) -> None:
        row = Received(
            received.issuer,
            received.message_id,
            received.digest,
            answer,
            received.expires_at + SKEW + 1,
        )
        unit.add(INBOX, row)

    def _take_answers(
        self, unit: Unit, opened: list[Verified[Any]], taken: Taken, unreadable: list[SuretyError]
    ) -> None:
        taken.troubles = list(unreadable)
        for received in opened:
            if isinstance(received.message, Receipt):
                taken.answered |= self._take_receipt(unit, received)
                continue
            asked = unit.get(OUTBOX, received.answers) if received.answers else None
            if asked is not None and asked.recipient != received.issuer:
                continue  # not this one's to answer
            if received.answers:
                taken.answered.add(received.answers)
            if asked is None:
                continue  # answered before, or never asked
            part = unit.nested()
            turn = self.turn(part, asked=asked, principal=received.audience)
            try:
                self._record(turn, received, Direction.RECEIVED)
                self._handler(received).run(turn, received)
            except PeerFault as error:
                taken.troubles.append(error)
                part = unit.nested()
                turn = self.turn(part, asked=asked, principal=received.audience)
                self._record(turn, received, Direction.REFUSED)
            part.remove(OUTBOX, asked.message_id)
            part.after(partial(self.on_answer, asked.message_id, received))
            part.merge()

    def _take_receipt(self, unit: Unit, received: Verified[Receipt]) -> set[str]:
        done = {each: unit.get(OUTBOX, each) for each in received.message.accepted}
        ours = [row for row in done.values() if row is not None]
        theirs = [row for row in ours if row.recipient == received.issuer]
        if theirs:
            turn = self.turn(unit, principal=received.audience)
            self._record(turn, received, Direction.RECEIVED)
            for row in theirs:
                unit.remove(OUTBOX, row.message_id)
                self._party.receipted(turn, row)
        # Somebody else's word is no receipt; what is no longer in the outbox was answered before.
        return set(done) - {row.message_id for row in ours if row not in theirs}


def by(*kinds: str) -> frozenset[str]:
    """The kinds of sender that a handler takes a message from."""
    return frozenset(kinds)
