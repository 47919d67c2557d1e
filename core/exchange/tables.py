"""What exchange keeps: inbox, outbox, guarantees of others, the node's own settings."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from core.storage.records import Records
from core.storage.schema import NODE


class Received(msgspec.Struct, frozen=True):
    """A message that was dealt with.

    `answer`: the exact bytes it was answered with, None where a receipt was enough.

    Kept until the message itself has expired (seconds), so that the same bytes get the same answer
    and change nothing.
    """

    issuer: str
    message_id: str
    digest: str
    answer: bytes | None
    expires_at: int


class Waiting(msgspec.Struct, frozen=True):
    """A message that has not been answered yet.

    The same bytes are sent again until `expires_at` (seconds).
    """

    message_id: str
    sender: str
    recipient: str
    name: str
    subject: str | None
    raw: bytes
    created_at: int
    expires_at: int


class KnownGuarantee(msgspec.Struct, frozen=True):
    """Another party's guarantee, signed by approval: its exact bytes.

    `confirmed_at`: when it was last confirmed (seconds).
    """

    party: str
    kind: str
    routing_code: str | None
    epoch: int
    raw: bytes
    confirmed_at: int
    expires_at: int
    withdrawn: int


class Stranger(msgspec.Struct, frozen=True):
    """A refused message whose signer nobody vouches for.

    A slot of a ring, so that a flood fills no disk.
    """

    slot: int
    at: int
    name: str
    code: str
    raw: bytes


class Setting(msgspec.Struct, frozen=True):
    """One fact about the node itself. Never a secret."""

    name: str
    value: str


inbox = sa.Table(
    "inbox",
    NODE,
    sa.Column("issuer", sa.String(80), primary_key=True),
    sa.Column("message_id", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(43), nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
outbox = sa.Table(
    "outbox",
    NODE,
    sa.Column("message_id", sa.String(32), primary_key=True),
    sa.Column("sender", sa.String(80), nullable=False),
    sa.Column("recipient", sa.String(80), nullable=False, index=True),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(43), nullable=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)
guarantees = sa.Table(
    "guarantees",
    NODE,
    sa.Column("party", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("routing_code", sa.String(8), nullable=True, index=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("confirmed_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("withdrawn", sa.SmallInteger, nullable=False),
)
strangers = sa.Table(
    "strangers",
    NODE,
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("code", sa.String(60), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)
settings = sa.Table(
    "settings",
    NODE,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

INBOX: Records[Received] = Records(inbox, Received, kept=False)
OUTBOX: Records[Waiting] = Records(outbox, Waiting)
GUARANTEES: Records[KnownGuarantee] = Records(guarantees, KnownGuarantee)
STRANGERS: Records[Stranger] = Records(strangers, Stranger)
SETTINGS: Records[Setting] = Records(settings, Setting)
