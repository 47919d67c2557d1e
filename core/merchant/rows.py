"""What a merchant keeps, as plain rows. Nothing here names or links a buyer.

Times in seconds, amounts in minor units.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class OrderState(StrEnum):
    """How far an order has come. Goods move in VERIFIED and in no other state."""

    DRAFT = "DRAFT"
    SEARCH_SENT = "SEARCH_SENT"
    BILLING_SENT = "BILLING_SENT"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    VERIFY_SENT = "VERIFY_SENT"
    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    MISMATCH = "MISMATCH"


class OfferRow(msgspec.Struct, frozen=True):
    """An offer behind a link. `raw`: the exact bytes that buyers get."""

    offer_id: str
    offer_hash: str
    raw: bytes


class OrderRow(msgspec.Struct, frozen=True):
    """What became of an offer.

    `reference`: the shop's own; `deadline`: when something is due (null: nothing is).
    """

    offer_hash: str
    offer_id: str
    state: OrderState
    reference: str
    currency: str
    minor: int
    agency: str | None
    order_number: str | None
    terms_hash: str | None
    order_key: str | None
    anonymous_id_digest: str | None
    anonymous_id: str | None
    completion_digest: str | None
    created_at: int
    deadline: int | None
    reason: str


class IdRow(msgspec.Struct, frozen=True):
    """An anonymous ID that was used here, by its digest: it is good for one order."""

    digest: str
    offer_hash: str


class NumberRow(msgspec.Struct, frozen=True):
    """An order number in use with an agency."""

    agency: str
    order_number: str
    offer_hash: str


class SaleRow(msgspec.Struct, frozen=True):
    """A verified sale: the sales record database of claim 1.

    `guarantee_digest`: of the agency guarantee that it rests on.
    """

    agency: str
    order_number: str
    offer_hash: str
    terms_hash: str
    reference: str
    currency: str
    minor: int
    record: int
    recorded_at: int
    verification_digest: str
    guarantee_digest: str


class IdempotencyRow(msgspec.Struct, frozen=True):
    """A shop's request that was answered: the same key and request get the same answer."""

    key: str
    request_digest: str
    answer: bytes
    created_at: int
