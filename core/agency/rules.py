"""The agency's rules: an order from billing request to recorded sale, as one table. Pure.

And when credit may be given, and an anonymous ID be used.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from core.agency.rows import IntroductionRow, MemberRow, MemberState, OrderRow
from core.agency.rows import OrderState as S
from core.protocol.faults import PeerFault, fault
from core.protocol.money import Money
from core.protocol.purchase import BillingRequest, Consent
from core.protocol.terms import (
    OrderRef,
    Terms,
    check_offer,
    fix_terms,
    offer_hash,
    reference,
    terms_hash,
)
from core.protocol.transitions import Row, Table

VOUCH_SECONDS: Final = 60
MEMBER_SECONDS: Final = 600
ASK_AGAIN_SECONDS: Final = 300


class Event(StrEnum):
    """What can happen to an order here."""

    BILLING_ASKED = "BILLING_ASKED"
    VOUCHED = "VOUCHED"
    VOUCH_REFUSED = "VOUCH_REFUSED"
    CONSENTED = "CONSENTED"
    DECLINED = "DECLINED"
    RECORDED = "RECORDED"
    FAILED = "FAILED"
    TIME_UP = "TIME_UP"


ORDERS: Final = Table(
    "agency",
    S.RECEIVED,
    (
        Row(S.RECEIVED, Event.BILLING_ASKED, S.VOUCH_SENT, ("merchant.search",)),
        Row(S.VOUCH_SENT, Event.VOUCHED, S.AWAIT_MEMBER, ("completion.notice",)),
        Row(S.VOUCH_SENT, Event.VOUCH_REFUSED, S.REFUSED, ("completion.report", "purchase.result")),
        Row(S.VOUCH_SENT, Event.FAILED, S.REFUSED, ("completion.report", "purchase.result")),
        Row(
            S.VOUCH_SENT,
            Event.TIME_UP,
            S.REFUSED,
            ("vouch.release", "completion.report", "purchase.result"),
        ),
        Row(
            S.AWAIT_MEMBER,
            Event.CONSENTED,
            S.AUTHORISED,
            ("transaction.report", "completion.report"),
        ),
        Row(
            S.AWAIT_MEMBER,
            Event.DECLINED,
            S.DECLINED,
            ("vouch.release", "completion.report", "purchase.result"),
        ),
        Row(S.AWAIT_MEMBER, Event.FAILED, S.EXPIRED, ("completion.report", "purchase.result")),
        Row(
            S.AWAIT_MEMBER,
            Event.TIME_UP,
            S.EXPIRED,
            ("vouch.release", "completion.report", "purchase.result"),
        ),
        Row(S.AUTHORISED, Event.CONSENTED, S.AUTHORISED),
        Row(S.AUTHORISED, Event.RECORDED, S.RECORDED_SEEN, ("purchase.result",)),
        Row(S.AUTHORISED, Event.FAILED, S.VOIDED, ("purchase.result",)),
        Row(S.AUTHORISED, Event.TIME_UP, S.AUTHORISED, ("transaction.report",)),
        Row(S.RECORDED_SEEN, Event.CONSENTED, S.RECORDED_SEEN),
        Row(S.RECORDED_SEEN, Event.RECORDED, S.RECORDED_SEEN),
    ),
)
"""Once the member has consented, only approval's word ends the order: time alone never does."""


def check_member(member: MemberRow | None, amount: Money | None = None) -> MemberRow:
    """The member, if he may buy (for this amount).

    Raises `no_member`, `member_suspended`, `unsupported_currency`, `credit_exceeded`.
    """
    if member is None:
        raise PeerFault(fault("no_member"))
    if member.state is not MemberState.ACTIVE:
        raise PeerFault(fault("member_suspended"))
    if amount is not None:
        if amount.currency != member.currency:
            raise PeerFault(fault("unsupported_currency"), amount.currency)
        if amount.minor > member.available:
            raise PeerFault(fault("credit_exceeded"))
    return member


def reserve(member: MemberRow, minor: int) -> MemberRow:
    """Credit held for an open order."""
    if minor <= 0 or minor > member.available:
        raise PeerFault(fault("credit_exceeded"))
    return msgspec.structs.replace(member, reserved=member.reserved + minor)


def release(member: MemberRow, minor: int) -> MemberRow:
    """Credit given back: the order did not become a sale."""
    if member.reserved < minor:
        raise RuntimeError("more credit is released than was reserved")
    return msgspec.structs.replace(member, reserved=member.reserved - minor)


def owe(member: MemberRow, minor: int) -> MemberRow:
    """Credit that became a debt: the sale is recorded."""
    if member.reserved < minor:
        raise RuntimeError("more is owed than was reserved")
    return msgspec.structs.replace(
        member, reserved=member.reserved - minor, owed=member.owed + minor
    )


def check_introduction(
    row: IntroductionRow, request: BillingRequest, merchant: str, now: int
) -> None:
    """Raises unless this anonymous ID is fresh, unused, and made for just this.

    That is: for this merchant, this offer and this order key. `anonymous_id_wrong_merchant`,
    `anonymous_id_expired`, `anonymous_id_reused`.
    """
    made_for = (row.merchant, row.offer_hash, row.order_key)
    if made_for != (merchant, request.offer_hash, request.order_key):
        raise PeerFault(fault("anonymous_id_wrong_merchant"))
    if row.used:
        raise PeerFault(fault("anonymous_id_reused"))
    if row.expires_at < now:
        raise PeerFault(fault("anonymous_id_expired"))


def terms_of(  # noqa: PLR0913 - what the terms are made of, each by its name
    request: BillingRequest, *, agency: str, merchant: str, id_digest: str, number: str, now: int
) -> Terms:
    """The order's terms, from a billing request that holds together.

    Raises `terms_mismatch` (hashes), `amount_mismatch` (arithmetic), `wrong_issuer` (another
    merchant's offer), `offer_expired`, `malformed` (a number without terms hash or the other way
    round).
    """
    offer = request.offer
    if offer.merchant != merchant:
        raise PeerFault(fault("wrong_issuer"), "the offer is another merchant's")
    if offer_hash(offer) != request.offer_hash:
        raise PeerFault(fault("terms_mismatch"), "offer_hash")
    if (request.order_number is None) != (request.terms_hash is None):
        raise PeerFault(fault("malformed"), "order_number and terms_hash go together")
    check_offer(offer)
    if offer.expires_at < now:
        raise PeerFault(fault("offer_expired"))
    terms = fix_terms(
        offer,
        agency=agency,
        id_digest=id_digest,
        order_key=request.order_key,
        order_number=request.order_number or number,
        fingerprint=request.offer_hash,
    )
    if request.terms_hash is not None and request.terms_hash != terms_hash(terms):
        raise PeerFault(fault("terms_mismatch"), "terms_hash")
    return terms


def check_consent(order: OrderRow, consent: Consent, kid: str, terms: Terms) -> Event:
    """The event that a consent is.

    Raises `order_unknown` (another member's), `consent_mismatch` (not what was shown).
    """
    if order.kid != kid:
        raise PeerFault(fault("order_unknown"))
    if consent.order != reference(terms) or consent.notice_digest != order.notice_digest:
        raise PeerFault(fault("consent_mismatch"))
    return Event.CONSENTED if consent.decision == "confirm" else Event.DECLINED


def check_reference(shown: OrderRef, terms: Terms) -> None:
    """Raises `terms_mismatch` unless the reference is exactly that of these terms."""
    if shown != reference(terms):
        raise PeerFault(fault("terms_mismatch"))


def payment_method(own: tuple[str, ...], merchants: tuple[str, ...]) -> str:
    """The first of the agency's methods that the merchant takes.

    Raises `refused` where there is none.
    """
    for method in own:
        if method in merchants:
            return method
    raise PeerFault(fault("refused"), "no payment method in common")
