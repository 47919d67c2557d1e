"""What a wallet keeps, as plain rows. Keys are in the vault, never here.

Times in seconds, amounts in minor units.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PurchaseState(StrEnum):
    """How far a purchase has come, as the member sees it."""

    SEEN = "SEEN"
    ASKED = "ASKED"
    AWAIT_CONSENT = "AWAIT_CONSENT"
    CONFIRMED = "CONFIRMED"
    RECORDED = "RECORDED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


class MembershipRow(msgspec.Struct, frozen=True):
    """An agency that this wallet has joined with a device key of its own (`kid`)."""

    kid: str
    agency: str
    endpoint: str
    legal_name: str
    sealing_key: str
    routing_code: str
    currency: str
    limit_minor: int
    joined_at: int


class PurchaseRow(msgspec.Struct, frozen=True):
    """A purchase of one membership.

    `offer`, `notice`: exact bytes; `order_key`: thumbprint of the key made for it.
    """

    kid: str
    offer_hash: str
    state: PurchaseState
    merchant: str
    merchant_name: str
    currency: str
    minor: int
    offer: bytes
    order_key: str
    order_number: str | None
    terms_hash: str | None
    notice: bytes | None
    payment_method: str
    answer_by: int | None
    created_at: int
    deadline: int | None
    recorded_at: int | None
    reason: str
