"""Where a node may call depends on where it stands."""

from __future__ import annotations

import dataclasses

import pytest

from core.cli.running import reach_of
from core.exchange.serving import Settings

HERE = Settings(
    party="agency",
    database="sqlite:///x",
    listen=("127.0.0.3", 7701),
    operator=("127.0.0.1", 7711),
    vault="keyring",
    profile="agency",
)


def test_a_node_on_loopback_calls_its_neighbours() -> None:
    assert reach_of(HERE).permits("127.0.0.2", secure=False)
    assert not reach_of(HERE).permits("10.0.0.1", secure=True)


@pytest.mark.parametrize("host", ["203.0.113.7", "10.1.2.3", "::"])
def test_a_node_on_the_network_is_not_sent_to_itself(host: str) -> None:
    outside = dataclasses.replace(HERE, listen=(host, 7701))
    reach = reach_of(outside)
    assert not reach.permits("127.0.0.1", secure=False)
    assert not reach.permits("::1", secure=True)
    assert not reach.permits("::ffff:127.0.0.1", secure=True)
    assert reach.permits("203.0.114.9", secure=True)


def test_a_node_behind_a_proxy_of_its_own_machine_is_not_sent_to_itself() -> None:
    behind = dataclasses.replace(HERE, endpoint="https://agency.example.org")
    assert not reach_of(behind).permits("127.0.0.1", secure=True)
    assert reach_of(dataclasses.replace(HERE, endpoint="http://localhost:7701")).permits(
        "127.0.0.1", secure=False
    )


def test_its_operator_may_open_loopback_by_name() -> None:
    outside = dataclasses.replace(HERE, listen=("203.0.113.7", 7701), allowed=("127.0.0.0/8",))
    assert reach_of(outside).permits("127.0.0.2", secure=False)
    assert not reach_of(outside).permits("::1", secure=False)
