"""A merchant's tables."""

from __future__ import annotations

import sqlalchemy as sa

from core.merchant.rows import IdempotencyRow, IdRow, NumberRow, OfferRow, OrderRow, SaleRow
from core.storage.records import Records

METADATA = sa.MetaData()

offers = sa.Table(
    "offers",
    METADATA,
    sa.Column("offer_id", sa.String(22), primary_key=True),
    sa.Column("offer_hash", sa.String(43), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)
orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("offer_hash", sa.String(43), primary_key=True),
    sa.Column("offer_id", sa.String(22), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("reference", sa.String(120), nullable=False, index=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("minor", sa.BigInteger, nullable=False),
    sa.Column("agency", sa.String(40), nullable=True),
    sa.Column("order_number", sa.String(40), nullable=True, index=True),
    sa.Column("terms_hash", sa.String(43), nullable=True),
    sa.Column("order_key", sa.String(43), nullable=True),
    sa.Column("anonymous_id_digest", sa.String(43), nullable=True),
    sa.Column("anonymous_id", sa.Text, nullable=True),
    sa.Column("completion_digest", sa.String(43), nullable=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("deadline", sa.BigInteger, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
)
sa.Index(
    "ix_orders_deadline",
    orders.c.deadline,
    sqlite_where=orders.c.deadline.is_not(None),
    postgresql_where=orders.c.deadline.is_not(None),
)
anonymous_ids = sa.Table(
    "anonymous_ids",
    METADATA,
    sa.Column("digest", sa.String(43), primary_key=True),
    sa.Column("offer_hash", sa.String(43), nullable=False),
)
numbers = sa.Table(
    "order_numbers",
    METADATA,
    sa.Column("agency", sa.String(40), primary_key=True),
    sa.Column("order_number", sa.String(40), primary_key=True),
    sa.Column("offer_hash", sa.String(43), nullable=False),
)
sales = sa.Table(
    "sales",
    METADATA,
    sa.Column("agency", sa.String(40), primary_key=True),
    sa.Column("order_number", sa.String(40), primary_key=True),
    sa.Column("offer_hash", sa.String(43), nullable=False, unique=True),
    sa.Column("terms_hash", sa.String(43), nullable=False),
    sa.Column("reference", sa.String(120), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("minor", sa.BigInteger, nullable=False),
    sa.Column("record", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("verification_digest", sa.String(43), nullable=False),
    sa.Column("guarantee_digest", sa.String(43), nullable=False),
)
idempotency = sa.Table(
    "idempotency_keys",
    METADATA,
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("request_digest", sa.String(43), nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
)

OFFERS: Records[OfferRow] = Records(offers, OfferRow, kept=False)
ORDERS: Records[OrderRow] = Records(orders, OrderRow)
IDS: Records[IdRow] = Records(anonymous_ids, IdRow)
NUMBERS: Records[NumberRow] = Records(numbers, NumberRow)
SALES: Records[SaleRow] = Records(sales, SaleRow)
IDEMPOTENCY: Records[IdempotencyRow] = Records(idempotency, IdempotencyRow)
