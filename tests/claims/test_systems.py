"""The same as systems: each "means" is a program that runs, with a database of its own."""

import pytest

from tests.claims import elements
from tests.claims.conftest import Buying
from tests.claims.elements import Purchase
from tests.world.nodes import Networks

pytestmark = pytest.mark.anyio


def servers_stand_apart(purchase: Purchase) -> None:
    """The servers of agency, merchant and institution; the member's own program."""
    nodes = [purchase.running.nodes[party] for party in ("approval", "agency", "merchant")]
    assert len({node.process.pid for node in nodes}) == 3
    assert len({node.url.rpartition(":")[0] for node in nodes}) == 3
    assert len({node.written.path for node in nodes} | {purchase.shopper.written.path}) == 4
    for node in nodes:
        assert node.get("/readyz").json() == {"ready": True, "wrong": []}
        assert node.written.entries(subject=purchase.subject) != []


async def test_claim_28_system_lookup(networks: Networks, buying: Buying) -> None:
    """The means of claim 1."""
    async with buying(networks("lookup", "agency")) as purchase:
        servers_stand_apart(purchase)
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.agency_introduces(purchase)
        elements.merchant_searches_agency(purchase)
        elements.from_billing_to_sale(purchase, "agency")


async def test_claim_29_system_push(networks: Networks, buying: Buying) -> None:
    """The means of claim 10."""
    async with buying(networks("push", "agency")) as purchase:
        servers_stand_apart(purchase)
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.approval_pushes(purchase)
        elements.member_presents(purchase)
        elements.from_billing_to_sale(purchase, "agency")


async def test_claim_30_system_pull(networks: Networks, buying: Buying) -> None:
    """The means of claim 19."""
    async with buying(networks("pull", "agency")) as purchase:
        servers_stand_apart(purchase)
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.merchant_holds_guarantees(purchase)
        elements.member_presents(purchase)
        elements.from_billing_to_sale(purchase, "agency")
