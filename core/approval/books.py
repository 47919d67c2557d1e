"""Approval's tables. Every hot one is keyed by agency first, so that partitions can spread them."""

from __future__ import annotations

import sqlalchemy as sa

from core.approval.rows import DigestRow, LedgerRow, OrderRow, PartyRow, SerialRow
from core.storage.records import Records

METADATA = sa.MetaData()

serials = sa.Table(
    "serials",
    METADATA,
    sa.Column("serial_hash", sa.String(43), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("legal_name", sa.String(120), nullable=False),
    sa.Column("caps", sa.Text, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("party", sa.String(40), nullable=True),
    sa.Column("kid", sa.String(43), nullable=True),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=True),
)
parties = sa.Table(
    "parties",
    METADATA,
    sa.Column("party", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("legal_name", sa.String(120), nullable=False),
    sa.Column("kid", sa.String(43), nullable=False, unique=True),
    sa.Column("key", sa.String(43), nullable=False),
    sa.Column("sealing_key", sa.String(43), nullable=True),
    sa.Column("routing_code", sa.String(8), nullable=True, unique=True),
    sa.Column("discovery", sa.String(8), nullable=True),
    sa.Column("instance", sa.String(32), nullable=False),
    sa.Column("license_hash", sa.String(43), nullable=False),
    sa.Column("caps", sa.Text, nullable=False),
    sa.Column("currencies", sa.Text, nullable=False),
    sa.Column("payment_methods", sa.Text, nullable=False),
    sa.Column("payout_account", sa.Text, nullable=False),
    sa.Column("endpoint", sa.String(200), nullable=False),
    sa.Column("source_networks", sa.Text, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Column("last_seen", sa.BigInteger, nullable=False),
    sa.Column("registered_at", sa.BigInteger, nullable=False),
    sa.Column("guarantee", sa.LargeBinary, nullable=False),
    sa.Column("guarantee_until", sa.BigInteger, nullable=False),
)
ledgers = sa.Table(
    "ledgers",
    METADATA,
    sa.Column("agency", sa.String(40), primary_key=True),
    sa.Column("currency", sa.String(3), primary_key=True),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("committed", sa.BigInteger, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.CheckConstraint("reserved >= 0 AND committed >= 0", name="exposure_not_negative"),
)
digests = sa.Table(
    "anonymous_id_digests",
    METADATA,
    sa.Column("digest", sa.String(43), primary_key=True),
    sa.Column("agency", sa.String(40), nullable=False),
    sa.Column("merchant", sa.String(40), nullable=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("agency", sa.String(40), primary_key=True),
    sa.Column("merchant", sa.String(40), primary_key=True),
    sa.Column("order_number", sa.String(40), primary_key=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("offer_hash", sa.String(43), nullable=False, index=True),
    sa.Column("terms_hash", sa.String(43), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("minor", sa.BigInteger, nullable=False),
    sa.Column("terms", sa.LargeBinary, nullable=False),
    sa.Column("deadline", sa.BigInteger, nullable=True),
    sa.Column("vouched_at", sa.BigInteger, nullable=False),
    sa.Column("completion_digest", sa.String(43), nullable=True),
    sa.Column("consent_digest", sa.String(43), nullable=True),
    sa.Column("record", sa.BigInteger, nullable=True),
    sa.Column("recorded_at", sa.BigInteger, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.CheckConstraint("minor > 0", name="amount_positive"),
)
sa.Index(
    "ix_orders_deadline",
    orders.c.deadline,
    sqlite_where=orders.c.deadline.is_not(None),
    postgresql_where=orders.c.deadline.is_not(None),
)

SERIALS: Records[SerialRow] = Records(serials, SerialRow)
PARTIES: Records[PartyRow] = Records(parties, PartyRow)
LEDGERS: Records[LedgerRow] = Records(ledgers, LedgerRow)
DIGESTS: Records[DigestRow] = Records(digests, DigestRow)
ORDERS: Records[OrderRow] = Records(orders, OrderRow)
