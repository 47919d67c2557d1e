"""What the shop and its operator may do: register, make offers, follow orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import get, post
from litestar.params import Parameter
from msgspec import Meta

from core.exchange.operator import operator_app
from core.licensee.operator import licensee_routes
from core.merchant import rules
from core.merchant.books import IDEMPOTENCY, OFFERS, ORDERS, orders
from core.merchant.rows import IdempotencyRow, OrderRow
from core.protocol.canonical import digest_of
from core.protocol.faults import PeerFault, fault
from core.protocol.names import Currency, Sku, Text, UnitPrice
from core.protocol.terms import CancellationPolicy

if TYPE_CHECKING:
    from litestar import Litestar

    from core.exchange.turn import Turn
    from core.merchant.server import MerchantServer

PAGE = 200


class OfferLine(msgspec.Struct, forbid_unknown_fields=True):
    """One line as the shop knows it; its amount is computed."""

    sku: Sku
    description: Text
    quantity: Annotated[int, Meta(ge=-(10**9), le=10**9)]
    unit_price: UnitPrice


class OfferWish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the shop wants to offer.

    `expires_in`: seconds; `reference`: the shop's own order reference.
    """

    currency: Currency
    lines: Annotated[tuple[OfferLine, ...], Meta(min_length=1, max_length=2000)]
    reference: Annotated[str, Meta(max_length=120)] = ""
    expires_in: Annotated[int, Meta(ge=30, le=31 * 86_400)] = 3600
    cancellation: CancellationPolicy = CancellationPolicy(days=14, parts=True)


class OfferMade(msgspec.Struct):
    """The offer's identity, and the link that the buyer's wallet opens."""

    offer_id: str
    offer_hash: str
    link: str
    minor: int


def make_offer(server: MerchantServer, turn: Turn, wish: OfferWish, link_base: str) -> OfferMade:
    """Price, check and sign an offer. Raises `nonpositive_amount`, `unsupported_currency`."""
    lines, total = rules.price(
        tuple((line.sku, line.description, line.quantity, line.unit_price) for line in wish.lines),
        wish.currency,
    )
    if wish.currency not in msgspec.json.decode(turn.setting("currencies") or "[]"):
        raise PeerFault(fault("unsupported_currency"), wish.currency)
    row = server.orders.offer(
        turn,
        lines=lines,
        total=total,
        reference=wish.reference,
        expires_at=turn.now + wish.expires_in,
        policy=wish.cancellation,
    )
    return OfferMade(row.offer_id, row.offer_hash, f"{link_base}/{row.offer_id}", total.minor)


def make_offer_once(
    server: MerchantServer, turn: Turn, wish: OfferWish, link_base: str, key: str | None
) -> OfferMade:
    """Like `make_offer`; where there is a key, the same key and wish get the same offer again.

    Raises `idempotency_conflict` where the key was another wish's.
    """
    if key is None:
        return make_offer(server, turn, wish, link_base)
    fingerprint = digest_of(wish)
    before = turn.unit.get(IDEMPOTENCY, key)
    if before is not None:
        if before.request_digest != fingerprint:
            raise PeerFault(fault("idempotency_conflict"))
        return msgspec.json.decode(before.answer, type=OfferMade)
    made = make_offer(server, turn, wish, link_base)
    row = IdempotencyRow(key, fingerprint, msgspec.json.encode(made), turn.now)
    turn.unit.put(IDEMPOTENCY, row)
    return made


def merchant_api(server: MerchantServer, token: bytes, endpoint: str) -> Litestar:
    """The operator and shop API of a merchant node."""
    node = server.node
    link_base = f"surety://pay/{endpoint.partition('://')[2]}"

    @post("/offers", status_code=200)
    async def offer(
        data: OfferWish,
        key: Annotated[str | None, Parameter(header="Idempotency-Key", max_length=200)] = None,
    ) -> OfferMade:
        """A new offer; the same Idempotency-Key and request return the same one."""
        return await node.work(lambda turn: make_offer_once(server, turn, data, link_base, key))

    @get("/orders/{offer_id:str}")
    async def order(offer_id: str) -> dict[str, Any]:
        """How an offer's order stands."""

        def read(turn: Turn) -> OrderRow | None:
            held = turn.unit.get(OFFERS, offer_id)
            return turn.unit.get(ORDERS, held.offer_hash) if held else None

        row = await node.work(read)
        if row is None:
            raise PeerFault(fault("offer_unknown"))
        return {**_shown(row), "may_ship": rules.may_ship(row)}

    @get("/orders")
    async def listed(after: str = "") -> list[dict[str, Any]]:
        """A page of orders, by offer hash; the last one's `offer_hash` is `after` of the next."""
        page = (
            sa.select(orders)
            .where(orders.c.offer_hash > sa.bindparam("after"))
            .order_by(orders.c.offer_hash)
            .limit(PAGE)
        )
        rows = await node.writer.submit(lambda unit: unit.query(page, after=after))
        return [_shown(ORDERS.load(row)) for row in rows]

    @post("/directory/refresh", status_code=200)
    async def refresh() -> dict[str, bool]:
        """Pull the directory of agencies now (pull only)."""
        await server.refresh()
        return {"refreshed": True}

    routes = licensee_routes(server.licensee, server.register)
    return operator_app("merchant", [*routes, offer, order, listed, refresh], token)


def _shown(row: OrderRow) -> dict[str, Any]:
    shown = msgspec.structs.asdict(row)
    for hidden in ("anonymous_id", "order_key", "deadline"):
        del shown[hidden]
    return shown
