import pytest

from core.protocol.standing import DirectoryPush
from core.sandbox.network import Maker
from tests.claims import elements
from tests.claims.conftest import Buying
from tests.world.nodes import Networks

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("maker", ["merchant", "agency"])
async def test_claim_01_lookup(networks: Networks, buying: Buying, maker: Maker) -> None:
    """Anonymous ID from the agency; agency search and merchant search at approval; cross-check."""
    running = networks("lookup", maker)
    async with buying(running) as purchase:
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.agency_introduces(purchase)
        elements.merchant_searches_agency(purchase)
        elements.from_billing_to_sale(purchase, maker)
    assert running.merchant.written.entries(DirectoryPush) == []
