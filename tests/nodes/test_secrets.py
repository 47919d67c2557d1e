"""What must not lie about: secrets anywhere but in vaults, members anywhere but at their agency."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from core.protocol.canonical import b64url, unb64url
from core.protocol.faults import PeerFault
from core.vault.choose import open_vault
from tests.world.nodes import Networks, NodeUnderTest, Running
from tests.world.shopper import Shopper, shopper

pytestmark = pytest.mark.anyio
IDENTITY = {"name": "Zebedee Quillfeather", "street": "17 Unlikely Crescent", "born": "1971-03-04"}


@pytest.fixture(params=["lookup", "push"])
def network(request: pytest.FixtureRequest, networks: Networks) -> Running:
    return networks(request.param)


async def a_busy_day(network: Running, buyer: Shopper, member: str) -> None:
    """A sale, one declined, one refused for want of credit, an unknown agency, wrong tokens."""
    await buyer.whole(network.offer()["link"])
    shown = await buyer.shown(network.offer()["link"])
    await buyer.until(await buyer.engine.answer(shown, "decline"))
    await buyer.engine.log_in()
    network.agency.ask("POST", f"/members/{member}", {"limit_minor": 1})
    await buyer.shown(network.offer()["link"])
    network.agency.ask("POST", f"/members/{member}", {"state": "SUSPENDED"})
    with pytest.raises(PeerFault, match=r"^member_suspended:"):
        await buyer.engine.log_in()
    for node in network.nodes.values():
        node.get("/livez")
        node.ask("GET", "/status")


def secrets_of(network: Running, wallet: Path) -> dict[str, bytes]:
    """Every secret, in its own bytes and as text."""
    found: dict[str, bytes] = {}
    vaults = {party: node.folder / "secrets.json" for party, node in network.nodes.items()}
    vaults["wallet"] = wallet / "wallet-secrets.json"
    for party, path in vaults.items():
        vault = open_vault(f"file:{path}", party)
        for name in json.loads(path.read_text()):
            secret = vault.get(name) or b""
            assert len(secret) >= 32
            found[f"{party} {name}"] = secret
            found[f"{party} {name} as text"] = b64url(secret).encode()
            found[f"{party} {name} in hexadecimal"] = secret.hex().encode()
    return found


def everything(folder: Path) -> dict[Path, bytes]:
    """All files that are no vault."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "secrets.json" not in path.name
    }


def opened(node: NodeUnderTest) -> bytes:
    """What stands in a node's messages once base64url is taken off, and in those inside them."""
    texts: list[bytes] = []
    waiting = [
        row["raw"]
        for table in ("evidence", "outbox", "guarantees")
        for row in node.written.rows(f"SELECT raw FROM {table}")  # noqa: S608
    ]
    while waiting:
        payload = unb64url(waiting.pop().split(b".")[1])
        texts.append(payload)
        body = json.loads(payload)["body"]
        waiting += [
            value.encode()
            for value in body.values()
            if isinstance(value, str) and value.startswith("eyJ") and value.count(".") == 2
        ]
    return b"\n".join(texts)


def holds(content: bytes, what: Iterable[bytes]) -> list[bytes]:
    return [each for each in what if each in content]


async def test_nothing_lies_about(network: Running, tmp_path: Path) -> None:
    wallet = tmp_path / "wallet"
    wallet.mkdir()
    made = network.invite(10**6, **IDENTITY)
    async with shopper(made["invitation"], wallet) as buyer:
        first = buyer.session["Surety-Session"]
        await a_busy_day(network, buyer, made["member"])
        sessions = {first, buyer.session["Surety-Session"]}
        member = [buyer.engine.row.kid, made["member"], *IDENTITY.values()]
    assert len(sessions) == 2
    files = everything(network.network.plan.folder) | everything(wallet)
    assert {path.name for path in files} >= {"node.db", "node.log", "wallet.db", "trust.json"}
    messages = {party: opened(node) for party, node in network.nodes.items()}
    code = made["invitation"].partition("#")[0].rpartition("/")[2]
    secrets_are_in_vaults_alone(network, wallet, files, messages, sessions)
    members_are_known_to_their_agency_alone(
        network, files, messages, [each.encode() for each in (*member, code)]
    )


def secrets_are_in_vaults_alone(
    network: Running,
    wallet: Path,
    files: dict[Path, bytes],
    messages: dict[str, bytes],
    sessions: set[str],
) -> None:
    secrets = secrets_of(network, wallet)
    expected = {"merchant license-key", "agency sealing-seed", "approval operator-token"}
    assert expected <= set(secrets)
    told = {f"session {token}": token.encode() for token in sessions}
    for what, secret in {**secrets, **told}.items():
        found = [path.name for path, content in files.items() if secret in content]
        found += [party for party, content in messages.items() if secret in content]
        assert found == [], what


def members_are_known_to_their_agency_alone(
    network: Running, files: dict[Path, bytes], messages: dict[str, bytes], member: list[bytes]
) -> None:
    logs = {path: content for path, content in files.items() if path.suffix == ".log"}
    assert {node.folder / "node.log" for node in network.nodes.values()} <= set(logs)
    for path, content in logs.items():
        assert holds(content, member[1:]) == [], path
    for path, content in files.items():
        if path.parent.name in {"approval", "merchant"}:
            assert holds(content, member) == [], path
    for party in ("approval", "merchant"):
        assert holds(messages[party], member) == [], party
    # The search would have found them: where they may be, they are.
    everywhere = b"".join(
        content for path, content in files.items() if path.parent.name == "agency"
    )
    assert holds(everywhere, member) == member[:-1]
    assert member[0] in messages["agency"]
