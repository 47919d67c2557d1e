import asyncio

import pytest

from core.protocol.discovery import AgencySearch, AnonymousIdRegistration
from core.sandbox.network import Maker
from tests.claims import elements
from tests.claims.conftest import Buying
from tests.world.nodes import FRESH, Networks, Running
from tests.world.written import Row

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("maker", ["merchant", "agency"])
async def test_claim_19_pull(networks: Networks, buying: Buying, maker: Maker) -> None:
    """The merchant accesses agencies periodically and keeps its own guarantee database."""
    running = networks("pull", maker)
    async with buying(running) as purchase:
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.merchant_holds_guarantees(purchase)
        elements.member_presents(purchase)
        elements.from_billing_to_sale(purchase, maker)
    assert running.approval.written.entries(AgencySearch) == []
    assert running.approval.written.entries(AnonymousIdRegistration) == []
    await agencies_are_accessed_again_and_again(running)


async def agencies_are_accessed_again_and_again(running: Running) -> None:
    """Nobody asks for it: the entry is confirmed, and what the agency changed arrives."""
    first = held(running)
    methods = ["monthly account", f"voucher {first['epoch']}"]
    running.agency.ask("POST", "/information", {"payment_methods": methods})
    confirmed = {first["confirmed_at"]}
    async with asyncio.timeout(4 * FRESH["pull"]):
        while len(confirmed) < 2 or held(running)["raw"] == first["raw"]:
            confirmed.add(held(running)["confirmed_at"])
            await asyncio.sleep(0.2)
    assert held(running)["raw"] == running.agency.get("/guarantee").content
    assert held(running)["epoch"] > first["epoch"]


def held(running: Running) -> Row:
    return running.merchant.written.row(
        "SELECT epoch, raw, confirmed_at FROM guarantees WHERE party = ?",
        running.parties["agency"],
    )
