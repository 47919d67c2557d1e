"""What an agency keeps, as plain rows. Here, and only here, members have names.

Times in seconds, amounts in minor units.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class MemberState(StrEnum):
    """Whether a member may buy."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class OrderState(StrEnum):
    """How far an order has come. The member is billed after RECORDED_SEEN and never before."""

    RECEIVED = "RECEIVED"
    VOUCH_SENT = "VOUCH_SENT"
    REFUSED = "REFUSED"
    AWAIT_MEMBER = "AWAIT_MEMBER"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    AUTHORISED = "AUTHORISED"
    RECORDED_SEEN = "RECORDED_SEEN"
    VOIDED = "VOIDED"


class MemberRow(msgspec.Struct, frozen=True):
    """A member. `identity`: JSON with whatever the agency knows him by.

    `reserved` for open orders, `owed` for sales.
    """

    member: str
    identity: str
    state: MemberState
    currency: str
    limit_minor: int
    reserved: int
    owed: int
    joined_at: int

    @property
    def available(self) -> int:
        """What is left of the credit limit."""
        return max(0, self.limit_minor - self.reserved - self.owed)


class InvitationRow(msgspec.Struct, frozen=True):
    """An invitation by its SHA-256: for one device of one member.

    `kid`: the device that used it.
    """

    code_hash: str
    member: str
    expires_at: int
    kid: str | None


class DeviceRow(msgspec.Struct, frozen=True):
    """A member's device: its key's thumbprint and the key."""

    kid: str
    key: str
    member: str
    added_at: int


class SessionRow(msgspec.Struct, frozen=True):
    """A log-in: the SHA-256 of its token, and the device."""

    token_hash: str
    kid: str
    expires_at: int


class IntroductionRow(msgspec.Struct, frozen=True):
    """An anonymous ID by its digest, made here (lookup) or opened here (push, pull).

    `used`: 1 once it was billed on. `anonymous_id` is kept only until the merchant has it.
    """

    digest: str
    kid: str
    merchant: str
    offer_hash: str
    order_key: str
    expires_at: int
    used: int
    anonymous_id: str | None


class RegistrationRow(msgspec.Struct, frozen=True):
    """Which anonymous ID waits for approval's receipt of this message."""

    message_id: str
    digest: str


class OrderRow(msgspec.Struct, frozen=True):
    """One order.

    `terms`, `offer`: canonical bytes; `deadline`: when something is due (null: nothing is).
    """

    merchant: str
    order_number: str
    state: OrderState
    offer_hash: str
    terms_hash: str
    member: str
    kid: str
    currency: str
    minor: int
    terms: bytes
    offer: bytes
    notice_digest: str | None
    consent_digest: str | None
    payment_method: str
    received_at: int
    deadline: int | None
    record: int | None
    recorded_at: int | None
    reason: str


class OfferOrderRow(msgspec.Struct, frozen=True):
    """Which order an offer became."""

    offer_hash: str
    merchant: str
    order_number: str


class MerchantRow(msgspec.Struct, frozen=True):
    """What approval told of a merchant that has to be paid (row 1b)."""

    merchant: str
    legal_name: str
    payout_account: str
    confirmed_at: int
