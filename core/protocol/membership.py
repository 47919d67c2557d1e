"""Member and agency: joining, logging in (row 1)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.names import CompactJws, Count, Digest, KeyText, Label, PartyId, Seconds

Invitation = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}$(?!\n)")]
"""128 random bits in base64url, for one device."""


class EnrolmentRequest(Message, frozen=True, kw_only=True):
    """Member → agency: this device's key shall act for the member whom the invitation names."""

    name = "enrolment.request/1"
    self_signed = True

    invitation: Invitation
    key: KeyText


class EnrolmentGranted(Message, frozen=True, kw_only=True):
    """Agency → member: the device is a member's now.

    With the agency's own guarantee, the credit limit, the payment methods.
    """

    name = "enrolment.granted/1"

    agency: PartyId
    guarantee: CompactJws
    limit: Money
    payment_methods: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=16)]


class SessionChallenge(Message, frozen=True, kw_only=True):
    """Agency → anyone: sign this to log in. Good for two minutes, for one log-in."""

    name = "session.challenge/1"
    lifetime = 120

    nonce: Digest


class SessionRequest(Message, frozen=True, kw_only=True):
    """Member → agency (row 1): the device's answer to the challenge."""

    name = "session.request/1"
    lifetime = 120

    nonce: Digest


class SessionGranted(Message, frozen=True, kw_only=True):
    """Agency → member (row 1): the member is verified.

    The session's token travels in the `Surety-Session` header only.
    """

    name = "session.granted/1"

    available: Count
    expires_at: Seconds
    guarantee: CompactJws
    limit: Money
