"""What is sold and on which terms, and the two hashes that bind every message of an order to it.

`offer_hash` binds from the offer on. Whoever makes the order number fixes the terms; from there
`terms_hash` binds too. The terms name the offer by its hash and not its lines, so the institution
guarantees a sale without learning what was bought.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.protocol.canonical import digest, digest_of
from core.protocol.faults import PeerFault, fault
from core.protocol.message import Message
from core.protocol.money import Money, exponent, line_minor
from core.protocol.names import (
    Digest,
    Minor,
    OfferId,
    OrderNumber,
    PartyId,
    Seconds,
    Sku,
    Text,
    Thumbprint,
    UnitPrice,
)


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of an offer. `minor` is quantity times unit price rounded half-even; may be zero."""

    description: Text
    minor: Minor
    quantity: Annotated[int, Meta(ge=-(10**9), le=10**9)]
    sku: Sku
    unit_price: UnitPrice


class CancellationPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Until how many days after the sale a cancellation may be asked for.

    `parts`: whether of single lines too.
    """

    days: Annotated[int, Meta(ge=0, le=3650)]
    parts: bool


class Offer(Message, frozen=True, kw_only=True):
    """Merchant → member (row 0): what is for sale to whoever holds the link, until `expires_at`.

    `introduction`: who brings the anonymous ID, the agency (claim 1) or the member (claims 10, 19).
    """

    name = "offer/1"
    lifetime = 31 * 86_400

    amount: Money
    cancellation: CancellationPolicy
    expires_at: Seconds
    introduction: Literal["agency", "member"]
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=2000)]
    merchant: PartyId
    offer_id: OfferId


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of one order, the same at every party; the approval server compares each field.

    `anonymous_id_digest`: SHA-256 of the anonymous ID's text. `order_key`: thumbprint of the key
    that the member made for this order alone. `expires_at`: until when the order can still become a
    sale.
    """

    agency: PartyId
    amount: Money
    anonymous_id_digest: Digest
    cancellation: CancellationPolicy
    expires_at: Seconds
    merchant: PartyId
    offer_hash: Digest
    order_key: Thumbprint
    order_number: OrderNumber


class OrderRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which order a message is about, and both hashes; in all messages once terms are fixed."""

    agency: PartyId
    merchant: PartyId
    offer_hash: Digest
    order_number: OrderNumber
    terms_hash: Digest


def total_of(lines: tuple[Line, ...], currency: str) -> int:
    """The lines' sum in minor units.

    Raises `PeerFault("amount_mismatch")` where a line's own arithmetic is wrong.
    """
    for number, line in enumerate(lines, 1):
        if line.minor != line_minor(line.quantity, line.unit_price, currency):
            raise PeerFault(fault("amount_mismatch"), f"line {number}")
    return sum(line.minor for line in lines)


def check_offer(offer: Offer) -> None:
    """Raises `PeerFault` unless the offer adds up in a currency that exists."""
    exponent(offer.amount.currency)
    if total_of(offer.lines, offer.amount.currency) != offer.amount.minor:
        raise PeerFault(fault("amount_mismatch"), "total")


def offer_hash(offer: Offer) -> str:
    """SHA-256 of the offer's canonical bytes."""
    return digest_of(offer)


def terms_hash(terms: Terms) -> str:
    """SHA-256 of the terms' canonical bytes."""
    return digest_of(terms)


def anonymous_id_digest(anonymous_id: str) -> str:
    """SHA-256 of the anonymous ID's text, as terms and approval know it."""
    return digest(anonymous_id.encode("ascii"))


def fix_terms(  # noqa: PLR0913 - what the terms are made of, each by its name
    offer: Offer,
    *,
    agency: str,
    id_digest: str,
    order_key: str,
    order_number: str,
    fingerprint: str | None = None,
) -> Terms:
    """The terms that follow from an offer once agency, anonymous ID, key and number are known.

    `fingerprint`: the offer's hash, where the caller has computed it already.
    """
    return Terms(
        agency=agency,
        amount=offer.amount,
        anonymous_id_digest=id_digest,
        cancellation=offer.cancellation,
        expires_at=offer.expires_at,
        merchant=offer.merchant,
        offer_hash=fingerprint or offer_hash(offer),
        order_key=order_key,
        order_number=order_number,
    )


def reference(terms: Terms) -> OrderRef:
    """The reference that every later message of this order carries."""
    return OrderRef(
        agency=terms.agency,
        merchant=terms.merchant,
        offer_hash=terms.offer_hash,
        order_number=terms.order_number,
        terms_hash=terms_hash(terms),
    )
