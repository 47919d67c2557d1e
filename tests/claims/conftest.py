from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.claims.elements import IDENTITY, LIMIT, Purchase, bought
from tests.world.nodes import Running
from tests.world.shopper import shopper

Buying = Callable[[Running], AbstractAsyncContextManager[Purchase]]


@pytest.fixture
def buying(tmp_path: Path) -> Buying:
    """A new member who makes a purchase; his wallet is open inside."""

    @asynccontextmanager
    async def buy(running: Running) -> AsyncGenerator[Purchase]:
        made = running.invite(LIMIT, **IDENTITY)
        async with shopper(made["invitation"], tmp_path) as buyer:
            yield await bought(running, buyer, made["member"])

    return buy
