"""A party's turn: one message or event is being dealt with, inside one commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from core.evidence.chain import Direction
from core.exchange.tables import OUTBOX, SETTINGS, Setting, Waiting
from core.protocol.canonical import digest
from core.protocol.envelope import Verified, seal
from core.protocol.identifiers import message_id
from core.protocol.standing import ANYONE
from core.storage import journal

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.protocol.keys import SigningKey
    from core.protocol.message import Message
    from core.storage.unit import Unit

RETRY_GRACE: Final = 120


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is: its principal (a party, a device) and the key that signs for it."""

    principal: str
    key: SigningKey


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message that this turn made. `digest`: SHA-256 of its exact bytes."""

    message_id: str
    raw: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the exact bytes."""
        return digest(self.raw)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came.

    `address`: the caller's IP address, after configured proxies; None: it answers a call of ours.
    """

    address: str | None
    license: str | None = None
    session: str | None = None


OURS: Final = Arrival(None)
"""The arrival of what nobody sent: an event of this node's own."""


class Turn:
    """What a handler may do: read and write rows, send messages, read the time.

    All of it is in one commit.

    `asked`: the message of ours that the one at hand answers. `arrival`: how it came.
    `reply_headers`: what goes back beside the signed answer because evidence must not hold it
    (license keys, session tokens).
    """

    def __init__(  # noqa: PLR0913 - all of what a turn stands on
        self,
        unit: Unit,
        identity: Identity,
        clock: Clock,
        dispatch: Callable[[Waiting], None],
        *,
        arrival: Arrival = OURS,
        asked: Waiting | None = None,
    ) -> None:
        self.unit = unit
        self.identity = identity
        self.clock = clock
        self.arrival = arrival
        self.asked = asked
        self.reply_headers: dict[str, str] = {}
        self._dispatch = dispatch

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return self.unit.now // 1000

    def acting_as(self, identity: Identity) -> Turn:
        """The same turn for another identity of the same owner: an order's own key."""
        return Turn(
            self.unit, identity, self.clock, self._dispatch, arrival=self.arrival, asked=self.asked
        )

    def fresh_id(self) -> str:
        """A new message identifier."""
        return message_id(self.unit.now, self.clock.entropy(10))

    def seal(
        self, message: Message, audience: str, expires_at: int, *, answers: str | None = None
    ) -> Sealed:
        """Sign a message without keeping or sending it.

        `expires_at` is cut to the type's longest lifetime.
        """
        identifier = self.fresh_id()
        raw = seal(
            message,
            self.identity.key,
            issuer=self.identity.principal,
            audience=audience,
            message_id=identifier,
            issued_at=self.now,
            expires_at=max(self.now, min(expires_at, self.now + type(message).lifetime)),
            answers=answers,
        )
        return Sealed(identifier, raw)

    def keep_sent(self, message: Message, sealed: Sealed, to: str, subject: str | None) -> None:
        """Put a message that this node signed into the chain of evidence."""
        journal.record(
            self.unit,
            sealed.raw,
            Direction.SENT,
            name=message.name,
            message_id=sealed.message_id,
            counterpart=to,
            subject=subject,
        )

    def send(
        self, message: Message, to: str, expires_at: int, *, answers: str | None = None
    ) -> Sealed:
        """Send a message once this turn is committed, and again until it is answered or expires."""
        subject = subject_of(message)
        sealed = self.seal(message, to, expires_at, answers=answers)
        self.keep_sent(message, sealed, to, subject)
        until = min(expires_at, self.now + type(message).lifetime) + RETRY_GRACE
        sender = self.identity.principal
        waiting = Waiting(
            sealed.message_id, sender, to, message.name, subject, sealed.raw, self.unit.now, until
        )
        self.unit.add(OUTBOX, waiting)
        dispatch = self._dispatch
        self.unit.after(lambda: dispatch(waiting))
        return sealed

    def answer(self, message: Message, to: Verified[Any], expires_at: int | None = None) -> bytes:
        """Sign and keep the answer to a message: these bytes now and whenever it is asked again."""
        sealed = self.seal(
            message, to.issuer, expires_at or self.now + 86_400, answers=to.message_id
        )
        self.keep_sent(message, sealed, to.issuer, subject_of(message) or subject_of(to.message))
        return sealed.raw

    def state(self, message: Message, expires_at: int, subject: str | None = None) -> Sealed:
        """Sign and keep a statement for anyone: an offer, a guarantee, an index."""
        sealed = self.seal(message, ANYONE, expires_at)
        self.keep_sent(message, sealed, ANYONE, subject)
        return sealed

    def setting(self, name: str) -> str | None:
        """One of the node's own facts."""
        row = self.unit.get(SETTINGS, name)
        return None if row is None else row.value

    def put_setting(self, name: str, value: str) -> None:
        """Keep one of the node's own facts; never a secret."""
        self.unit.put(SETTINGS, Setting(name, value))


def subject_of(message: Message) -> str | None:
    """The offer hash that a message is about: what ties all evidence of an order together."""
    fields: Any = message
    order = getattr(message, "order", None)
    if order is not None:
        return str(order.offer_hash)
    for name in ("offer_hash", "subject"):
        value = getattr(fields, name, None)
        if isinstance(value, str):
            return value
    if message.name == "offer/1":
        return digest(msgspec.json.encode(message, order="sorted"))
    return None
