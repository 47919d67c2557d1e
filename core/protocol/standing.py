"""Who may take part: registration, license, guarantees, changes.

Claims 4 to 9, 13 to 18, 22 to 27.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.names import (
    CompactJws,
    Count,
    Currency,
    Digest,
    Endpoint,
    KeyText,
    Kind,
    Label,
    MessageId,
    Network,
    PartyId,
    RoutingCode,
    Seconds,
    Serial,
    Text,
)

ANYONE = "anyone"
"""The audience of a statement that whoever holds it may check: an offer, a guarantee, a directory
index."""

Networks = Annotated[tuple[Network, ...], Meta(min_length=1, max_length=16)]
Methods = Annotated[tuple[Label, ...], Meta(min_length=1, max_length=16)]
Caps = Annotated[tuple[Money, ...], Meta(min_length=1, max_length=40)]
Discovery = Literal["lookup", "push", "pull"]
"""How a merchant learns which agency stands behind an anonymous ID (claims 1, 10, 19)."""
Currencies = Annotated[tuple[Currency, ...], Meta(min_length=1, max_length=40)]


class MerchantGuarantee(Message, frozen=True, kw_only=True):
    """Approval → anyone (row 5): this merchant exists; its key, addresses and methods.

    The "retail entity identification guarantee".
    """

    name = "merchant.guarantee/1"
    lifetime = 7 * 86_400

    currencies: Currencies
    endpoint: Endpoint
    epoch: Count
    key: KeyText
    legal_name: Label
    party: PartyId
    payment_methods: Methods
    source_networks: Networks


class AgencyGuarantee(Message, frozen=True, kw_only=True):
    """Approval → anyone (rows 3, 3', 3''): this agency exists and is guaranteed.

    The "settlement agency identification guarantee".

    `sealing_key`: X25519 key to which members seal anonymous IDs. `routing_code`: how those IDs
    name the agency.
    """

    name = "agency.guarantee/1"
    lifetime = 7 * 86_400

    currencies: Currencies
    endpoint: Endpoint
    epoch: Count
    key: KeyText
    legal_name: Label
    party: PartyId
    payment_methods: Methods
    routing_code: RoutingCode
    sealing_key: KeyText
    source_networks: Networks


Guarantee = MerchantGuarantee | AgencyGuarantee


class RegistrationRequest(Message, frozen=True, kw_only=True):
    """Agency or merchant → approval: a newly installed program asks for its license (claims 4, 5).

    Signed by the installation's own new key, which proves possession of it. `sealing_key`: agencies
    only.
    """

    name = "registration.request/1"
    lifetime = 86_400
    self_signed = True

    currencies: Currencies
    discovery: Discovery | None
    endpoint: Endpoint
    instance: MessageId
    key: KeyText
    kind: Kind
    legal_name: Label
    payment_methods: Methods
    payout_account: Text
    sealing_key: KeyText | None
    serial: Serial
    source_networks: Networks


class RegistrationGranted(Message, frozen=True, kw_only=True):
    """Approval → agency or merchant: registered.

    The license key itself travels in the `Surety-License` header, never in evidence.
    """

    name = "registration.granted/1"

    caps: Caps
    guarantee: CompactJws
    lease_until: Seconds
    party: PartyId


class LeaseRenewal(Message, frozen=True, kw_only=True):
    """Agency or merchant → approval: still here.

    `counter` only ever rises; two installations with one license betray themselves by it.
    """

    name = "lease.renewal/1"

    counter: Count
    instance: MessageId


class LeaseRenewed(Message, frozen=True, kw_only=True):
    """Approval → agency or merchant: the license's new lease, the party's own fresh guarantee."""

    name = "lease.renewed/1"

    epoch: Count
    guarantee: CompactJws
    lease_until: Seconds


class InformationChange(Message, frozen=True, kw_only=True):
    """Agency or merchant → approval: what changed; null leaves a field as it is (claims 6, 7)."""

    name = "information.change/1"

    discovery: Discovery | None
    endpoint: Endpoint | None
    payment_methods: Methods | None
    payout_account: Text | None
    source_networks: Networks | None


class InformationChanged(Message, frozen=True, kw_only=True):
    """Approval → agency or merchant: changed; the directory's new epoch and the new guarantee."""

    name = "information.changed/1"

    epoch: Count
    guarantee: CompactJws


class StandingQuery(Message, frozen=True, kw_only=True):
    """Agency or merchant → approval: the question who a party is (row 1b; claims 8, 9).

    Where it calls from, how it is paid.
    """

    name = "standing.query/1"
    lifetime = 300

    party: PartyId


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A party's private limits: its guarantee cap in one currency.

    `used`: how much of it is in use, in minor units.
    """

    cap: Money
    used: Count


class StandingAnswer(Message, frozen=True, kw_only=True):
    """Approval → whoever asked: the guarantee, and what only the entitled may know.

    `payout_account` and `limits` are null unless the asker is the party itself, or an agency that
    asks about a merchant it must pay (then `payout_account` alone).
    """

    name = "standing.answer/1"
    lifetime = 300

    guarantee: CompactJws
    limits: Annotated[tuple[Limits, ...], Meta(max_length=40)] | None
    party: PartyId
    payout_account: Text | None


class DirectoryPush(Message, frozen=True, kw_only=True):
    """Approval → merchant (row 3', claim 10): agency guarantees, unasked.

    Again whenever one changes; `withdrawn` names those that no longer hold.
    """

    name = "directory.push/1"
    lifetime = 7 * 86_400

    epoch: Count
    guarantees: Annotated[tuple[CompactJws, ...], Meta(max_length=64)]
    withdrawn: Annotated[tuple[PartyId, ...], Meta(max_length=64)]


class DirectoryEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the directory index."""

    agency: PartyId
    endpoint: Endpoint
    epoch: Count
    guarantee_digest: Digest
    routing_code: RoutingCode


class DirectoryIndex(Message, frozen=True, kw_only=True):
    """Approval → anyone (row 3'', claim 19): which agencies exist now.

    Each with the digest of its current guarantee.
    """

    name = "directory.index/1"
    lifetime = 86_400

    agencies: Annotated[tuple[DirectoryEntry, ...], Meta(max_length=1_000)]
    epoch: Count
