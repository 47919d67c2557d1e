"""Guarantees that are old, or that no longer hold: nobody is billed on them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from core.member.rows import PurchaseState
from core.protocol.purchase import BillingRequest
from core.protocol.standing import DirectoryPush
from tests.nodes.conftest import Shopping
from tests.nodes.orders import an_address
from tests.nodes.test_anonymous_ids import presented, state_of, wait_for_guarantee
from tests.world.nodes import Networks, Running, running
from tests.world.puppet import Puppet, a_key
from tests.world.written import eventually, unchanged


@pytest.fixture(scope="module")
def pulling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A merchant whose guarantees are stale after two seconds."""
    folder = tmp_path_factory.mktemp("pulling")
    with running(folder, discovery="pull", fresh_seconds=2) as network:
        yield network


def held(network: Running, party: str) -> dict[str, Any]:
    return network.merchant.written.row(
        "SELECT withdrawn, confirmed_at FROM guarantees WHERE party = ?", party
    )


@pytest.mark.anyio
async def test_a_stale_guarantee(pulling: Running, shopping: Shopping) -> None:
    """Approval is gone: the directory goes stale, orders wait, and go on when it is back."""
    offer = pulling.offer()
    code = pulling.agency.written.setting("routing_code")
    async with shopping(pulling) as shopper:
        seen = await shopper.engine.look(offer["link"])
        pulling.approval.stop()
        await asyncio.sleep(3.2)
        with unchanged(pulling.merchant.written):
            reply = presented(pulling, offer, f"{code}.{'A' * 43}", a_key())
        assert reply.problem == "guarantee_stale"
        assert reply.problems[0]["again"] is True
        asked = await shopper.engine.buy(seen)
        await asyncio.sleep(0.5)
        assert state_of(pulling, offer) == "DRAFT"
        assert pulling.merchant.written.entries(BillingRequest) == []
        pulling.approval.start()
        shown = await shopper.until(asked, PurchaseState.AWAIT_CONSENT)
        assert shown.state is PurchaseState.AWAIT_CONSENT
        assert (await shopper.confirm(shown)).state is PurchaseState.RECORDED


@pytest.mark.anyio
async def test_a_revoked_agency_pull(pulling: Running, shopping: Shopping) -> None:
    """Approval lists it no longer: the merchant drops it with its next round."""
    agency = pulling.parties["agency"]
    offer = pulling.offer()
    async with shopping(pulling) as shopper:
        seen = await shopper.engine.look(offer["link"])
        pulling.approval.ask("POST", f"/parties/{agency}/suspend", {})
        eventually(lambda: held(pulling, agency)["withdrawn"], 1)
        refused = await shopper.until(await shopper.engine.buy(seen))
        assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "agency_unknown")
        assert state_of(pulling, offer) == "DRAFT"
        pulling.approval.ask("POST", f"/parties/{agency}/reinstate", {})
        eventually(lambda: held(pulling, agency)["withdrawn"], 0)
        again = await shopper.whole(pulling.offer()["link"])
        assert again.state is PurchaseState.RECORDED


def test_a_revoked_agency_push(networks: Networks) -> None:
    """Approval says so at once."""
    network = networks("push")
    agency = Puppet("agency", an_address()).register(network)
    wait_for_guarantee(network, agency.party)
    code = network.approval.written.row(
        "SELECT routing_code FROM parties WHERE party = ?", agency.party
    )["routing_code"]
    network.approval.ask("POST", f"/parties/{agency.party}/revoke", {"reason": "a test"})
    eventually(lambda: held(network, agency.party)["withdrawn"], 1)
    offer = network.offer()
    with unchanged(network.merchant.written):
        reply = presented(network, offer, f"{code}.{'A' * 43}", a_key())
    assert reply.refusal == "agency_unknown"
    assert state_of(network, offer) == "DRAFT"
    pushes = network.merchant.written.entries(DirectoryPush, direction="RECEIVED")
    assert [entry.body["withdrawn"] for entry in pushes][-1] == [agency.party]


@pytest.mark.anyio
async def test_a_revoked_agency_lookup(networks: Networks, shopping: Shopping) -> None:
    """Approval does not name it; suspended, so that the shared network can go on."""
    network = networks("lookup")
    agency = network.parties["agency"]
    offer = network.offer()
    async with shopping(network) as shopper:
        seen = await shopper.engine.look(offer["link"])
        network.approval.ask("POST", f"/parties/{agency}/suspend", {})
        try:
            refused = await shopper.until(await shopper.engine.buy(seen))
        finally:
            network.approval.ask("POST", f"/parties/{agency}/reinstate", {})
    assert refused.state is PurchaseState.REFUSED
    assert refused.reason == "party_suspended"
    assert network.merchant.written.entries(BillingRequest, subject=offer["offer_hash"]) == []
