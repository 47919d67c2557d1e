"""An order at the agency: billing request, vouch, consent, reports, recorded (rows 4 to 8, 10)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import sqlalchemy as sa

from core.agency import rules
from core.agency.books import DEVICES, INTRODUCTIONS, MEMBERS, OFFER_ORDERS, ORDERS, orders
from core.agency.rows import MemberRow, OfferOrderRow, OrderRow, OrderState
from core.agency.rules import Event
from core.exchange.tables import GUARANTEES
from core.protocol.canonical import canonical
from core.protocol.control import Refusal
from core.protocol.discovery import AnonymousIdIntroduction, AnonymousIdRegistration
from core.protocol.envelope import unwrap, verify_as_evidence
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import device, order_number
from core.protocol.purchase import (
    BillingRequest,
    CompletionNotice,
    CompletionReport,
    Consent,
    MerchantFound,
    MerchantSearch,
    PurchaseResult,
    RecordedNotice,
    StateAnswer,
    StateQuery,
    TransactionReport,
    VerificationFailed,
    VouchRelease,
)
from core.protocol.standing import StandingQuery
from core.protocol.terms import OrderRef, Terms, anonymous_id_digest, reference

if TYPE_CHECKING:
    from core.agency.anonymous_ids import AnonymousIds
    from core.exchange.directory import Directory
    from core.exchange.tables import Waiting
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified

log = logging.getLogger(__name__)
AT_ONCE: Final = 100
_DUE = (
    sa.select(orders)
    .where(orders.c.deadline <= sa.bindparam("now"))
    .order_by(orders.c.deadline)
    .limit(AT_ONCE)
)
Ending = Literal["declined", "expired", "refused"]
_FINAL_FOR_REPORT: Final = frozenset(
    {"terms_mismatch", "out_of_order", "not_vouched", "order_expired"}
)


@dataclass(frozen=True, slots=True)
class _End:
    """An end without a sale. `release`: approval still holds a reservation and has to be told."""

    state: OrderState
    result: Ending
    reason: str
    release: bool = True


class Billing:
    """The agency's orders. `methods`: how this agency bills, in order of preference."""

    def __init__(
        self, ids: AnonymousIds, directory: Directory, approval: str, methods: tuple[str, ...]
    ) -> None:
        self._ids = ids
        self._directory = directory
        self._approval = approval
        self._methods = methods

    def asked(self, turn: Turn, received: Verified[BillingRequest]) -> Refusal | None:
        """Row 4: a merchant asks to be paid; credit is held, approval asked to vouch (row 5)."""
        request, merchant = received.message, received.issuer
        introduction = self._ids.open(turn, request, merchant)
        terms = rules.terms_of(
            request,
            agency=turn.identity.principal,
            merchant=merchant,
            id_digest=introduction.digest,
            number=order_number("A", turn.unit.now, turn.clock.entropy(5)),
            now=turn.now,
        )
        if turn.unit.get(ORDERS, merchant, terms.order_number) is not None:
            raise PeerFault(fault("order_conflict"), terms.order_number)
        try:
            member = self._member_behind(turn, introduction.kid, terms)
        except PeerFault as error:
            # The merchant learns that this buyer cannot be billed, and nothing of why.
            self._refuse(turn, introduction.kid, terms.offer_hash, error.fault.code)
            return Refusal(code="declined", detail="", subject=terms.offer_hash)
        turn.unit.put(MEMBERS, rules.reserve(member, terms.amount.minor))
        ref = reference(terms)
        order = OrderRow(
            merchant=merchant,
            order_number=terms.order_number,
            state=rules.ORDERS.next(OrderState.RECEIVED, Event.BILLING_ASKED).then,
            offer_hash=terms.offer_hash,
            terms_hash=ref.terms_hash,
            member=member.member,
            kid=introduction.kid,
            currency=terms.amount.currency,
            minor=terms.amount.minor,
            terms=canonical(terms),
            offer=canonical(request.offer),
            notice_digest=None,
            consent_digest=None,
            payment_method="",
            received_at=turn.now,
            deadline=turn.now + rules.VOUCH_SECONDS,
            record=None,
            recorded_at=None,
            reason="",
        )
        turn.unit.add(ORDERS, order)
        turn.unit.put(OFFER_ORDERS, OfferOrderRow(terms.offer_hash, merchant, terms.order_number))
        search = MerchantSearch(order=ref, terms=terms)
        turn.send(search, self._approval, turn.now + rules.VOUCH_SECONDS)
        return None

    def vouched(self, turn: Turn, received: Verified[MerchantFound]) -> None:
        """Row 5's answer: the merchant is guaranteed; the member is asked (row 6)."""
        message = received.message
        order = self._order(turn, message.order)
        step = rules.ORDERS.next(order.state, Event.VOUCHED)
        terms = terms_in(order)
        rules.check_reference(message.order, terms)
        known = turn.unit.get(GUARANTEES, order.merchant)
        guarantee: Any = self._directory.learn(turn.unit, message.guarantee, turn.now).message
        if guarantee.party != order.merchant:
            raise PeerFault(fault("guarantee_invalid"), "another merchant's")
        if known is None or known.epoch < guarantee.epoch:
            # What changed may be the account to pay into, which no guarantee shows (claim 6).
            turn.send(
                StandingQuery(party=order.merchant),
                self._approval,
                turn.now + StandingQuery.lifetime,
            )
        try:
            method = rules.payment_method(self._methods, guarantee.payment_methods)
        except PeerFault:
            self._end(turn, order, _End(OrderState.REFUSED, "refused", "no_payment_method"))
            return
        answer_by = min(
            turn.now + rules.MEMBER_SECONDS, message.vouched_until - 60, terms.expires_at
        )
        notice = CompletionNotice(
            answer_by=answer_by,
            guarantee=message.guarantee,
            merchant_name=guarantee.legal_name,
            order=message.order,
            payment_method=method,
            terms=terms,
        )
        sealed = turn.send(notice, device(order.kid), answer_by)
        turn.unit.put(
            ORDERS,
            msgspec.structs.replace(
                order,
                state=step.then,
                notice_digest=sealed.digest,
                payment_method=method,
                deadline=answer_by + 5,
            ),
        )

    def consented(self, turn: Turn, received: Verified[Consent]) -> None:
        """Row 6: the member's signature over what was shown; without it nothing is billed."""
        message = received.message
        order = self._order(turn, message.order)
        terms = terms_in(order)
        event = rules.check_consent(order, message, received.kid, terms)
        step = rules.ORDERS.next(order.state, event)
        if order.state is not OrderState.AWAIT_MEMBER:
            return
        if event is Event.CONSENTED:
            rules.check_member(turn.unit.get(MEMBERS, order.member))
        if event is Event.DECLINED:
            self._end(turn, order, _End(step.then, "declined", "declined"))
            return
        order = msgspec.structs.replace(
            order,
            state=step.then,
            consent_digest=received.digest,
            deadline=turn.now + rules.ASK_AGAIN_SECONDS,
        )
        turn.unit.put(ORDERS, order)
        self._report(turn, order, terms)
        self._complete(turn, order, "confirmed", "")

    def recorded(self, turn: Turn, received: Verified[RecordedNotice]) -> None:
        """Row 10: approval has recorded the sale.

        From here on, and not earlier, the member owes the amount.
        """
        message = received.message
        order = self._order(turn, message.order)
        rules.check_reference(message.order, terms_in(order))
        step = rules.ORDERS.next(order.state, Event.RECORDED)
        if order.state is OrderState.RECORDED_SEEN:
            return
        member = turn.unit.get(MEMBERS, order.member)
        if member is not None:
            turn.unit.put(MEMBERS, rules.owe(member, order.minor))
        turn.unit.put(
            ORDERS,
            msgspec.structs.replace(
                order,
                state=step.then,
                deadline=None,
                record=message.record,
                recorded_at=message.recorded_at,
            ),
        )
        result = PurchaseResult(
            offer_hash=order.offer_hash,
            order=message.order,
            reason="",
            recorded=received.raw.decode("ascii"),
            result="recorded",
        )
        turn.send(result, device(order.kid), turn.now + PurchaseResult.lifetime)

    def failed(self, turn: Turn, received: Verified[VerificationFailed]) -> None:
        """Approval says that this order will not be a sale."""
        self._fail(turn, self._order(turn, received.message.order), received.message.reason)

    def refused(self, turn: Turn, received: Verified[Refusal]) -> None:
        """Something that this agency sent was refused."""
        asked = turn.asked
        code = received.message.code
        log.warning(
            "refused",
            extra={"by": received.issuer, "code": code, "asked": asked.name if asked else ""},
        )
        if asked is not None and asked.name == AnonymousIdRegistration.name:
            self._not_registered(turn, asked, code)
        if asked is None or asked.subject is None:
            return
        if asked.name == AnonymousIdIntroduction.name:
            self._not_introduced(turn, asked, code)
            return
        row = turn.unit.get(OFFER_ORDERS, asked.subject)
        order = turn.unit.get(ORDERS, row.merchant, row.order_number) if row else None
        if order is None:
            return
        if asked.name == MerchantSearch.name and order.state is OrderState.VOUCH_SENT:
            step = rules.ORDERS.next(order.state, Event.VOUCH_REFUSED)
            self._end(turn, order, _End(step.then, "refused", code, release=False))
        elif asked.name == TransactionReport.name and code in _FINAL_FOR_REPORT:
            self._fail(turn, order, code)

    def expire(self, turn: Turn) -> int:
        """Deal with what is due. Returns how many orders were."""
        due = [ORDERS.load(values) for values in turn.unit.query(_DUE, now=turn.now)]
        for order in due:
            step = rules.ORDERS.next(order.state, Event.TIME_UP)
            if step.then is OrderState.AUTHORISED:
                again = msgspec.structs.replace(order, deadline=turn.now + rules.ASK_AGAIN_SECONDS)
                turn.unit.put(ORDERS, again)
                self._report(turn, again, terms_in(again))
                continue
            result: Ending = "refused" if step.then is OrderState.REFUSED else "expired"
            self._end(turn, order, _End(step.then, result, "order_expired"))
        return len(due)

    def state(self, turn: Turn, received: Verified[StateQuery]) -> StateAnswer:
        """A member's, the merchant's or approval's question about an order of theirs."""
        wanted = received.message.offer_hash
        row = turn.unit.get(OFFER_ORDERS, wanted)
        order = turn.unit.get(ORDERS, row.merchant, row.order_number) if row else None
        if order is None or received.issuer not in {
            device(order.kid),
            order.merchant,
            self._approval,
        }:
            return StateAnswer(offer_hash=wanted, order=None, state=None)
        return StateAnswer(
            offer_hash=wanted, order=reference(terms_in(order)), state=order.state.value
        )

    def _member_behind(self, turn: Turn, kid: str, terms: Terms) -> MemberRow:
        found = turn.unit.get(DEVICES, kid)
        return rules.check_member(
            turn.unit.get(MEMBERS, found.member) if found else None, terms.amount
        )

    def _report(self, turn: Turn, order: OrderRow, terms: Terms) -> None:
        report = TransactionReport(
            consent_digest=order.consent_digest or "",
            order=reference(terms),
            payment_method=order.payment_method,
            terms=terms,
        )
        turn.send(report, self._approval, turn.now + rules.ASK_AGAIN_SECONDS)

    def _complete(
        self,
        turn: Turn,
        order: OrderRow,
        result: Literal["confirmed", "declined", "expired", "refused"],
        reason: str,
    ) -> None:
        terms = terms_in(order)
        report = CompletionReport(order=reference(terms), reason=reason, result=result, terms=terms)
        turn.send(report, order.merchant, turn.now + 86_400)

    def _fail(self, turn: Turn, order: OrderRow, reason: str) -> None:
        if not rules.ORDERS.allows(order.state, Event.FAILED):
            return
        step = rules.ORDERS.next(order.state, Event.FAILED)
        if step.then is not OrderState.VOIDED:
            self._end(turn, order, _End(step.then, "expired", reason, release=False))
            return
        self._free(turn, order)
        turn.unit.put(
            ORDERS, msgspec.structs.replace(order, state=step.then, deadline=None, reason=reason)
        )
        self._tell(turn, order.kid, reference(terms_in(order)), "failed", reason)

    def _end(self, turn: Turn, order: OrderRow, end: _End) -> None:
        ref = reference(terms_in(order))
        self._free(turn, order)
        ended = msgspec.structs.replace(order, state=end.state, deadline=None, reason=end.reason)
        turn.unit.put(ORDERS, ended)
        if end.release:
            given_up = VouchRelease(order=ref, reason=end.result)
            turn.send(given_up, self._approval, turn.now + 86_400)
        self._complete(turn, order, end.result, end.reason)
        self._tell(turn, order.kid, ref, end.result, end.reason)

    def _free(self, turn: Turn, order: OrderRow) -> None:
        member = turn.unit.get(MEMBERS, order.member)
        if member is not None:
            turn.unit.put(MEMBERS, rules.release(member, order.minor))

    def _not_registered(self, turn: Turn, asked: Waiting, code: str) -> None:
        row = self._ids.given_up(turn, asked)
        if row is not None:
            self._refuse(turn, row.kid, row.offer_hash, code)

    def _not_introduced(self, turn: Turn, asked: Waiting, code: str) -> None:
        # The message is this agency's own: what it says can be believed.
        sent: Any = verify_as_evidence(unwrap(asked.raw), turn.identity.key.public).message
        row = turn.unit.get(INTRODUCTIONS, anonymous_id_digest(sent.anonymous_id))
        if row is not None:
            self._refuse(turn, row.kid, row.offer_hash, code)

    def _refuse(self, turn: Turn, kid: str, offer_hash: str, reason: str) -> None:
        # Before there is an order: the member knows the purchase by its offer.
        message = PurchaseResult(
            offer_hash=offer_hash, order=None, reason=reason, recorded=None, result="refused"
        )
        turn.send(message, device(kid), turn.now + PurchaseResult.lifetime)

    def _tell(
        self, turn: Turn, kid: str, ref: OrderRef, result: Ending | Literal["failed"], reason: str
    ) -> None:
        message = PurchaseResult(
            offer_hash=ref.offer_hash, order=ref, reason=reason, recorded=None, result=result
        )
        turn.send(message, device(kid), turn.now + PurchaseResult.lifetime)

    def _order(self, turn: Turn, ref: OrderRef) -> OrderRow:
        order = turn.unit.get(ORDERS, ref.merchant, ref.order_number)
        if order is None or ref.agency != turn.identity.principal:
            raise PeerFault(fault("order_unknown"))
        return order


def terms_in(order: OrderRow) -> Terms:
    """The terms that an order is about."""
    return msgspec.json.decode(order.terms, type=Terms)
