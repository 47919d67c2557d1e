"""One value, one byte form: canonical JSON (RFC 8785) and unpadded base64url (RFC 4648).

Accepting only the canonical form closes duplicate keys, alternative escapes, floats that pass as
integers and spare base64 bits with one comparison, and makes a hash of a value the same on every
machine.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from binascii import Error as BinasciiError
from binascii import a2b_base64

import msgspec

from core.protocol.faults import PeerFault, fault

_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of a message struct or of plain JSON values.

    Strings, integers, booleans, null, lists and objects; no floats.
    """
    return _ENCODER.encode(value)


def b64url(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def unb64url(text: str | bytes) -> bytes:
    """The bytes behind canonical unpadded base64url.

    Raises `PeerFault("malformed")` for anything that `b64url` would not have written: padding, line
    breaks, another alphabet, non-zero spare bits.
    """
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    try:
        raw = a2b_base64(data.translate(_FROM_URL) + b"=" * (-len(data) % 4), strict_mode=True)
    except (BinasciiError, ValueError) as error:
        raise PeerFault(fault("malformed"), "not base64url") from error
    if urlsafe_b64encode(raw).rstrip(b"=") != data:
        raise PeerFault(fault("malformed"), "base64url is not in canonical form")
    return raw


_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")


def digest(raw: bytes) -> str:
    """SHA-256 in base64url."""
    return b64url(hashlib.sha256(raw).digest())


def digest_of(value: object) -> str:
    """SHA-256 of a value's canonical bytes, in base64url."""
    return digest(canonical(value))
