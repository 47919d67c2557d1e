"""How identifiers are written. Randomness is handed in, so that simulations repeat."""

from __future__ import annotations

from base64 import b32encode
from typing import Final, get_args

from core.protocol.canonical import b64url
from core.protocol.names import Kind

DEVICE_PREFIX: Final = "device:"
ORDER_KEY_PREFIX: Final = "order-key:"
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SERIAL_BYTES: Final = 16


def message_id(milliseconds: int, entropy: bytes) -> str:
    """48 bits of time, then 80 random bits (`entropy`: 10 bytes): later messages sort later."""
    return f"{milliseconds:012x}{entropy.hex()}"


def party_id(kind: str, entropy: bytes) -> str:
    """`merchant-abcdefghijklmnop` from 10 random bytes."""
    if kind not in (*get_args(Kind), "approval"):
        raise ValueError(kind)
    return f"{kind}-{b32encode(entropy).decode().lower()}"


def routing_code(entropy: bytes) -> str:
    """Eight base32 letters from 5 random bytes."""
    return b32encode(entropy).decode()


def offer_id(entropy: bytes) -> str:
    """22 letters from 16 random bytes."""
    return b64url(entropy)


def serial_number(entropy: bytes) -> str:
    """A serial number from 16 random bytes: 128 bits and a check of 22, in six groups of five."""
    value = int.from_bytes(entropy, "big")
    number = (value << 22) | (value % 4_194_301)
    letters = "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(145, -1, -5))
    return "SURETY-" + "-".join(letters[at : at + 5] for at in range(0, 30, 5))


def is_serial_number(text: str) -> bool:
    """Whether the check agrees: tells a typing mistake from a refused number."""
    letters = text.removeprefix("SURETY-").replace("-", "")
    if not letters or any(letter not in _CROCKFORD for letter in letters):
        return False
    number = 0
    for letter in letters:
        number = number * 32 + _CROCKFORD.find(letter)
    value = number >> 22
    return (
        value < 2 ** (8 * SERIAL_BYTES)
        and serial_number(value.to_bytes(SERIAL_BYTES, "big")) == text
    )


def order_number(prefix: str, milliseconds: int, entropy: bytes) -> str:
    """A readable order number: a letter for its maker, time, 40 random bits; Crockford base32."""
    value = (milliseconds << 40) | int.from_bytes(entropy[:5], "big")
    letters = "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(85, -1, -5))
    return f"{prefix}-{letters[:6]}-{letters[6:12]}-{letters[12:]}"


def device(kid: str) -> str:
    """A member's device as issuer and audience: `device:` and its key's thumbprint."""
    return DEVICE_PREFIX + kid


def order_key(kid: str) -> str:
    """The one-time key of an order as issuer and audience."""
    return ORDER_KEY_PREFIX + kid


def kind_of(party: str) -> str:
    """What stands before the first hyphen or colon: `agency`, `merchant`, `approval`, `device`."""
    return party.split(":", 1)[0] if ":" in party else party.split("-", 1)[0]
