import pytest

from core.protocol.discovery import AgencySearch, AnonymousIdRegistration
from core.sandbox.network import Maker
from tests.claims import elements
from tests.claims.conftest import Buying
from tests.world.nodes import Networks

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("maker", ["merchant", "agency"])
async def test_claim_10_push(networks: Networks, buying: Buying, maker: Maker) -> None:
    """Agency guarantee comes unasked; ID from the member; the agency's address from it."""
    running = networks("push", maker)
    async with buying(running) as purchase:
        elements.member_is_verified(purchase)
        elements.merchant_information_is_told(purchase)
        elements.approval_pushes(purchase)
        elements.member_presents(purchase)
        elements.from_billing_to_sale(purchase, maker)
    assert running.approval.written.entries(AgencySearch) == []
    assert running.approval.written.entries(AnonymousIdRegistration) == []
