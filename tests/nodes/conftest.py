from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.nodes.orders import Pair, a_pair
from tests.world.nodes import Networks, Running
from tests.world.shopper import Shopper, shopper

Shopping = Callable[..., AbstractAsyncContextManager[Shopper]]


@pytest.fixture
def pair(networks: Networks) -> Pair:
    return a_pair(networks("lookup"))


@pytest.fixture
def shopping(tmp_path: Path) -> Shopping:
    """A new member's wallet, open inside; each has a folder of its own."""
    numbers = count(1)

    @asynccontextmanager
    async def shop(running: Running, minor: int = 10**7) -> AsyncGenerator[Shopper]:
        folder = tmp_path / f"wallet {next(numbers)}"
        folder.mkdir()
        async with shopper(running.invite(minor)["invitation"], folder) as buyer:
            yield buyer

    return shop
