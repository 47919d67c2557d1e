"""The parties that this node knows, each from a guarantee that approval signed.

Keys, endpoints and networks.

In memory for speed, in the `guarantees` table to last. A kept guarantee says who a party is;
whether it is in good standing now is approval's to say, and approval says it when it vouches and
when it records.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, cast

import msgspec
import sqlalchemy as sa

from core.exchange.tables import GUARANTEES, KnownGuarantee, guarantees
from core.protocol.envelope import Verified, unwrap, verify_as_evidence, verify_for_anyone
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import kind_of
from core.protocol.keys import PublicKey
from core.protocol.standing import AgencyGuarantee, Guarantee, MerchantGuarantee

if TYPE_CHECKING:
    from core.storage.unit import Unit

CONFIRM_EVERY: Final = 10
MOST_OPENED: Final = 2000


def within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of these networks; what cannot be read lies nowhere.

    IPv4 that came over an IPv6 socket (`::ffff:192.0.2.1`) counts as IPv4.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(_holds(network, ip) for network in networks)


def _holds(network: str, ip: IPv4Address | IPv6Address) -> bool:
    try:
        return ip in ip_network(network, strict=False)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Contact:
    """What is needed to hear and to reach a party.

    `expires_at` in seconds; `endpoint` empty: it collects.
    """

    principal: str
    key: PublicKey
    endpoint: str
    networks: tuple[str, ...]
    expires_at: int

    def calls_from(self, address: str) -> bool:
        """Whether the address lies in one of the party's registered networks (claims 8, 9)."""
        return within(address, self.networks)


@dataclass(frozen=True, slots=True)
class Trust:
    """The institution as this node was told of it: the one key that all else follows from."""

    principal: str
    key: PublicKey
    endpoint: str


def open_guarantee(raw: str | bytes, trust: Trust, now: int) -> Verified[Guarantee]:
    """A guarantee, checked against approval's key, type and time.

    Raises `PeerFault("guarantee_invalid")`.
    """
    data = raw.encode("ascii", "replace") if isinstance(raw, str) else raw
    try:
        found = verify_for_anyone(unwrap(data), trust.key, now=now)
    except PeerFault as error:
        raise PeerFault(fault("guarantee_invalid"), error.fault.code) from error
    if found.issuer != trust.principal or not isinstance(
        found.message, MerchantGuarantee | AgencyGuarantee
    ):
        raise PeerFault(fault("guarantee_invalid"), "not a guarantee of this approval server")
    return cast("Verified[Guarantee]", found)


def contact_of(guarantee: Guarantee, expires_at: int) -> Contact:
    """The contact that a guarantee describes."""
    return Contact(
        guarantee.party,
        PublicKey(guarantee.key),
        guarantee.endpoint,
        guarantee.source_networks,
        expires_at,
    )


class Directory:
    """Contacts by key and by name."""

    def __init__(self, trust: Trust | None = None) -> None:
        self._by_kid: dict[str, Contact] = {}
        self._by_name: dict[str, Contact] = {}
        self._opened: dict[bytes, Verified[Guarantee]] = {}
        self.trust: Trust | None = None
        if trust is not None:
            self.trust_in(trust)

    def trust_in(self, trust: Trust) -> None:
        """Take approval's key as given by the operator."""
        self.trust = trust
        self.add(Contact(trust.principal, trust.key, trust.endpoint, (), 2**53))

    def add(self, contact: Contact) -> None:
        """Know this contact from now on, in place of what was known under the same name."""
        before = self._by_name.get(contact.principal)
        if before is not None:
            self._by_kid.pop(before.key.kid, None)
        self._by_kid[contact.key.kid] = contact
        self._by_name[contact.principal] = contact

    def forget(self, principal: str) -> None:
        """Know this party no longer."""
        before = self._by_name.pop(principal, None)
        if before is not None:
            self._by_kid.pop(before.key.kid, None)

    def knows(self, kind: str) -> bool:
        """Whether any party of this kind is known."""
        return any(kind_of(name) == kind for name in self._by_name)

    def by_kid(self, kid: str) -> Contact | None:
        """Whose key this is."""
        return self._by_kid.get(kid)

    def by_name(self, principal: str) -> Contact | None:
        """The party of this name."""
        return self._by_name.get(principal)

    def learn(self, unit: Unit, raw: str | bytes, now: int) -> Verified[Guarantee]:
        """Check a guarantee, keep it, and know its party once this commit is durable.

        Raises `PeerFault("guarantee_invalid")`; also for an epoch older than the one already known:
        a directory only moves forward, so that nobody can bring back a key or an address that was
        given up.
        """
        found = self.open(raw, now)
        message = found.message
        known = unit.get(GUARANTEES, message.party)
        if known is not None and message.epoch < known.epoch + known.withdrawn:
            raise PeerFault(fault("guarantee_invalid"), "older than the one that is known")
        if known is not None and known.raw == found.raw and not known.withdrawn:
            if known.confirmed_at + CONFIRM_EVERY < now:
                unit.put(GUARANTEES, msgspec.structs.replace(known, confirmed_at=now))
            return found
        agency = isinstance(message, AgencyGuarantee)
        row = KnownGuarantee(
            message.party,
            "agency" if agency else "merchant",
            message.routing_code if isinstance(message, AgencyGuarantee) else None,
            message.epoch,
            found.raw,
            now,
            found.expires_at,
            0,
        )
        unit.put(GUARANTEES, row)
        contact = contact_of(message, found.expires_at)
        unit.after(lambda: self.add(contact))
        return found

    def open(self, raw: str | bytes, now: int) -> Verified[Guarantee]:
        """A checked guarantee. Its signature is checked once for the same bytes, its time always.

        Raises `PeerFault("guarantee_invalid")`.
        """
        if self.trust is None:
            raise PeerFault(fault("guarantee_invalid"), "no approval server is trusted yet")
        data = raw.encode("ascii", "replace") if isinstance(raw, str) else raw
        found = self._opened.get(data)
        if found is None or found.expires_at < now:
            found = open_guarantee(data, self.trust, now)
            if len(self._opened) >= MOST_OPENED:
                self._opened.clear()
            self._opened[data] = found
        return found

    def load(self, unit: Unit) -> None:
        """Know again what was known before a restart."""
        if self.trust is None:
            return
        for values in unit.query(sa.select(guarantees).where(guarantees.c.withdrawn == 0)):
            row = GUARANTEES.load(values)
            found = verify_as_evidence(unwrap(row.raw), self.trust.key)
            if isinstance(found.message, MerchantGuarantee | AgencyGuarantee):
                self.add(contact_of(found.message, row.expires_at))
