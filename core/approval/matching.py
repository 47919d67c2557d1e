"""The cross-check: vouch, report, verify, record (rows 5, 8, 9, 10).

Nothing is a sale before this room says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import sqlalchemy as sa

from core.approval import rules
from core.approval.books import DIGESTS, LEDGERS, ORDERS, PARTIES, digests, orders
from core.approval.guarantees import current
from core.approval.rows import DigestRow, LedgerRow, OrderRow, OrderState
from core.approval.rules import Event
from core.protocol.canonical import canonical
from core.protocol.control import Refusal
from core.protocol.discovery import AgencyFound, AgencySearch, AnonymousIdRegistration
from core.protocol.faults import PeerFault, fault
from core.protocol.message import Message
from core.protocol.purchase import (
    MerchantFound,
    MerchantSearch,
    RecordedNotice,
    StateAnswer,
    StateQuery,
    TransactionReport,
    Verification,
    VerificationFailed,
    VerificationPending,
    VerificationRequest,
    VouchRelease,
)
from core.protocol.terms import OrderRef, Terms, anonymous_id_digest, reference

if TYPE_CHECKING:
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified

AT_ONCE: Final = 100
PURGED_AT_ONCE: Final = 1000
_DUE = (
    sa.select(orders)
    .where(orders.c.deadline <= sa.bindparam("now"))
    .order_by(orders.c.deadline)
    .limit(AT_ONCE)
)
_OLD_IDS = (
    sa.select(digests.c.digest)
    .where(digests.c.expires_at < sa.bindparam("now"))
    .limit(PURGED_AT_ONCE)
)
_BY_OFFER = sa.select(orders).where(orders.c.offer_hash == sa.bindparam("offer_hash")).limit(2)


def register_id(turn: Turn, received: Verified[AnonymousIdRegistration]) -> None:
    """Row 1c: an agency's anonymous ID, known here by its digest alone."""
    message = received.message
    known = turn.unit.get(DIGESTS, message.anonymous_id_digest)
    if known is not None and known.agency != received.issuer:
        raise PeerFault(fault("anonymous_id_reused"))
    if known is None:
        row = DigestRow(message.anonymous_id_digest, received.issuer, None, message.expires_at)
        turn.unit.put(DIGESTS, row)


def forget_ids(turn: Turn) -> None:
    """Forget the digests of anonymous IDs that nobody can use any more."""
    for (digest,) in turn.unit.query(_OLD_IDS, now=turn.now):
        turn.unit.remove(DIGESTS, digest)


def search_agency(turn: Turn, received: Verified[AgencySearch]) -> AgencyFound:
    """Row 3: the agency behind an anonymous ID, for the merchant that was shown it."""
    message = received.message
    fingerprint = anonymous_id_digest(message.anonymous_id)
    row = rules.check_search(turn.unit.get(DIGESTS, fingerprint), received.issuer, turn.now)
    agency = rules.check_standing(turn.unit.get(PARTIES, row.agency), turn.now)
    turn.unit.put(DIGESTS, msgspec.structs.replace(row, merchant=received.issuer))
    return AgencyFound(
        agency=agency.party,
        anonymous_id_digest=fingerprint,
        guarantee=current(turn, agency),
        offer_hash=message.offer_hash,
    )


def vouch(turn: Turn, received: Verified[MerchantSearch]) -> MerchantFound:
    """Row 5: the merchant's guarantee, and exposure reserved under the agency's cap."""
    terms = received.message.terms
    rules.check_reference(received.message.order, terms)
    if terms.agency != received.issuer:
        raise PeerFault(fault("wrong_issuer"), "the terms name another agency")
    agency = rules.check_standing(turn.unit.get(PARTIES, terms.agency), turn.now)
    merchant = rules.check_standing(turn.unit.get(PARTIES, terms.merchant), turn.now)
    order = turn.unit.get(ORDERS, terms.agency, terms.merchant, terms.order_number)
    rules.check_vouch(order, terms, agency, merchant, turn.now)
    step = rules.ORDERS.next(order.state if order else OrderState.NONE, Event.VOUCH)
    if order is None:
        cap = rules.cap_of(agency, terms.amount.currency)
        turn.unit.put(LEDGERS, rules.reserve(_ledger(turn, terms), terms.amount.minor, cap))
        order = _new(terms, received.message.order.terms_hash, step.then, turn.now)
        turn.unit.add(ORDERS, order)
    return MerchantFound(
        guarantee=current(turn, merchant),
        order=received.message.order,
        vouched_until=order.deadline or turn.now,
    )


def report(turn: Turn, received: Verified[TransactionReport]) -> Message | None:
    """Row 8: the agency's side of the cross-check."""
    message = received.message
    order = _own(turn, received.issuer, message.order, message.terms, message.terms.agency)
    event = rules.compare(Event.REPORT, order, message.terms)
    if event is not Event.REPORT:
        return _mismatch(turn, order, event, message.terms, tell=order.merchant)
    rules.check_standing(turn.unit.get(PARTIES, order.agency), turn.now)
    step = rules.ORDERS.next(order.state, event)
    if order.state is OrderState.RECORDED:
        return _recorded_notice(order)
    order = msgspec.structs.replace(order, state=step.then, consent_digest=message.consent_digest)
    if step.then is OrderState.RECORDED:
        order = _record(turn, order)
        turn.send(_verification(order), order.merchant, turn.now + Verification.lifetime)
        turn.unit.put(ORDERS, order)
        return _recorded_notice(order)
    turn.unit.put(ORDERS, order)
    return None


def verify(turn: Turn, received: Verified[VerificationRequest]) -> Message:
    """Row 9: the merchant's side of the cross-check."""
    message = received.message
    order = _own(turn, received.issuer, message.order, message.terms, message.terms.merchant)
    event = rules.compare(Event.VERIFY, order, message.terms)
    if event is not Event.VERIFY:
        return _mismatch(turn, order, event, message.terms, tell=order.agency)
    rules.check_standing(turn.unit.get(PARTIES, order.merchant), turn.now)
    if order.state is OrderState.EXPIRED:
        raise PeerFault(fault("order_expired"), order.order_number)
    step = rules.ORDERS.next(order.state, event)
    if order.state is OrderState.RECORDED:
        return _verification(order)
    order = msgspec.structs.replace(
        order, state=step.then, completion_digest=message.completion_digest
    )
    if step.then is OrderState.RECORDED:
        # The agency's word counts only while the agency is in standing, also at this moment.
        rules.check_standing(turn.unit.get(PARTIES, order.agency), turn.now)
        order = _record(turn, order)
        turn.send(_recorded_notice(order), order.agency, turn.now + RecordedNotice.lifetime)
        turn.unit.put(ORDERS, order)
        return _verification(order)
    turn.unit.put(ORDERS, order)
    return VerificationPending(order=message.order, until=order.deadline or turn.now)


def give_up(turn: Turn, received: Verified[VouchRelease]) -> None:
    """The agency's order will not become a sale: what was reserved is free again."""
    message = received.message
    order = turn.unit.get(
        ORDERS, message.order.agency, message.order.merchant, message.order.order_number
    )
    if order is None or order.agency != received.issuer:
        raise PeerFault(fault("order_unknown"))
    if order.state in {OrderState.EXPIRED, OrderState.MISMATCH, OrderState.RELEASED}:
        return
    step = rules.ORDERS.next(order.state, Event.RELEASE)
    if order.state is OrderState.VERIFY_ONLY:
        _fail(turn, order, order.merchant, message.reason)
    _end(turn, order, step.then, message.reason)


def expire(turn: Turn) -> int:
    """End what was vouched for and not recorded in time. Returns how many orders ended."""
    due = [ORDERS.load(values) for values in turn.unit.query(_DUE, now=turn.now)]
    for order in due:
        step = rules.ORDERS.next(order.state, Event.TIME_UP)
        for party in (order.agency, order.merchant):
            _fail(turn, order, party, "order_expired")
        _end(turn, order, step.then, "order_expired")
    return len(due)


def state(turn: Turn, received: Verified[StateQuery]) -> StateAnswer:
    """Any party's question about its own orders."""
    wanted = received.message.offer_hash
    for values in turn.unit.query(_BY_OFFER, offer_hash=wanted):
        order = ORDERS.load(values)
        if received.issuer in {order.agency, order.merchant}:
            return StateAnswer(offer_hash=wanted, order=_ref(order), state=order.state.value)
    return StateAnswer(offer_hash=wanted, order=None, state=None)


def _own(turn: Turn, issuer: str, order: OrderRef, terms: Terms, owner: str) -> OrderRow:
    rules.check_reference(order, terms)
    if owner != issuer:
        raise PeerFault(fault("wrong_issuer"), "the terms name another party")
    found = turn.unit.get(ORDERS, terms.agency, terms.merchant, terms.order_number)
    if found is None:
        raise PeerFault(fault("not_vouched"), terms.order_number)
    return found


def _new(terms: Terms, terms_hash: str, state: OrderState, now: int) -> OrderRow:
    return OrderRow(
        agency=terms.agency,
        merchant=terms.merchant,
        order_number=terms.order_number,
        state=state,
        offer_hash=terms.offer_hash,
        terms_hash=terms_hash,
        currency=terms.amount.currency,
        minor=terms.amount.minor,
        terms=canonical(terms),
        deadline=rules.vouched_until(terms, now),
        vouched_at=now,
        completion_digest=None,
        consent_digest=None,
        record=None,
        recorded_at=None,
        reason="",
    )


def _record(turn: Turn, order: OrderRow) -> OrderRow:
    ledger = rules.commit(_ledger(turn, _terms(order)), order.minor)
    turn.unit.put(LEDGERS, ledger)
    return msgspec.structs.replace(
        order, record=ledger.records, recorded_at=turn.now, deadline=None
    )


def _mismatch(turn: Turn, order: OrderRow, event: Event, terms: Terms, *, tell: str) -> Refusal:
    detail = rules.differing(_terms(order), terms)
    if rules.ORDERS.allows(order.state, event):
        step = rules.ORDERS.next(order.state, event)
        if order.state is not OrderState.VOUCHED or tell == order.agency:
            _fail(turn, order, tell, "terms_mismatch")
        _end(turn, order, step.then, f"terms_mismatch: {detail}")
    return Refusal(code="terms_mismatch", detail=detail, subject=terms.offer_hash)


def _end(turn: Turn, order: OrderRow, state: OrderState, reason: str) -> None:
    turn.unit.put(LEDGERS, rules.release(_ledger(turn, _terms(order)), order.minor))
    turn.unit.put(ORDERS, msgspec.structs.replace(order, state=state, deadline=None, reason=reason))


def _fail(turn: Turn, order: OrderRow, party: str, reason: str) -> None:
    turn.send(
        VerificationFailed(order=_ref(order), reason=reason),
        party,
        turn.now + VerificationFailed.lifetime,
    )


def _verification(order: OrderRow) -> Verification:
    return Verification(
        order=_ref(order),
        record=order.record or 0,
        recorded_at=order.recorded_at or 0,
        terms=_terms(order),
    )


def _recorded_notice(order: OrderRow) -> RecordedNotice:
    return RecordedNotice(
        order=_ref(order), record=order.record or 0, recorded_at=order.recorded_at or 0
    )


def _terms(order: OrderRow) -> Terms:
    return msgspec.json.decode(order.terms, type=Terms)


def _ref(order: OrderRow) -> OrderRef:
    return reference(_terms(order))


def _ledger(turn: Turn, terms: Terms) -> LedgerRow:
    currency = terms.amount.currency
    return turn.unit.get(LEDGERS, terms.agency, currency) or LedgerRow(
        terms.agency, currency, 0, 0, 0
    )
