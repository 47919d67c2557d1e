"""The evidence bundle as a file: exactly the canonical bytes of this form, and nothing else.

Every value in it is signed, hashed, or compared with something that is: no byte can change unseen.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from core.evidence.chain import Direction
from core.evidence.unproved import Unproved
from core.protocol.canonical import canonical
from core.protocol.keys import PublicKey
from core.protocol.names import (
    MAX_INTEGER,
    CompactJws,
    Count,
    Digest,
    KeyText,
    Label,
    OrderNumber,
    PartyId,
    Thumbprint,
)

VERSION: Final = "surety.evidence/1"
MAX_BUNDLE: Final = 64 * 1024 * 1024
"""Longest bundle that is read, in bytes."""


class Jwk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signer's public key (RFC 7517, RFC 8037). In a bundle it proves nothing by itself."""

    alg: Literal["Ed25519"]
    crv: Literal["Ed25519"]
    kid: Thumbprint
    kty: Literal["OKP"]
    use: Literal["sig"]
    x: KeyText


def jwk_of(key: PublicKey) -> Jwk:
    """The form of a key."""
    return Jwk(alg="Ed25519", crv="Ed25519", kid=key.kid, kty="OKP", use="sig", x=key.x)


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One link of a chain: what `chain.Link` holds, as text. `at`: milliseconds since 1970."""

    at: Count
    digest: Digest
    direction: Direction


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a segment begins: its first link's position, and the chain's hash before that link."""

    hash: Digest
    position: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]


class Segment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consecutive links of one chain, from a message of the order to the next signed checkpoint."""

    checkpoint: CompactJws
    links: Annotated[tuple[Entry, ...], Meta(min_length=1)]
    start: Start


class ChainProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one node's chain says of the order: disjoint segments, in order of position."""

    chain: Label
    node: PartyId
    segments: Annotated[tuple[Segment, ...], Meta(min_length=1)]


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The evidence of one order.

    `keys`: every signer's, by kid. `messages`: by time of issue, then identifier. `chains`: by
    node, then chain.
    """

    chains: tuple[ChainProof, ...]
    keys: tuple[Jwk, ...]
    messages: tuple[CompactJws, ...]
    offer_hash: Digest
    order_number: OrderNumber
    terms_hash: Digest
    version: Literal["surety.evidence/1"] = VERSION


_DECODER: Final = msgspec.json.Decoder(Bundle)


def write(bundle: Bundle) -> bytes:
    """The file's bytes."""
    return canonical(bundle)


def read(data: bytes) -> Bundle:
    """The form behind the bytes, nothing of it believed yet. Raises `Unproved`."""
    if len(data) > MAX_BUNDLE:
        raise Unproved("bundle", f"longer than {MAX_BUNDLE} bytes")
    try:
        bundle = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unproved("bundle", f"not readable as {VERSION}: {_short(error)}") from error
    again = write(bundle)
    if again != data:
        raise Unproved("bundle", f"not canonical: byte {_first_difference(again, data)}")
    return bundle


def _short(error: Exception) -> str:
    text = str(error)[:300]
    return text if text.isprintable() else type(error).__name__


def _first_difference(left: bytes, right: bytes) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
