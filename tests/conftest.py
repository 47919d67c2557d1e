from collections.abc import Iterator
from os import environ

import pytest

from tests.world.nodes import Networks


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Containers and cron have none; platformdirs warns about that, and warnings are errors here.
    with pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in environ:
            patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    with Networks(tmp_path_factory.mktemp("networks")) as shared:
        yield shared
