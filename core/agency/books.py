"""An agency's tables."""

from __future__ import annotations

import sqlalchemy as sa

from core.agency.rows import (
    DeviceRow,
    IntroductionRow,
    InvitationRow,
    MemberRow,
    MerchantRow,
    OfferOrderRow,
    OrderRow,
    RegistrationRow,
    SessionRow,
)
from core.storage.records import Records

METADATA = sa.MetaData()

members = sa.Table(
    "members",
    METADATA,
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("limit_minor", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("owed", sa.BigInteger, nullable=False),
    sa.Column("joined_at", sa.BigInteger, nullable=False),
    sa.CheckConstraint("reserved >= 0 AND owed >= 0", name="credit_not_negative"),
)
invitations = sa.Table(
    "invitations",
    METADATA,
    sa.Column("code_hash", sa.String(43), primary_key=True),
    sa.Column("member", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("kid", sa.String(43), nullable=True),
)
devices = sa.Table(
    "devices",
    METADATA,
    sa.Column("kid", sa.String(43), primary_key=True),
    sa.Column("key", sa.String(43), nullable=False),
    sa.Column("member", sa.String(32), nullable=False, index=True),
    sa.Column("added_at", sa.BigInteger, nullable=False),
)
sessions = sa.Table(
    "sessions",
    METADATA,
    sa.Column("token_hash", sa.String(43), primary_key=True),
    sa.Column("kid", sa.String(43), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
introductions = sa.Table(
    "introductions",
    METADATA,
    sa.Column("digest", sa.String(43), primary_key=True),
    sa.Column("kid", sa.String(43), nullable=False),
    sa.Column("merchant", sa.String(40), nullable=False),
    sa.Column("offer_hash", sa.String(43), nullable=False),
    sa.Column("order_key", sa.String(43), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used", sa.SmallInteger, nullable=False),
    sa.Column("anonymous_id", sa.Text, nullable=True),
)
registrations = sa.Table(
    "id_registrations",
    METADATA,
    sa.Column("message_id", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(43), nullable=False),
)
orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("merchant", sa.String(40), primary_key=True),
    sa.Column("order_number", sa.String(40), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("offer_hash", sa.String(43), nullable=False),
    sa.Column("terms_hash", sa.String(43), nullable=False),
    sa.Column("member", sa.String(32), nullable=False, index=True),
    sa.Column("kid", sa.String(43), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("minor", sa.BigInteger, nullable=False),
    sa.Column("terms", sa.LargeBinary, nullable=False),
    sa.Column("offer", sa.LargeBinary, nullable=False),
    sa.Column("notice_digest", sa.String(43), nullable=True),
    sa.Column("consent_digest", sa.String(43), nullable=True),
    sa.Column("payment_method", sa.String(120), nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("deadline", sa.BigInteger, nullable=True),
    sa.Column("record", sa.BigInteger, nullable=True),
    sa.Column("recorded_at", sa.BigInteger, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
)
sa.Index(
    "ix_orders_deadline",
    orders.c.deadline,
    sqlite_where=orders.c.deadline.is_not(None),
    postgresql_where=orders.c.deadline.is_not(None),
)
offer_orders = sa.Table(
    "offer_orders",
    METADATA,
    sa.Column("offer_hash", sa.String(43), primary_key=True),
    sa.Column("merchant", sa.String(40), nullable=False),
    sa.Column("order_number", sa.String(40), nullable=False),
)
merchants = sa.Table(
    "merchants",
    METADATA,
    sa.Column("merchant", sa.String(40), primary_key=True),
    sa.Column("legal_name", sa.String(120), nullable=False),
    sa.Column("payout_account", sa.Text, nullable=False),
    sa.Column("confirmed_at", sa.BigInteger, nullable=False),
)

MEMBERS: Records[MemberRow] = Records(members, MemberRow)
INVITATIONS: Records[InvitationRow] = Records(invitations, InvitationRow)
DEVICES: Records[DeviceRow] = Records(devices, DeviceRow)
SESSIONS: Records[SessionRow] = Records(sessions, SessionRow)
INTRODUCTIONS: Records[IntroductionRow] = Records(introductions, IntroductionRow)
REGISTRATIONS: Records[RegistrationRow] = Records(registrations, RegistrationRow)
ORDERS: Records[OrderRow] = Records(orders, OrderRow)
OFFER_ORDERS: Records[OfferOrderRow] = Records(offer_orders, OfferOrderRow)
MERCHANTS: Records[MerchantRow] = Records(merchants, MerchantRow)
