"""The constrained scalar types of the wire: identifiers, digests, texts, addresses.

Every string that arrives from outside has one of these types, so that each has a length and an
alphabet. Patterns end with more than `$`, because Python's `$` lets a last line break through.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from msgspec import Meta

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON implementation reads exactly (RFC 8259, section 6)."""

_DIGEST = r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$(?!\n)"
# Control characters, line and paragraph separators, byte-order mark, and the marks and fillers that
# nobody sees and that let a name pass as another.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
)
_PRINTABLE = rf"^[^{_UNSEEN}]*$(?!\n)"
_NOT_PRINTABLE = re.compile(rf"[{_UNSEEN}]")

Kind = Literal["agency", "merchant"]
"""The kinds of party that the approval server gives a license to."""

PartyId = Annotated[str, Meta(pattern=r"^(approval|agency|merchant)-[a-z2-7]{16}$(?!\n)")]
"""A registered party, as the approval server named it: its kind, a hyphen, 80 random bits in
base32."""

Digest = Annotated[str, Meta(pattern=_DIGEST)]
"""SHA-256 in canonical unpadded base64url, 43 characters."""

Thumbprint = Annotated[str, Meta(pattern=_DIGEST)]
"""RFC 7638 SHA-256 thumbprint of an Ed25519 key; also its `kid`."""

KeyText = Annotated[str, Meta(pattern=_DIGEST)]
"""32 bytes of public key in canonical unpadded base64url (the `x` of RFC 8037)."""

MessageId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
"""Time-ordered identifier: 48 bits of Unix milliseconds, then 80 random bits, in lower-case
hexadecimal."""

OrderNumber = Annotated[str, Meta(pattern=r"^[A-Z0-9][A-Z0-9-]{7,39}$(?!\n)")]
"""An order's number, unique under its agency and merchant."""

OfferId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}$(?!\n)")]
"""128 random bits in base64url: who holds an offer's link may see the offer, nobody guesses it."""

AnonymousId = Annotated[str, Meta(pattern=r"^[A-Z2-7]{8}\.[A-Za-z0-9_-]{43,4000}$(?!\n)")]
"""What the merchant gets in place of the buyer: the agency's routing code, a dot, and what the
agency alone can open."""

RoutingCode = Annotated[str, Meta(pattern=r"^[A-Z2-7]{8}$(?!\n)")]
"""Names an agency in an anonymous ID; given by the approval server."""

Serial = Annotated[str, Meta(pattern=r"^SURETY(-[0-9A-HJKMNP-TV-Z]{5}){6}$(?!\n)")]
"""A program's serial number: 128 random bits and a check, Crockford base32, six groups of five."""

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
"""ISO 4217 alphabetic code; `money.exponent` knows which exist."""

Seconds = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
"""A point in time: seconds since 1970-01-01T00:00:00Z (RFC 7519 NumericDate, whole)."""

Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
"""A whole number of things."""

Minor = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
"""An amount in minor units of its currency (pence, yen, fils)."""

Label = Annotated[str, Meta(min_length=1, max_length=120, pattern=_PRINTABLE)]
"""A short text that people read: a legal name, a payment method."""

Text = Annotated[str, Meta(max_length=500, pattern=_PRINTABLE)]
"""A longer text that people read; may be empty."""


def as_text(words: str) -> str:
    """What of these words may stand in a `Text`: the unseen becomes spaces, the rest is cut off."""
    seen = _NOT_PRINTABLE.sub(" ", words)
    return seen.encode("utf-8", "replace").decode()[:500]


Sku = Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)]
"""The merchant's own code of an article."""

UnitPrice = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$(?!\n)")]
"""A decimal number of major units; may be finer than the currency's smallest coin."""

Endpoint = Annotated[str, Meta(max_length=200, pattern=r"^(https?://[A-Za-z0-9.\-\[\]:]+)?$(?!\n)")]
"""Where a party is reached: scheme, host, port, no path. Empty: it collects what waits for it."""

Network = Annotated[str, Meta(max_length=49, pattern=r"^[0-9a-f.:]+/[0-9]{1,3}$(?!\n)")]
"""A network that a party calls from, in CIDR notation."""

CompactJws = Annotated[
    str, Meta(max_length=400_000, pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$(?!\n)")
]
"""A whole signed message inside another one (RFC 7515, compact serialization)."""

Principal = Annotated[str, Meta(max_length=80, pattern=r"^[A-Za-z0-9:_-]+$(?!\n)")]
"""Who issued or is meant: a party, `device:<thumbprint>`, `order-key:<thumbprint>`, `unregistered`,
or `anyone`."""
