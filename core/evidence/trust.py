"""The institution as whoever checks a bundle was told of it: never from inside the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from core.evidence.form import Jwk
from core.evidence.unproved import Unproved, at
from core.protocol.canonical import canonical
from core.protocol.identifiers import kind_of
from core.protocol.keys import PublicKey
from core.protocol.names import PartyId


@dataclass(frozen=True, slots=True)
class Trusted:
    """The approval server's principal and the keys that sign for it."""

    principal: str
    keys: tuple[PublicKey, ...]

    @property
    def kids(self) -> frozenset[str]:
        """The trusted keys' thumbprints."""
        return frozenset(key.kid for key in self.keys)


class _TrustFile(msgspec.Struct, frozen=True, kw_only=True):
    # What else nodes keep in it, an endpoint for one, has no part in checking evidence.
    approval: PartyId
    keys: Annotated[tuple[Jwk, ...], Meta(min_length=1)]


_DECODER: Final = msgspec.json.Decoder(_TrustFile)


def read_trust(data: bytes) -> Trusted:
    """What a trust file says: `{"approval": principal, "keys": [JWK, …]}`. Raises `Unproved`."""
    try:
        found = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unproved("trust file", str(error)[:300]) from error
    if kind_of(found.approval) != "approval":
        raise Unproved("trust file", f"{found.approval} is not an approval server")
    return Trusted(found.approval, tuple(open_key(jwk, "trust file: ") for jwk in found.keys))


def write_trust(trusted: Trusted) -> bytes:
    """The trust file for this approval server."""
    return canonical({"approval": trusted.principal, "keys": [key.jwk() for key in trusted.keys]})


def open_key(jwk: Jwk, prefix: str = "") -> PublicKey:
    """The key, if it proves something and its kid is its thumbprint. Raises `Unproved`."""
    where = f"{prefix}key {jwk.kid}"
    with at(where):
        key = PublicKey(jwk.x)
    if key.kid != jwk.kid:
        raise Unproved(where, f"not the RFC 7638 thumbprint of its x; that is {key.kid}")
    return key
