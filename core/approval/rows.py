"""What approval keeps, as plain rows. Times in seconds since 1970, amounts in minor units."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    """Whether a party may take part. SUSPENDED can be lifted, REVOKED cannot."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"


class SerialState(StrEnum):
    """Each serial number is for one registration."""

    ISSUED = "ISSUED"
    USED = "USED"
    WITHDRAWN = "WITHDRAWN"


class OrderState(StrEnum):
    """How far the cross-check of an order has come."""

    NONE = "NONE"
    VOUCHED = "VOUCHED"
    REPORT_ONLY = "REPORT_ONLY"
    VERIFY_ONLY = "VERIFY_ONLY"
    RECORDED = "RECORDED"
    MISMATCH = "MISMATCH"
    EXPIRED = "EXPIRED"
    RELEASED = "RELEASED"


class SerialRow(msgspec.Struct, frozen=True):
    """A serial number by its SHA-256, and the contract it is bound to.

    `caps`: JSON list of money.
    """

    serial_hash: str
    kind: str
    legal_name: str
    caps: str
    state: SerialState
    party: str | None
    kid: str | None
    issued_at: int
    used_at: int | None


class PartyRow(msgspec.Struct, frozen=True):
    """A registered party and its license.

    Lists are JSON texts; `license_hash`: SHA-256 of the license key.
    """

    party: str
    kind: str
    legal_name: str
    kid: str
    key: str
    sealing_key: str | None
    routing_code: str | None
    discovery: str | None
    instance: str
    license_hash: str
    caps: str
    currencies: str
    payment_methods: str
    payout_account: str
    endpoint: str
    source_networks: str
    state: Standing
    reason: str
    epoch: int
    counter: int
    lease_until: int
    last_seen: int
    registered_at: int
    guarantee: bytes
    guarantee_until: int


class LedgerRow(msgspec.Struct, frozen=True):
    """An agency's exposure in one currency, kept, never summed from history.

    `records`: how many sales were recorded.
    """

    agency: str
    currency: str
    reserved: int
    committed: int
    records: int


class DigestRow(msgspec.Struct, frozen=True):
    """An anonymous ID by its digest (lookup only).

    `merchant`: who asked for it first; nobody else gets an answer.
    """

    digest: str
    agency: str
    merchant: str | None
    expires_at: int


class OrderRow(msgspec.Struct, frozen=True):
    """One order.

    `terms`: canonical bytes; `deadline`: when it expires unless it was recorded (null: no longer).
    """

    agency: str
    merchant: str
    order_number: str
    state: OrderState
    offer_hash: str
    terms_hash: str
    currency: str
    minor: int
    terms: bytes
    deadline: int | None
    vouched_at: int
    completion_digest: str | None
    consent_digest: str | None
    record: int | None
    recorded_at: int | None
    reason: str
