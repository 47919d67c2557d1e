"""What a shop may offer, and what its operator may not."""

from typing import Any

import httpx
import pytest

from core.member.rows import PurchaseState
from core.protocol.faults import PeerFault
from tests.nodes.conftest import Shopping
from tests.world.nodes import LINES, TOTAL, Networks
from tests.world.written import eventually, unchanged

LINE = LINES[0]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"currency": "EUR"}, "unsupported_currency"),
        ({"currency": "ZZZ"}, "unsupported_currency"),
        ({"lines": [{**LINE, "unit_price": "0"}]}, "nonpositive_amount"),
        ({"lines": [{**LINE, "quantity": -2}]}, "nonpositive_amount"),
        ({"lines": [LINE, {**LINE, "quantity": -2}]}, "nonpositive_amount"),
        ({"lines": []}, "malformed"),
        ({"lines": [{**LINE, "unit_price": "1e3"}]}, "malformed"),
        ({"lines": [{**LINE, "unit_price": 6.25}]}, "malformed"),
        ({"lines": [{**LINE, "sku": "a\u202eb"}]}, "malformed"),
        ({"currency": "gbp"}, "malformed"),
        ({"expires_in": 1}, "malformed"),
        ({"surprise": 1}, "malformed"),
    ],
)
def test_an_offer_that_cannot_be_made(
    networks: Networks, change: dict[str, Any], code: str
) -> None:
    running = networks("lookup")
    wish = {"currency": "GBP", "lines": LINES, **change}
    with unchanged(running.merchant.written), pytest.raises(PeerFault, match=f"^{code}:"):
        running.merchant.ask("POST", "/offers", wish)


def test_the_same_request_of_a_shop_is_one_offer(networks: Networks) -> None:
    running = networks("lookup")
    url = f"{running.merchant.operator}/offers"
    headers = {**running.network.bearer("merchant"), "Idempotency-Key": "basket 17"}
    wish: dict[str, Any] = {"currency": "GBP", "lines": LINES}

    def ask(content: Any) -> httpx.Response:
        return httpx.post(url, json=content, headers=headers, trust_env=False)

    first = ask(wish).json()
    assert first["minor"] == TOTAL
    with unchanged(running.merchant.written):
        assert ask(wish).json() == first
        other = ask({**wish, "reference": "other"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("party", ["approval", "agency", "merchant"])
def test_the_operators_door_opens_to_the_operator(networks: Networks, party: str) -> None:
    running = networks("lookup")
    other = "merchant" if party != "merchant" else "agency"
    with unchanged(running.nodes[party].written):
        for headers in ({}, {"Authorization": "Bearer no"}, running.network.bearer(other)):
            answer = httpx.get(
                f"{running.nodes[party].operator}/status", headers=headers, trust_env=False
            )
            assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
            assert answer.headers["content-type"].startswith("application/problem+json")
    assert running.nodes[party].ask("GET", "/status")["queued"] >= 0


def test_an_offer_that_does_not_exist(networks: Networks) -> None:
    running = networks("lookup")
    answer = running.merchant.get("/offers/AAAAAAAAAAAAAAAAAAAAAA")
    assert (answer.status_code, answer.json()["code"]) == (404, "offer_unknown")
    with pytest.raises(PeerFault, match=r"^offer_unknown:"):
        running.merchant.ask("GET", "/orders/AAAAAAAAAAAAAAAAAAAAAA")


@pytest.mark.anyio
async def test_an_offer_that_is_over(networks: Networks, shopping: Shopping) -> None:
    running = networks("lookup")
    offer = running.offer()
    async with shopping(running) as shopper:
        seen = await shopper.engine.look(offer["link"])
        running.merchant.stop()
        running.merchant.change_while_stopped(
            "UPDATE orders SET deadline = deadline - 7200 WHERE offer_hash = ?",
            offer["offer_hash"],
        )
        running.merchant.start()
        order = f"/orders/{offer['offer_id']}"
        eventually(lambda: running.merchant.ask("GET", order)["state"], "EXPIRED")
        asked = await shopper.engine.buy(seen)
        refused = await shopper.until(asked)
    assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "offer_expired")
    shown = running.merchant.ask("GET", f"/orders/{offer['offer_id']}")
    assert (shown["state"], shown["reason"]) == ("EXPIRED", "order_expired")


@pytest.mark.anyio
async def test_an_offer_has_one_buyer(networks: Networks, shopping: Shopping) -> None:
    running = networks("lookup")
    offer = running.offer()
    async with shopping(running) as first, shopping(running) as second:
        shown = await first.shown(offer["link"])
        late = await second.shown(offer["link"])
        assert (late.state, late.reason) == (PurchaseState.REFUSED, "offer_taken")
        done = await first.confirm(shown)
    assert done.state is PurchaseState.RECORDED
    sold = "SELECT order_number FROM sales WHERE offer_hash = ?"
    sale = running.merchant.written.row(sold, offer["offer_hash"])
    assert sale == {"order_number": done.order_number}
