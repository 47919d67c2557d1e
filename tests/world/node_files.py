"""The same sale in nodes' databases, as they lie on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from core.exchange import tables
from core.storage.journal import checkpoints, entries
from core.storage.schema import NODE
from tests.world.evidence import AGENCY, APPROVAL, CHAIN, MERCHANT, ORDER, World

PARTY = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    PARTY,
    sa.Column("order_number", sa.String),
    sa.Column("merchant", sa.String),
    sa.Column("offer_hash", sa.String),
)
OWN_ORDERS = sa.Table(
    "orders",
    sa.MetaData(),
    sa.Column("offer_hash", sa.String),
    sa.Column("order_number", sa.String),
)
DEVICES = sa.Table("devices", PARTY, sa.Column("kid", sa.String), sa.Column("key", sa.String))
PARTIES = sa.Table(
    "parties", PARTY, sa.Column("party", sa.String), sa.Column("guarantee", sa.LargeBinary)
)
SPECIAL = {"agency": (DEVICES,), "approval": (PARTIES,), "merchant": ()}


def url_of(folder: Path, node: str) -> str:
    return f"sqlite:///{folder / node / 'node.db'}"


def write_network(world: World, folder: Path, nodes: Iterable[str] = SPECIAL) -> list[str]:
    return [write_node(world, folder, node) for node in nodes]


def write_node(world: World, folder: Path, name: str) -> str:
    url = url_of(folder, name)
    (folder / name).mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("PRAGMA user_version=1"))
        NODE.create_all(connection)
        orders = OWN_ORDERS if name == "merchant" else ORDERS
        orders.create(connection)
        PARTY.create_all(connection, SPECIAL[name])
        _write_chain(world, connection, name)
        _write_facts(world, connection, name)
        order = {"order_number": ORDER, "offer_hash": world.terms.offer_hash}
        more = {} if name == "merchant" else {"merchant": MERCHANT}
        connection.execute(orders.insert(), [order | more])
    engine.dispose()
    return url


def sign_again(world: World, folder: Path, name: str) -> None:
    """The node signs its chain's head while somebody exports."""
    node = world.nodes[name]
    node.sign(world.now)
    position, raw = node.signed[-1]
    engine = sa.create_engine(url_of(folder, name))
    with engine.begin() as connection:
        row = {"chain": CHAIN, "position": position, "raw": raw}
        connection.execute(checkpoints.insert(), [row])
    engine.dispose()


def _write_chain(world: World, connection: sa.Connection, name: str) -> None:
    node = world.nodes[name]
    rows = [
        {
            "chain": CHAIN,
            "position": row.position,
            "at": row.at,
            "direction": row.direction.value,
            "name": row.name,
            "message_id": row.message_id,
            "counterpart": "",
            "subject": row.subject,
            "digest": hashlib.sha256(row.raw).digest(),
            "hash": row.hash,
            "raw": row.raw,
        }
        for row in node.rows
    ]
    connection.execute(entries.insert(), rows)
    signed = [{"chain": CHAIN, "position": at, "raw": raw} for at, raw in node.signed]
    if signed:
        connection.execute(checkpoints.insert(), signed)


def _write_facts(world: World, connection: sa.Connection, name: str) -> None:
    settings = {"approval": APPROVAL, "approval_key": world.keys["approval"].public.x}
    if name != "approval":
        settings["guarantee"] = world.text(f"{name}_guarantee")
        settings["party"] = world.nodes[name].principal
        other = "merchant" if name == "agency" else "agency"
        _write_guarantee(world, connection, other)
    if name == "agency":
        key = world.keys["device"].public
        connection.execute(DEVICES.insert(), [{"kid": key.kid, "key": key.x}])
    if name == "approval":
        held = ((AGENCY, "agency"), (MERCHANT, "merchant"))
        rows = [
            {"party": party, "guarantee": world.raw[f"{kind}_guarantee"]} for party, kind in held
        ]
        connection.execute(PARTIES.insert(), rows)
    rows_ = [{"name": key, "value": value} for key, value in settings.items()]
    connection.execute(tables.settings.insert(), rows_)


def _write_guarantee(world: World, connection: sa.Connection, kind: str) -> None:
    row = {
        "party": AGENCY if kind == "agency" else MERCHANT,
        "kind": kind,
        "routing_code": None,
        "epoch": 1,
        "raw": world.raw[f"{kind}_guarantee"],
        "confirmed_at": 0,
        "expires_at": 0,
        "withdrawn": 0,
    }
    connection.execute(tables.guarantees.insert(), [row])
