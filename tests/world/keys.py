"""Keys and names that are the same in every run."""

import hashlib
from functools import cache

from core.protocol.canonical import digest
from core.protocol.identifiers import party_id
from core.protocol.keys import SigningKey


@cache
def key(name: str) -> SigningKey:
    """The signing key of whoever has this name in a test."""
    return SigningKey(hashlib.sha256(f"key of {name}".encode()).digest())


def party(kind: str, name: str = "one") -> str:
    """A party's identifier."""
    return party_id(kind, hashlib.sha256(name.encode()).digest()[:10])


def a_digest(of: str) -> str:
    """A digest of something."""
    return digest(of.encode())


APPROVAL = party("approval")
AGENCY = party("agency")
MERCHANT = party("merchant")
