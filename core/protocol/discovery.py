"""From a buyer whom the shop does not know to the agency that stands behind him (rows 1 to 3)."""

from __future__ import annotations

from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.names import (
    AnonymousId,
    CompactJws,
    Digest,
    KeyText,
    MessageId,
    PartyId,
    Seconds,
    Thumbprint,
)


class AnonymousIdRequest(Message, frozen=True, kw_only=True):
    """Member → agency (claim 1): introduce me to this merchant for this offer.

    `order_key`: made for this order alone.
    """

    name = "anonymous_id.request/1"

    amount: Money
    expires_at: Seconds
    merchant: PartyId
    offer_hash: Digest
    order_key: KeyText


class AnonymousIdRegistration(Message, frozen=True, kw_only=True):
    """Agency → approval (row 1c, lookup only): an ID with this digest is mine until then.

    Nothing of member, merchant or offer.
    """

    name = "anonymous_id.registration/1"

    anonymous_id_digest: Digest
    expires_at: Seconds


class AnonymousIdIntroduction(Message, frozen=True, kw_only=True):
    """Agency → merchant (row 2, claim 1): somebody whom I know wants this offer."""

    name = "anonymous_id/1"

    anonymous_id: AnonymousId
    expires_at: Seconds
    offer_hash: Digest
    order_key: Thumbprint


class AnonymousIdPresented(Message, frozen=True, kw_only=True):
    """Member → merchant (row 2, claims 10, 19): somebody who can be billed wants this offer.

    Signed with the order's own key.
    """

    name = "anonymous_id.presented/1"
    self_signed = True

    anonymous_id: AnonymousId
    expires_at: Seconds
    key: KeyText
    offer_hash: Digest


class SealedIntroduction(Message, frozen=True, kw_only=True):
    """Member → agency, inside an anonymous ID of the wallet's: signed, sealed to the agency."""

    name = "anonymous_id.sealed/1"

    expires_at: Seconds
    merchant: PartyId
    nonce: MessageId
    offer_hash: Digest
    order_key: Thumbprint


class AgencySearch(Message, frozen=True, kw_only=True):
    """Merchant → approval (row 3, claim 1): which agency stands behind this ID.

    The "settlement agency identification search request".
    """

    name = "agency.search/1"

    anonymous_id: AnonymousId
    offer_hash: Digest


class AgencyFound(Message, frozen=True, kw_only=True):
    """Approval → merchant (row 3): this one, and here is its guarantee."""

    name = "agency.found/1"

    agency: PartyId
    anonymous_id_digest: Digest
    guarantee: CompactJws
    offer_hash: Digest
