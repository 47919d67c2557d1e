"""The merchant's rules: an order from offer to sale as one table, and what may be offered. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from core.merchant.rows import OrderRow
from core.merchant.rows import OrderState as S
from core.protocol.faults import PeerFault, fault
from core.protocol.money import Money, exponent, line_minor
from core.protocol.standing import AgencyGuarantee
from core.protocol.terms import Line, Offer, OrderRef, Terms, fix_terms, reference
from core.protocol.transitions import Row, Table

ORDER_SECONDS: Final = 720
GRACE_SECONDS: Final = 120
ASK_AGAIN_SECONDS: Final = 300


class Event(StrEnum):
    """What can happen to an order here."""

    INTRODUCED = "INTRODUCED"
    ROUTED = "ROUTED"
    AGENCY_FOUND = "AGENCY_FOUND"
    CONFIRMED = "CONFIRMED"
    REFUSED = "REFUSED"
    MISMATCH = "MISMATCH"
    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    TIME_UP = "TIME_UP"


ORDERS: Final = Table(
    "merchant",
    S.DRAFT,
    (
        Row(S.DRAFT, Event.INTRODUCED, S.SEARCH_SENT, ("agency.search",)),
        Row(S.DRAFT, Event.ROUTED, S.BILLING_SENT, ("billing.request",)),
        Row(S.DRAFT, Event.TIME_UP, S.EXPIRED),
        Row(S.SEARCH_SENT, Event.AGENCY_FOUND, S.BILLING_SENT, ("billing.request",)),
        Row(S.SEARCH_SENT, Event.REFUSED, S.REJECTED),
        Row(S.SEARCH_SENT, Event.TIME_UP, S.EXPIRED),
        Row(S.BILLING_SENT, Event.CONFIRMED, S.VERIFY_SENT, ("verification.request",)),
        Row(S.BILLING_SENT, Event.REFUSED, S.REJECTED),
        Row(S.BILLING_SENT, Event.TIME_UP, S.EXPIRED),
        Row(S.VERIFY_SENT, Event.PENDING, S.PENDING),
        Row(S.VERIFY_SENT, Event.VERIFIED, S.VERIFIED),
        Row(S.VERIFY_SENT, Event.REFUSED, S.REJECTED),
        Row(S.VERIFY_SENT, Event.MISMATCH, S.MISMATCH),
        Row(S.VERIFY_SENT, Event.TIME_UP, S.VERIFY_SENT, ("verification.request",)),
        Row(S.PENDING, Event.VERIFIED, S.VERIFIED),
        Row(S.PENDING, Event.PENDING, S.PENDING),
        Row(S.PENDING, Event.REFUSED, S.REJECTED),
        Row(S.PENDING, Event.MISMATCH, S.MISMATCH),
        Row(S.PENDING, Event.TIME_UP, S.VERIFY_SENT, ("verification.request",)),
    ),
)
"""The merchant's orders.

INTRODUCED: an anonymous ID came whose agency has to be looked up. ROUTED: one whose agency is known
(push, pull). Once the agency has said "confirmed", only approval's word ends the order: time alone
never does.
"""


def may_ship(order: OrderRow) -> bool:
    """Whether the goods may leave: on approval's signature only."""
    return order.state is S.VERIFIED


def price(
    lines: tuple[tuple[str, str, int, str], ...], currency: str
) -> tuple[tuple[Line, ...], Money]:
    """Lines and total from (sku, description, quantity, unit price).

    Raises `nonpositive_amount`, `unsupported_currency`.
    """
    exponent(currency)
    priced = tuple(
        Line(
            description=description,
            minor=line_minor(quantity, unit_price, currency),
            quantity=quantity,
            sku=sku,
            unit_price=unit_price,
        )
        for sku, description, quantity, unit_price in lines
    )
    total = sum(line.minor for line in priced)
    if total <= 0:
        raise PeerFault(fault("nonpositive_amount"), f"{total} minor units")
    return priced, Money(currency=currency, minor=total)


def check_introduction(order: OrderRow | None, offer: Offer | None, now: int) -> OrderRow:
    """The order, if a buyer may take its offer now.

    Raises `offer_unknown`, `offer_expired`, `offer_taken`.
    """
    if order is None or offer is None:
        raise PeerFault(fault("offer_unknown"))
    if offer.expires_at < now or order.state is S.EXPIRED:
        raise PeerFault(fault("offer_expired"))
    if order.state is not S.DRAFT:
        raise PeerFault(fault("offer_taken"))
    return order


def check_agency(guarantee: AgencyGuarantee, order: OrderRow) -> None:
    """Raises `unsupported_currency` where the agency does not bill in the order's currency."""
    if order.currency not in guarantee.currencies:
        raise PeerFault(fault("unsupported_currency"), order.currency)


def expected_terms(offer: Offer, order: OrderRow, order_number: str) -> Terms:
    """The terms as they must be, from what this merchant itself knows."""
    return fix_terms(
        offer,
        agency=order.agency or "",
        id_digest=order.anonymous_id_digest or "",
        order_key=order.order_key or "",
        order_number=order_number,
        fingerprint=order.offer_hash,
    )


def check_terms(expected: Terms, shown: OrderRef, terms: Terms | None = None) -> None:
    """Raises `terms_mismatch` unless what the other side shows is exactly what is expected."""
    if shown != reference(expected) or (terms is not None and terms != expected):
        raise PeerFault(fault("terms_mismatch"))
