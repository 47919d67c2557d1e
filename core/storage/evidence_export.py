"""Out of nodes' databases, into a bundle: reads only, and works beside a node that is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from core.evidence.assemble import Choice, Pool, build
from core.evidence.chain import Direction, genesis
from core.evidence.form import ChainProof, Entry, Segment, Start
from core.evidence.trust import Trusted
from core.protocol.canonical import b64url
from core.protocol.envelope import peek_issuer, unwrap
from core.protocol.faults import PeerFault
from core.protocol.keys import PublicKey
from core.storage.engine import open_database
from core.storage.journal import checkpoints, entries

WAIT_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.25
_HELD: Final = (Direction.SENT.value, Direction.RECEIVED.value)

# Tables of other rooms, by the few columns that are read here. Not every node has all of them.
_ORDERS = sa.table(
    "orders", sa.column("order_number"), sa.column("merchant"), sa.column("offer_hash")
)
_DEVICES = sa.table("devices", sa.column("kid"), sa.column("key"))
_SETTINGS = sa.table("settings", sa.column("name"), sa.column("value"))
_GUARANTEES = sa.table("guarantees", sa.column("party"), sa.column("raw", sa.LargeBinary))
_PARTIES = sa.table("parties", sa.column("party"), sa.column("guarantee", sa.LargeBinary))


class CannotExport(Exception):
    """There is nothing to export, or not yet. Says what to do."""


@dataclass(frozen=True, slots=True)
class Export:
    """A bundle, whom its nodes trust, and what they hold that does not belong into it."""

    data: bytes
    trusted: Trusted
    left_out: tuple[str, ...]


class Shelf:
    """One node's database, for reading."""

    def __init__(self, url: str, connection: sa.Connection) -> None:
        self.url = url
        self._connection = connection
        self._tables = frozenset(sa.inspect(connection).get_table_names())
        if entries.name not in self._tables:
            raise CannotExport(
                f"{url} is not a node's database: it has no table named {entries.name}"
            )

    def orders(self, order_number: str) -> set[tuple[str, str]]:
        """Merchant and offer hash of every order of this number."""
        if self._own_orders():
            # A merchant's own orders need not say whose they are.
            own = self._settings().get("party", "")
            query = sa.select(_ORDERS.c.offer_hash).where(_ORDERS.c.order_number == order_number)
            return {(own, str(offer_hash)) for offer_hash in self._column(query)}
        both = sa.select(_ORDERS.c.merchant, _ORDERS.c.offer_hash)
        rows = self._all(both.where(_ORDERS.c.order_number == order_number), _ORDERS)
        return {(str(merchant), str(offer_hash)) for merchant, offer_hash in rows}

    def _own_orders(self) -> bool:
        if _ORDERS.name not in self._tables:
            return False
        columns = sa.inspect(self._connection).get_columns(_ORDERS.name)
        return _ORDERS.c.merchant.name not in {column["name"] for column in columns}

    def approval(self) -> tuple[str, str]:
        """The approval server that this node trusts: its principal and its key's x."""
        settings = self._settings()
        try:
            return settings["approval"], settings["approval_key"]
        except KeyError:
            raise CannotExport(
                f"{self.url}: this node knows no approval server yet; register it"
            ) from None

    def _settings(self) -> dict[str, str]:
        rows = self._all(sa.select(_SETTINGS.c.name, _SETTINGS.c.value), _SETTINGS)
        return {str(name): str(value) for name, value in rows}

    def raws(self, offer_hash: str) -> list[bytes]:
        """The bytes of all messages about this offer that were sent, or received and taken."""
        return [bytes(raw) for raw in self._column(_of_offer(entries.c.raw, offer_hash))]

    def guarantees(self, parties: Sequence[str]) -> list[bytes]:
        """The guarantees that this node keeps: others' and its own."""
        own = sa.select(_SETTINGS.c.value).where(_SETTINGS.c.name == "guarantee")
        others = sa.select(_GUARANTEES.c.raw).where(_GUARANTEES.c.party.in_(parties))
        issued = sa.select(_PARTIES.c.guarantee).where(_PARTIES.c.party.in_(parties))
        found = [str(value).encode("ascii", "replace") for value in self._column(own, _SETTINGS)]
        found += [bytes(raw) for raw in self._column(others, _GUARANTEES)]
        found += [bytes(raw) for raw in self._column(issued, _PARTIES) if raw]
        return found

    def devices(self, kids: Sequence[str]) -> list[str]:
        """The keys (x) of those of these devices that the node knows."""
        query = sa.select(_DEVICES.c.key).where(_DEVICES.c.kid.in_(kids))
        return [str(x) for x in self._column(query, _DEVICES)]

    def positions(self, offer_hash: str, digests: frozenset[str]) -> dict[str, list[int]]:
        """By chain: where these messages stand."""
        query = _of_offer(entries.c.digest, offer_hash).add_columns(
            entries.c.chain, entries.c.position
        )
        found: dict[str, list[int]] = {}
        for digest, chain, position in self._all(query):
            if b64url(bytes(digest)) in digests:
                found.setdefault(str(chain), []).append(int(position))
        return found

    def uncovered(self, positions: dict[str, list[int]]) -> bool:
        """Whether a message is newer than the last checkpoint of its chain."""
        last = sa.select(sa.func.max(checkpoints.c.position))
        return any(
            (self._column(last.where(checkpoints.c.chain == chain))[0] or 0) < max(held)
            for chain, held in positions.items()
        )

    def proofs(self, positions: dict[str, list[int]]) -> list[ChainProof]:
        """Segments from these messages to the checkpoints that follow; none may be uncovered."""
        return [self._proof(chain, sorted(held)) for chain, held in positions.items()]

    def _proof(self, chain: str, positions: list[int]) -> ChainProof:
        segments: list[Segment] = []
        node, end = "", 0
        for position in positions:
            if position > end:
                end, raw = self._checkpoint(chain, position)
                node = peek_issuer(unwrap(raw))
                segments.append(self._segment(chain, position, end, raw))
        return ChainProof(chain=chain, node=node, segments=tuple(segments))

    def _checkpoint(self, chain: str, position: int) -> tuple[int, bytes]:
        query = (
            sa.select(checkpoints.c.position, checkpoints.c.raw)
            .where(checkpoints.c.chain == chain, checkpoints.c.position >= position)
            .order_by(checkpoints.c.position)
            .limit(1)
        )
        found, raw = self._all(query)[0]
        return int(found), bytes(raw)

    def _segment(self, chain: str, first: int, last: int, raw: bytes) -> Segment:
        links = (
            sa.select(entries.c.at, entries.c.direction, entries.c.digest)
            .where(entries.c.chain == chain, entries.c.position.between(first, last))
            .order_by(entries.c.position)
        )
        before = sa.select(entries.c.hash).where(
            entries.c.chain == chain, entries.c.position == first - 1
        )
        found = self._column(before)
        return Segment(
            checkpoint=raw.decode("ascii"),
            links=tuple(
                Entry(at=int(at), direction=Direction(direction), digest=b64url(bytes(digest)))
                for at, direction, digest in self._all(links)
            ),
            start=Start(hash=b64url(bytes(found[0]) if found else genesis(chain)), position=first),
        )

    def _all(self, query: sa.Select[Any], table: sa.TableClause | None = None) -> list[sa.Row[Any]]:
        if table is not None and table.name not in self._tables:
            return []
        # Each question sees what was committed meanwhile.
        rows = list(self._connection.execute(query).all())
        self._connection.rollback()
        return rows

    def _column(self, query: sa.Select[Any], table: sa.TableClause | None = None) -> list[Any]:
        return [row[0] for row in self._all(query, table)]


def _of_offer(column: sa.Column[Any], offer_hash: str) -> sa.Select[Any]:
    return (
        sa.select(column)
        .where(entries.c.subject == offer_hash, entries.c.direction.in_(_HELD))
        .order_by(entries.c.chain, entries.c.position)
    )


def export(
    urls: Sequence[str], order_number: str, merchant: str | None, pause: Callable[[float], None]
) -> Export:
    """Bundle what these nodes hold of an order.

    `merchant`: needed where several have an order of this number. `pause(seconds)`: waits while a
    running node signs its next checkpoint. Raises `CannotExport`, `OurFault` for a wrong URL,
    `Unproved` where no message states the terms.
    """
    with ExitStack() as stack:
        shelves = [_open(url, stack) for url in dict.fromkeys(urls)]
        try:
            return _export(shelves, order_number, merchant, pause)
        except exc.SQLAlchemyError as error:
            raise CannotExport(f"a database cannot be read: {type(error).__name__}") from error


def _open(url: str, stack: ExitStack) -> Shelf:
    try:
        shown = sa.make_url(url).render_as_string(hide_password=True)
    except exc.ArgumentError as error:
        raise CannotExport(
            f"{url.split(':', 1)[0]}…: not a database URL; write sqlite:////path/to/node.db"
        ) from error
    database = open_database(url, exclusive=False)
    if database.path is not None and not database.path.is_file():
        raise CannotExport(f"there is no database at {database.path}")
    engine = database.reader()
    stack.callback(engine.dispose)
    try:
        return Shelf(shown, stack.enter_context(engine.connect()))
    except exc.SQLAlchemyError as error:
        raise CannotExport(f"{shown} cannot be read: {type(error).__name__}") from error


def _export(
    shelves: Sequence[Shelf],
    order_number: str,
    merchant: str | None,
    pause: Callable[[float], None],
) -> Export:
    merchant, offer_hash = _find(shelves, order_number, merchant)
    trusted = _trusted(shelves)
    choice = _choose(shelves, trusted, order_number, merchant, offer_hash)
    waited = 0.0
    proofs: list[ChainProof] = []
    for shelf in shelves:
        held = shelf.positions(offer_hash, choice.digests)
        while shelf.uncovered(held):
            if waited >= WAIT_SECONDS:
                raise CannotExport(
                    f"{shelf.url}: the last messages of this order are not under a signed "
                    "checkpoint yet. A node signs one every second and when it is stopped: start "
                    "it, then export again."
                )
            pause(POLL_SECONDS)
            waited += POLL_SECONDS
        proofs += shelf.proofs(held)
    return Export(build(choice, proofs), trusted, choice.left_out)


def _find(shelves: Sequence[Shelf], order_number: str, merchant: str | None) -> tuple[str, str]:
    found = {order for shelf in shelves for order in shelf.orders(order_number)}
    if merchant is not None:
        found = {order for order in found if order[0] == merchant}
    if not found:
        where = ", ".join(shelf.url for shelf in shelves)
        at_merchant = f" at {merchant}" if merchant else ""
        raise CannotExport(f"no order {order_number}{at_merchant} in {where}")
    merchants = sorted({one for one, _ in found})
    if len(merchants) > 1:
        raise CannotExport(
            f"several merchants have an order {order_number}: choose one with --merchant "
            f"({', '.join(merchants)})"
        )
    if len(found) > 1:
        raise CannotExport(
            f"there are different orders {order_number} of {merchants[0]} in these databases: "
            "export from one at a time"
        )
    return found.pop()


def _trusted(shelves: Sequence[Shelf]) -> Trusted:
    found = {shelf.approval() for shelf in shelves}
    if len({principal for principal, _ in found}) > 1:
        raise CannotExport(
            "these databases are of different networks: their approval servers differ"
        )
    return Trusted(min(found)[0], tuple(PublicKey(x) for _, x in sorted(found)))


def _choose(
    shelves: Sequence[Shelf], trusted: Trusted, order_number: str, merchant: str, offer_hash: str
) -> Choice:
    raws = [raw for shelf in shelves for raw in shelf.raws(offer_hash)]
    signers = {signer for raw in raws for signer in _signers(raw)}
    kids, issuers = sorted({kid for kid, _ in signers}), sorted({issuer for _, issuer in signers})
    pool = Pool(trusted, [x for shelf in shelves for x in shelf.devices(kids)])
    pool.add(raw for shelf in shelves for raw in shelf.guarantees([merchant, *issuers]))
    pool.add(raws)
    return pool.choose(pool.terms(order_number, merchant))


def _signers(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Key and issuer as the message claims them: good for looking up whose key it is, no more."""
    try:
        unopened = unwrap(raw)
        return ((unopened.kid, peek_issuer(unopened)),)
    except PeerFault:
        return ()
