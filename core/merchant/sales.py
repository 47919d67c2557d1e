"""From the agency's report to the sale (rows 7, 9). Goods move on approval's signature only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
import sqlalchemy as sa

from core.exchange.tables import GUARANTEES
from core.merchant import rules
from core.merchant.books import NUMBERS, ORDERS, SALES, orders
from core.merchant.rows import NumberRow, OrderRow, OrderState, SaleRow
from core.merchant.rules import Event
from core.protocol.canonical import digest
from core.protocol.control import Refusal
from core.protocol.faults import PeerFault, fault
from core.protocol.purchase import (
    CompletionReport,
    StateAnswer,
    StateQuery,
    Verification,
    VerificationFailed,
    VerificationPending,
    VerificationRequest,
)
from core.protocol.terms import OrderRef, reference

if TYPE_CHECKING:
    from core.exchange.turn import Turn
    from core.merchant.orders import Orders
    from core.protocol.envelope import Verified

log = logging.getLogger(__name__)
AT_ONCE: Final = 100
_DUE = (
    sa.select(orders)
    .where(orders.c.deadline <= sa.bindparam("now"))
    .order_by(orders.c.deadline)
    .limit(AT_ONCE)
)
_FINAL: Final = frozenset({"terms_mismatch", "order_expired", "out_of_order", "not_vouched"})
_DONE: Final = frozenset(
    {OrderState.VERIFIED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.MISMATCH}
)


class Sales:
    """The merchant's orders from the agency's answer on."""

    def __init__(self, begun: Orders, approval: str) -> None:
        self._begun = begun
        self._approval = approval

    def completed(self, turn: Turn, received: Verified[CompletionReport]) -> None:
        """Row 7: what the agency says.

        Confirmed: approval is asked; anything else ends the order.
        """
        message = received.message
        order = self._order(turn, message.order)
        if order.agency != received.issuer:
            raise PeerFault(fault("wrong_issuer"), "the order is with another agency")
        self._check_terms(turn, order, message)
        if order.state is OrderState.EXPIRED:
            raise PeerFault(fault("order_expired"))
        event = Event.CONFIRMED if message.result == "confirmed" else Event.REFUSED
        step = rules.ORDERS.next(order.state, event)
        order = self._numbered(turn, order, message)
        if event is Event.REFUSED:
            self._end(turn, order, step.then, message.reason or message.result)
            return
        order = msgspec.structs.replace(
            order,
            state=step.then,
            completion_digest=received.digest,
            deadline=turn.now + rules.ASK_AGAIN_SECONDS,
        )
        turn.unit.put(ORDERS, order)
        self._ask(turn, order)

    def verified(self, turn: Turn, received: Verified[Verification]) -> None:
        """Row 9: approval's signature. The sale goes into the sales record; the goods may go."""
        message = received.message
        order = self._order(turn, message.order)
        if order.state is OrderState.VERIFIED:
            return
        expected = rules.expected_terms(
            self._begun.offer_of(turn, order), order, order.order_number or ""
        )
        rules.check_terms(expected, message.order, message.terms)
        step = rules.ORDERS.next(order.state, Event.VERIFIED)
        guarantee = turn.unit.get(GUARANTEES, order.agency or "")
        turn.unit.put(
            ORDERS,
            msgspec.structs.replace(order, state=step.then, deadline=None, anonymous_id=None),
        )
        turn.unit.add(
            SALES,
            SaleRow(
                agency=order.agency or "",
                order_number=order.order_number or "",
                offer_hash=order.offer_hash,
                terms_hash=order.terms_hash or "",
                reference=order.reference,
                currency=order.currency,
                minor=order.minor,
                record=message.record,
                recorded_at=message.recorded_at,
                verification_digest=received.digest,
                guarantee_digest=digest(guarantee.raw) if guarantee else "",
            ),
        )

    def pending(self, turn: Turn, received: Verified[VerificationPending]) -> None:
        """Row 9: the agency has not reported yet; approval sends its word unasked once it has."""
        order = self._order(turn, received.message.order)
        if order.state is OrderState.VERIFIED:
            return
        step = rules.ORDERS.next(order.state, Event.PENDING)
        deadline = received.message.until + rules.GRACE_SECONDS
        turn.unit.put(ORDERS, msgspec.structs.replace(order, state=step.then, deadline=deadline))

    def failed(self, turn: Turn, received: Verified[VerificationFailed]) -> None:
        """Approval says that this order will not be a sale."""
        self._fail(turn, self._order(turn, received.message.order), received.message.reason)

    def refused(self, turn: Turn, received: Verified[Refusal]) -> None:
        """Something that this merchant sent was refused: the order that hangs on it ends."""
        asked = turn.asked
        order = turn.unit.get(ORDERS, asked.subject) if asked and asked.subject else None
        log.warning("refused", extra={"by": received.issuer, "code": received.message.code})
        if order is None or asked is None or asked.name == StateQuery.name:
            return
        if asked.name == VerificationRequest.name and received.message.code not in _FINAL:
            # The sale may still be recorded: the timer asks again, once what is wrong was mended.
            return
        self._fail(turn, order, received.message.code)

    def expire(self, turn: Turn) -> int:
        """Deal with what is due. Returns how many orders were."""
        due = [ORDERS.load(values) for values in turn.unit.query(_DUE, now=turn.now)]
        for order in due:
            step = rules.ORDERS.next(order.state, Event.TIME_UP)
            if step.then is OrderState.EXPIRED:
                self._end(turn, order, step.then, "order_expired")
                continue
            again = msgspec.structs.replace(
                order, state=step.then, deadline=turn.now + rules.ASK_AGAIN_SECONDS
            )
            turn.unit.put(ORDERS, again)
            self._ask(turn, again)
        return len(due)

    def state(self, turn: Turn, received: Verified[StateQuery]) -> StateAnswer:
        """An agency's or approval's question about an order of theirs."""
        wanted = received.message.offer_hash
        order = turn.unit.get(ORDERS, wanted)
        mine = order is not None and received.issuer in {order.agency, self._approval}
        return StateAnswer(
            offer_hash=wanted, order=None, state=order.state.value if order and mine else None
        )

    def _ask(self, turn: Turn, order: OrderRow) -> None:
        terms = rules.expected_terms(
            self._begun.offer_of(turn, order), order, order.order_number or ""
        )
        request = VerificationRequest(
            completion_digest=order.completion_digest or "", order=reference(terms), terms=terms
        )
        turn.send(request, self._approval, turn.now + rules.ASK_AGAIN_SECONDS)

    def _check_terms(self, turn: Turn, order: OrderRow, message: CompletionReport) -> None:
        number = order.order_number or message.order.order_number
        expected = rules.expected_terms(self._begun.offer_of(turn, order), order, number)
        rules.check_terms(expected, message.order, message.terms)

    def _numbered(self, turn: Turn, order: OrderRow, message: CompletionReport) -> OrderRow:
        if order.order_number is not None:
            return order
        number = message.order.order_number
        if turn.unit.get(NUMBERS, order.agency, number) is not None:
            raise PeerFault(fault("order_conflict"), number)
        turn.unit.put(NUMBERS, NumberRow(order.agency or "", number, order.offer_hash))
        return msgspec.structs.replace(
            order, order_number=number, terms_hash=message.order.terms_hash
        )

    def _fail(self, turn: Turn, order: OrderRow, reason: str) -> None:
        if order.state in _DONE:
            return
        waiting = order.state in {OrderState.VERIFY_SENT, OrderState.PENDING}
        event = Event.MISMATCH if waiting and reason == "terms_mismatch" else Event.REFUSED
        self._end(turn, order, rules.ORDERS.next(order.state, event).then, reason)

    def _end(self, turn: Turn, order: OrderRow, state: OrderState, reason: str) -> None:
        ended = msgspec.structs.replace(
            order, state=state, deadline=None, reason=reason, anonymous_id=None
        )
        turn.unit.put(ORDERS, ended)

    def _order(self, turn: Turn, ref: OrderRef) -> OrderRow:
        order = turn.unit.get(ORDERS, ref.offer_hash)
        if order is None or ref.merchant != turn.identity.principal:
            raise PeerFault(fault("order_unknown"))
        return order
