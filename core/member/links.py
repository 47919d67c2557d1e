"""`surety://` links: an invitation to join an agency, an offer to pay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from core.exchange.directory import Trust
from core.protocol.faults import PeerFault, fault
from core.protocol.keys import PublicKey

_PAY = re.compile(r"surety://pay/([A-Za-z0-9.\-\[\]:]{1,120})/([A-Za-z0-9_-]{22})")
_JOIN = re.compile(
    r"surety://join/([A-Za-z0-9.\-\[\]:]{1,120})/([A-Za-z0-9_-]{22})#(approval-[a-z2-7]{16})\.([A-Za-z0-9_-]{43})"
)


@dataclass(frozen=True, slots=True)
class PayLink:
    """Where an offer is to be had."""

    endpoint: str
    offer_id: str


@dataclass(frozen=True, slots=True)
class JoinLink:
    """An agency's invitation, and the institution whose word the agency's guarantee rests on."""

    endpoint: str
    invitation: str
    trust: Trust


def read_pay(text: str) -> PayLink:
    """Raises `PeerFault("malformed")` for anything that is not exactly a pay link."""
    found = _PAY.fullmatch(text.strip())
    if found is None:
        raise PeerFault(fault("malformed"), "not a surety://pay/… link")
    return PayLink(_endpoint(found[1]), found[2])


def read_join(text: str) -> JoinLink:
    """Raises `PeerFault("malformed")` for anything that is not exactly an invitation link."""
    found = _JOIN.fullmatch(text.strip())
    if found is None:
        raise PeerFault(fault("malformed"), "not a surety://join/… link")
    return JoinLink(_endpoint(found[1]), found[2], Trust(found[3], PublicKey(found[4]), ""))


def _endpoint(host: str) -> str:
    # Plain HTTP exists on loopback only, so the address itself says which it is.
    bare = (
        host.rsplit(":", 1)[0].strip("[]") if host.count(":") == 1 or host.startswith("[") else host
    )
    try:
        plain = ip_address(bare).is_loopback
    except ValueError:
        plain = bare == "localhost"
    return f"{'http' if plain else 'https'}://{host}"
