"""A wallet's tables."""

from __future__ import annotations

import sqlalchemy as sa

from core.member.rows import MembershipRow, PurchaseRow
from core.storage.records import Records

METADATA = sa.MetaData()

memberships = sa.Table(
    "memberships",
    METADATA,
    sa.Column("kid", sa.String(43), primary_key=True),
    sa.Column("agency", sa.String(40), nullable=False),
    sa.Column("endpoint", sa.String(200), nullable=False),
    sa.Column("legal_name", sa.String(120), nullable=False),
    sa.Column("sealing_key", sa.String(43), nullable=False),
    sa.Column("routing_code", sa.String(8), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("limit_minor", sa.BigInteger, nullable=False),
    sa.Column("joined_at", sa.BigInteger, nullable=False),
)
purchases = sa.Table(
    "purchases",
    METADATA,
    sa.Column("kid", sa.String(43), primary_key=True),
    sa.Column("offer_hash", sa.String(43), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("merchant", sa.String(40), nullable=False),
    sa.Column("merchant_name", sa.String(120), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("minor", sa.BigInteger, nullable=False),
    sa.Column("offer", sa.LargeBinary, nullable=False),
    sa.Column("order_key", sa.String(43), nullable=False),
    sa.Column("order_number", sa.String(40), nullable=True),
    sa.Column("terms_hash", sa.String(43), nullable=True),
    sa.Column("notice", sa.LargeBinary, nullable=True),
    sa.Column("payment_method", sa.String(120), nullable=False),
    sa.Column("answer_by", sa.BigInteger, nullable=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("deadline", sa.BigInteger, nullable=True),
    sa.Column("recorded_at", sa.BigInteger, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
)
sa.Index(
    "ix_purchases_deadline",
    purchases.c.deadline,
    sqlite_where=purchases.c.deadline.is_not(None),
    postgresql_where=purchases.c.deadline.is_not(None),
)

MEMBERSHIPS: Records[MembershipRow] = Records(memberships, MembershipRow)
PURCHASES: Records[PurchaseRow] = Records(purchases, PurchaseRow)
