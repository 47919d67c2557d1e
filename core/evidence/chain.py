"""A hash chain over everything a node sent, received and refused.

Nothing in it can be changed or left out unseen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Direction(StrEnum):
    """What the node did with the bytes."""

    SENT = "SENT"
    RECEIVED = "RECEIVED"
    REFUSED = "REFUSED"


_BYTE: Final = {Direction.SENT: b"\x01", Direction.RECEIVED: b"\x02", Direction.REFUSED: b"\x03"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What one entry adds to the chain.

    `at`: milliseconds since 1970; `digest`: SHA-256 of the exact bytes (32 bytes).
    """

    at: int
    direction: Direction
    digest: bytes


def genesis(chain: str) -> bytes:
    """The 32-byte hash before the first entry of the chain of this name."""
    return hashlib.sha256(b"surety evidence chain 1\n" + chain.encode()).digest()


def extend(before: bytes, position: int, link: Link) -> bytes:
    """The 32-byte hash after `link`, which is entry number `position` (the first is 1)."""
    return hashlib.sha256(
        before
        + position.to_bytes(8, "big")
        + link.at.to_bytes(8, "big")
        + _BYTE[link.direction]
        + link.digest
    ).digest()
