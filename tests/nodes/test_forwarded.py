"""Addresses that a caller writes himself count for nothing; a configured proxy's count."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.protocol.keys import PublicKey
from core.protocol.standing import RegistrationGranted, StandingQuery
from tests.nodes.orders import Pair, an_address
from tests.world.nodes import NodeUnderTest, Place, start_node
from tests.world.puppet import Puppet
from tests.world.written import unchanged

PROXY, PARTY, STRANGER = "127.0.9.1", "127.0.9.2", "127.0.9.3"


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """An approval server that stands behind a proxy."""
    node = start_node(
        "approval", tmp_path_factory.mktemp("proxy"), "127.0.9.9", "--proxy", f"{PROXY}/32"
    )
    yield node
    node.stop()


@pytest.fixture(scope="module")
def place(behind_proxy: NodeUnderTest) -> Place:
    trust = behind_proxy.ask("GET", "/trust")
    return Place(trust["approval"], behind_proxy.url, PublicKey(trust["keys"][0]["x"]))


@pytest.fixture(scope="module")
def party(behind_proxy: NodeUnderTest, place: Place) -> Puppet:
    puppet = Puppet("merchant", PARTY)
    contract = {
        "kind": "merchant",
        "legal_name": puppet.legal_name,
        "caps": [{"currency": "GBP", "minor": 1}],
    }
    serial = behind_proxy.ask("POST", "/serials", contract)["serial"]
    reply = puppet.ask_registration(place, puppet.registration(serial))
    assert isinstance(reply.message, RegistrationGranted)
    puppet.license = reply.headers["surety-license"]
    puppet.party = reply.message.party
    return puppet


def ask(party: Puppet, place: Place, address: str, forwarded: str | None) -> Any:
    headers = {"Surety-License": party.license}
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    return party.send(place, StandingQuery(party=party.party), address=address, headers=headers)


@pytest.mark.parametrize(
    ("address", "forwarded"),
    [
        (PARTY, None),
        (PARTY, STRANGER),  # what a caller writes counts for nothing, for or against him
        (PROXY, PARTY),
        (PROXY, f"{STRANGER}, {PARTY}"),
        (PROXY, f"{PARTY}, {PROXY}"),
        (PROXY, f"{PARTY},{PROXY},{PROXY}"),
        (PROXY, f"nonsense, {PARTY}"),
    ],
)
def test_calls_from_the_registered_address(
    party: Puppet, place: Place, address: str, forwarded: str | None
) -> None:
    assert ask(party, place, address, forwarded).message.party == party.party


@pytest.mark.parametrize(
    ("address", "forwarded"),
    [
        (STRANGER, None),
        (STRANGER, PARTY),
        (STRANGER, f"{PARTY}, {PROXY}"),
        (PROXY, None),
        (PROXY, ""),
        (PROXY, STRANGER),
        (PROXY, f"{PARTY}, {STRANGER}"),
        (PROXY, f"{PARTY}, nonsense"),
        (PROXY, f"{PARTY}:80"),
        (PROXY, f"{PARTY}, {STRANGER}, {PROXY}"),
    ],
)
def test_calls_from_elsewhere(
    party: Puppet,
    place: Place,
    behind_proxy: NodeUnderTest,
    address: str,
    forwarded: str | None,
) -> None:
    with unchanged(behind_proxy.written):
        assert ask(party, place, address, forwarded).refusal == "address_mismatch"


def test_no_header_counts_where_there_is_no_proxy(pair: Pair) -> None:
    question = StandingQuery(party=pair.agency.party)
    forged = {
        "Surety-License": pair.agency.license,
        "X-Forwarded-For": pair.agency.address,
        "X-Real-IP": pair.agency.address,
        "Forwarded": f"for={pair.agency.address}",
    }
    with unchanged(pair.running.approval.written):
        reply = pair.agency.send(pair.approval, question, address=an_address(), headers=forged)
    assert reply.refusal == "address_mismatch"
    assert pair.agency.send(pair.approval, question, headers=forged).message.party
