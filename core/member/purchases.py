"""A wallet's purchases: what it looks at, asks for, confirms, and how each ended.

Each change wakes whoever waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import sqlalchemy as sa

from core.exchange.turn import Identity
from core.member import rules
from core.member.books import PURCHASES, purchases
from core.member.rows import MembershipRow, PurchaseRow, PurchaseState
from core.member.rules import Event
from core.protocol.canonical import b64url, digest
from core.protocol.control import Refusal
from core.protocol.discovery import AnonymousIdPresented, AnonymousIdRequest, SealedIntroduction
from core.protocol.envelope import read_kept, seal, unwrap, verify
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import device, order_key
from core.protocol.keys import SigningKey, derive_seed, seal_to
from core.protocol.purchase import (
    CompletionNotice,
    Consent,
    PurchaseResult,
    RecordedNotice,
    StateQuery,
)
from core.protocol.terms import Offer, offer_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.exchange.directory import Directory
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified
    from core.protocol.standing import MerchantGuarantee
    from core.storage.unit import Unit

log = logging.getLogger(__name__)
LIFETIME: Final = 900
_DUE = sa.select(purchases).where(purchases.c.deadline <= sa.bindparam("now")).limit(100)
_OPEN = sa.select(purchases).where(purchases.c.state.in_(["ASKED", "AWAIT_CONSENT", "CONFIRMED"]))
_RESULTS: Final = {
    "recorded": Event.RECORDED,
    "declined": Event.RESULT_DECLINED,
    "expired": Event.RESULT_EXPIRED,
    "refused": Event.RESULT_REFUSED,
    "failed": Event.RESULT_FAILED,
}


class Purchases:
    """All purchases of a wallet. `active(identity)`: an order's key is in use from now on."""

    def __init__(self, directory: Directory, active: Callable[[Identity], None]) -> None:
        self._directory = directory
        self._active = active
        self._memberships: dict[str, tuple[MembershipRow, bytes]] = {}
        self._waiting: dict[tuple[str, str], list[asyncio.Future[PurchaseRow]]] = {}

    def membership(self, row: MembershipRow, seed: bytes) -> None:
        """Know a membership and its device's seed, from which order keys are derived."""
        self._memberships[row.kid] = (row, seed)

    def load(self, unit: Unit) -> None:
        """Take up again the keys of purchases that are under way."""
        for values in unit.query(_OPEN):
            row = PURCHASES.load(values)
            if row.kid in self._memberships:
                self._active(self._order_identity(row.kid, row.offer_hash))

    def seen(
        self, turn: Turn, kid: str, offer: Verified[Offer], guarantee: Verified[MerchantGuarantee]
    ) -> PurchaseRow:
        """Keep an offer that was looked at; looking again changes nothing."""
        message = offer.message
        fingerprint = offer_hash(message)
        before = turn.unit.get(PURCHASES, kid, fingerprint)
        if before is not None:
            return before
        rules.check_seen(message, guarantee.message, turn.now)
        self._directory.learn(turn.unit, guarantee.raw, turn.now)
        row = PurchaseRow(
            kid=kid,
            offer_hash=fingerprint,
            state=PurchaseState.SEEN,
            merchant=message.merchant,
            merchant_name=guarantee.message.legal_name,
            currency=message.amount.currency,
            minor=message.amount.minor,
            offer=offer.raw,
            order_key=self._order_identity(kid, fingerprint).key.kid,
            order_number=None,
            terms_hash=None,
            notice=None,
            payment_method="",
            answer_by=None,
            created_at=turn.now,
            deadline=message.expires_at + rules.GRACE_SECONDS,
            recorded_at=None,
            reason="",
        )
        self._put(turn, row)
        return row

    def buy(self, turn: Turn, kid: str, fingerprint: str) -> PurchaseRow:
        """Ask for what was looked at; asking twice asks once."""
        row = self.get(turn, kid, fingerprint)
        if row.state is not PurchaseState.SEEN:
            return row
        step = rules.PURCHASES.next(row.state, Event.BUY)
        identity = self._order_identity(kid, fingerprint)
        turn.unit.after(lambda: self._active(identity))
        offer = self.offer_of(row)
        if offer.introduction == "agency":
            self._ask_agency(turn, row, offer, identity)
        else:
            self._present(turn, row, offer, identity)
        row = msgspec.structs.replace(row, state=step.then)
        self._put(turn, row)
        return row

    def noticed(self, turn: Turn, received: Verified[CompletionNotice]) -> None:
        """Row 6: what the agency would have confirmed, if it is what this wallet has looked at."""
        notice = received.message
        kid = turn.identity.key.kid
        row = self.get(turn, kid, notice.order.offer_hash)
        if row.state is not PurchaseState.ASKED:
            return
        membership, _ = self._memberships[kid]
        if received.issuer != membership.agency:
            raise PeerFault(fault("wrong_issuer"), "another agency's notice")
        rules.check_notice(notice, self.offer_of(row), row, membership.agency)
        step = rules.PURCHASES.next(row.state, Event.NOTICE)
        row = msgspec.structs.replace(
            row,
            state=step.then,
            order_number=notice.order.order_number,
            terms_hash=notice.order.terms_hash,
            notice=received.raw,
            payment_method=notice.payment_method,
            answer_by=notice.answer_by,
            deadline=notice.answer_by + rules.GRACE_SECONDS,
        )
        self._put(turn, row)

    def answer(
        self, turn: Turn, kid: str, fingerprint: str, decision: Literal["confirm", "decline"]
    ) -> PurchaseRow:
        """The member's answer, signed by the device over the exact bytes that were shown.

        A second click changes nothing. Raises `order_unknown`, `out_of_order`.
        """
        row = self.get(turn, kid, fingerprint)
        event = Event.CONFIRM if decision == "confirm" else Event.DECLINE
        done = PurchaseState.CONFIRMED if event is Event.CONFIRM else PurchaseState.DECLINED
        if row.state is done or (event is Event.CONFIRM and row.state is PurchaseState.RECORDED):
            return row
        step = rules.PURCHASES.next(row.state, event)
        shown: Any = read_kept(row.notice or b"")
        consent = Consent(
            decision=decision, notice_digest=digest(row.notice or b""), order=shown.order
        )
        turn.send(
            consent,
            self._memberships[kid][0].agency,
            (row.answer_by or turn.now) + rules.GRACE_SECONDS,
        )
        row = msgspec.structs.replace(row, state=step.then, deadline=None)
        self._put(turn, row)
        return row

    def ended(self, turn: Turn, received: Verified[PurchaseResult]) -> None:
        """How the purchase ended. "Recorded" counts with approval's own signature only."""
        message = received.message
        row = turn.unit.get(PURCHASES, turn.identity.key.kid, message.offer_hash)
        event = _RESULTS[message.result]
        if row is None or not rules.PURCHASES.allows(row.state, event):
            return
        recorded_at = self._recorded_at(turn, row, message) if event is Event.RECORDED else None
        step = rules.PURCHASES.next(row.state, event)
        number = message.order.order_number if message.order else row.order_number
        self._put(
            turn,
            msgspec.structs.replace(
                row,
                state=step.then,
                reason=message.reason,
                deadline=None,
                recorded_at=recorded_at,
                order_number=number,
            ),
        )

    def refused(self, turn: Turn, received: Verified[Refusal]) -> None:
        """Something that this wallet sent was refused: the purchase that hangs on it ends."""
        asked = turn.asked
        if asked is None or asked.subject is None or asked.name == StateQuery.name:
            return
        for kid in self._memberships:
            row = turn.unit.get(PURCHASES, kid, asked.subject)
            if row is None or asked.sender not in {device(kid), order_key(row.order_key)}:
                continue
            if rules.PURCHASES.allows(row.state, Event.RESULT_REFUSED):
                step = rules.PURCHASES.next(row.state, Event.RESULT_REFUSED)
                reason = received.message.code
                self._put(
                    turn,
                    msgspec.structs.replace(row, state=step.then, reason=reason, deadline=None),
                )

    def expire(self, unit: Unit) -> None:
        """End what was not answered in time."""
        for values in unit.query(_DUE, now=unit.now // 1000):
            row = PURCHASES.load(values)
            step = rules.PURCHASES.next(row.state, Event.TIME_UP)
            ended = msgspec.structs.replace(
                row, state=step.then, reason="order_expired", deadline=None
            )
            unit.put(PURCHASES, ended)
            unit.after(lambda ended=ended: self._wake(ended))  # type: ignore[misc]

    def get(self, turn: Turn, kid: str, fingerprint: str) -> PurchaseRow:
        """The purchase. Raises `order_unknown`."""
        row = turn.unit.get(PURCHASES, kid, fingerprint)
        if row is None:
            raise PeerFault(fault("order_unknown"))
        return row

    def offer_of(self, row: PurchaseRow) -> Offer:
        """The offer that was looked at, from its exact bytes."""
        message: Any = read_kept(row.offer)
        offer: Offer = message
        return offer

    def changed(self, kid: str, fingerprint: str) -> asyncio.Future[PurchaseRow]:
        """Resolves with the purchase's next state."""
        future: asyncio.Future[PurchaseRow] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((kid, fingerprint), []).append(future)
        return future

    def _put(self, turn: Turn, row: PurchaseRow) -> None:
        turn.unit.put(PURCHASES, row)
        turn.unit.after(lambda: self._wake(row))

    def _wake(self, row: PurchaseRow) -> None:
        for future in self._waiting.pop((row.kid, row.offer_hash), []):
            if not future.done():
                future.set_result(row)

    def _order_identity(self, kid: str, fingerprint: str) -> Identity:
        _, seed = self._memberships[kid]
        return _order_identity(seed, fingerprint)

    def _ask_agency(self, turn: Turn, row: PurchaseRow, offer: Offer, identity: Identity) -> None:
        request = AnonymousIdRequest(
            amount=offer.amount,
            expires_at=offer.expires_at,
            merchant=offer.merchant,
            offer_hash=row.offer_hash,
            order_key=identity.key.public.x,
        )
        turn.send(
            request,
            self._memberships[row.kid][0].agency,
            min(turn.now + LIFETIME, offer.expires_at),
        )

    def _present(self, turn: Turn, row: PurchaseRow, offer: Offer, identity: Identity) -> None:
        membership, _ = self._memberships[row.kid]
        expires_at = min(turn.now + LIFETIME, offer.expires_at)
        inner = SealedIntroduction(
            expires_at=expires_at,
            merchant=offer.merchant,
            nonce=turn.fresh_id(),
            offer_hash=row.offer_hash,
            order_key=identity.key.kid,
        )
        signed = seal(
            inner,
            turn.identity.key,
            issuer=turn.identity.principal,
            audience=membership.agency,
            message_id=inner.nonce,
            issued_at=turn.now,
            expires_at=expires_at,
        )
        anonymous_id = (
            f"{membership.routing_code}.{b64url(seal_to(membership.sealing_key, signed))}"
        )
        presented = AnonymousIdPresented(
            anonymous_id=anonymous_id,
            expires_at=expires_at,
            key=identity.key.public.x,
            offer_hash=row.offer_hash,
        )
        turn.acting_as(identity).send(presented, offer.merchant, expires_at)

    def _recorded_at(self, turn: Turn, row: PurchaseRow, message: PurchaseResult) -> int:
        trust = self._directory.trust
        if trust is None or message.recorded is None:
            raise PeerFault(fault("consent_mismatch"), "no word of the approval server")
        notice: Any = verify(
            unwrap(message.recorded.encode("ascii")),
            trust.key,
            audience=self._memberships[row.kid][0].agency,
            now=turn.now,
        )
        found = notice.message
        if not isinstance(found, RecordedNotice) or found.order.terms_hash != row.terms_hash:
            raise PeerFault(fault("consent_mismatch"), "approval recorded something else")
        return found.recorded_at


@lru_cache(maxsize=1024)
def _order_identity(seed: bytes, fingerprint: str) -> Identity:
    key = SigningKey(derive_seed(seed, "surety order", fingerprint))
    return Identity(order_key(key.kid), key)
