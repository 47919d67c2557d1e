"""The journal: every message's exact bytes, in the commit that acts on them.

Each entry is linked into the node's chain of evidence.
"""

from __future__ import annotations

import hashlib

import msgspec
import sqlalchemy as sa

from core.evidence.chain import Direction, Link, extend, genesis
from core.protocol.canonical import b64url
from core.protocol.control import Head
from core.storage.records import Records
from core.storage.schema import NODE
from core.storage.unit import Unit

CHAIN = "main"
"""The chain of a node with one writer."""


class Entry(msgspec.Struct, frozen=True):
    """One entry.

    `at`: milliseconds; `counterpart`: who sent it or whom it is for; `subject`: the offer hash,
    where it has one.
    """

    chain: str
    position: int
    at: int
    direction: Direction
    name: str
    message_id: str
    counterpart: str
    subject: str | None
    digest: bytes
    hash: bytes
    raw: bytes


class ChainHead(msgspec.Struct, frozen=True):
    """Where a chain stands."""

    chain: str
    position: int
    hash: bytes


class SignedHead(msgspec.Struct, frozen=True):
    """A checkpoint message over a chain's head."""

    chain: str
    position: int
    raw: bytes


entries = sa.Table(
    "evidence",
    NODE,
    sa.Column("chain", sa.String(40), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("message_id", sa.String(32), nullable=False),
    sa.Column("counterpart", sa.String(80), nullable=False),
    sa.Column("subject", sa.String(43), nullable=True, index=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)
heads = sa.Table(
    "chain_heads",
    NODE,
    sa.Column("chain", sa.String(40), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)
checkpoints = sa.Table(
    "checkpoints",
    NODE,
    sa.Column("chain", sa.String(40), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)

ENTRIES: Records[Entry] = Records(entries, Entry, kept=False)
HEADS: Records[ChainHead] = Records(heads, ChainHead)
CHECKPOINTS: Records[SignedHead] = Records(checkpoints, SignedHead)


def record(  # noqa: PLR0913 - an entry's fields, each by its name
    unit: Unit,
    raw: bytes,
    direction: Direction,
    *,
    name: str,
    message_id: str,
    counterpart: str,
    subject: str | None,
) -> None:
    """Append the exact bytes of a message to the chain."""
    before = unit.get(HEADS, CHAIN) or ChainHead(CHAIN, 0, genesis(CHAIN))
    position = before.position + 1
    fingerprint = hashlib.sha256(raw).digest()
    after = extend(
        before.hash, position, Link(at=unit.now, direction=direction, digest=fingerprint)
    )
    unit.add(
        ENTRIES,
        Entry(
            CHAIN,
            position,
            unit.now,
            direction,
            name,
            message_id,
            counterpart,
            subject,
            fingerprint,
            after,
            raw,
        ),
    )
    unit.put(HEADS, ChainHead(CHAIN, position, after))


def head(unit: Unit) -> Head:
    """Where the chain stands, as messages state it."""
    now = unit.get(HEADS, CHAIN) or ChainHead(CHAIN, 0, genesis(CHAIN))
    return Head(chain=CHAIN, hash=b64url(now.hash), position=now.position)
