"""Nodes and wallets that die in the middle, by their own process IDs, and come back."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.member.rows import PurchaseRow, PurchaseState
from core.protocol.purchase import (
    BillingRequest,
    CompletionReport,
    Consent,
    TransactionReport,
    Verification,
    VerificationRequest,
)
from tests.nodes.conftest import Shopping
from tests.nodes.test_members import credit, settled
from tests.world.nodes import TOTAL, Running, running
from tests.world.shopper import again, opened, shopper

pytestmark = pytest.mark.anyio
S = PurchaseState


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A network whose nodes may be killed."""
    with running(tmp_path_factory.mktemp("mortal"), discovery="push") as network:
        yield network


def came_to_one_sale(network: Running, fingerprint: str) -> None:
    """However often somebody died: one order, one of each message, one sale."""
    for party, state in (
        ("approval", "RECORDED"),
        ("agency", "RECORDED_SEEN"),
        ("merchant", "VERIFIED"),
    ):
        row = network.nodes[party].written.row(
            "SELECT state, minor FROM orders WHERE offer_hash = ?", fingerprint
        )
        assert row == {"state": state, "minor": TOTAL}
    network.merchant.written.row("SELECT 1 FROM sales WHERE offer_hash = ?", fingerprint)
    for party, kind in (
        ("agency", BillingRequest),
        ("agency", Consent),
        ("merchant", CompletionReport),
        ("approval", TransactionReport),
        ("approval", VerificationRequest),
        ("merchant", Verification),
    ):
        received = network.nodes[party].written.entries(
            kind, direction="RECEIVED", subject=fingerprint
        )
        assert len(received) == 1, kind.name


@pytest.mark.parametrize("party", ["approval", "agency", "merchant"])
async def test_killed_while_the_member_thinks(
    mortal: Running, shopping: Shopping, party: str
) -> None:
    offer = mortal.offer()
    async with shopping(mortal) as buyer:
        shown = await buyer.shown(offer["link"])
        pid = mortal.nodes[party].process.pid
        mortal.nodes[party].kill()
        answered = await buyer.engine.answer(shown, "confirm")
        mortal.nodes[party].start()
        assert mortal.nodes[party].process.pid != pid
        done = await buyer.until(answered)
        assert done.state is S.RECORDED
        ends = [("approval", "RECORDED"), ("agency", "RECORDED_SEEN"), ("merchant", "VERIFIED")]
        await settled(mortal, offer["offer_hash"], ends)
        assert credit(mortal, buyer) == (0, TOTAL)
    came_to_one_sale(mortal, offer["offer_hash"])


@pytest.mark.parametrize("party", ["approval", "agency"])
async def test_killed_before_the_order_comes(
    mortal: Running, shopping: Shopping, party: str
) -> None:
    offer = mortal.offer()
    async with shopping(mortal) as buyer:
        seen = await buyer.engine.look(offer["link"])
        await buyer.engine.log_in()
        mortal.nodes[party].kill()
        asked = await buyer.engine.buy(seen)
        await asyncio.sleep(0.3)
        mortal.nodes[party].start()
        shown = await buyer.until(asked, S.AWAIT_CONSENT)
        assert shown.state is S.AWAIT_CONSENT
        assert (await buyer.confirm(shown)).state is S.RECORDED
        ends = [("approval", "RECORDED"), ("agency", "RECORDED_SEEN"), ("merchant", "VERIFIED")]
        await settled(mortal, offer["offer_hash"], ends)
    came_to_one_sale(mortal, offer["offer_hash"])


async def test_a_wallet_opened_anew_at_each_step(mortal: Running, tmp_path: Path) -> None:
    offer = mortal.offer()
    fingerprint = offer["offer_hash"]
    async with shopper(mortal.invite()["invitation"], tmp_path) as buyer:
        kid = buyer.engine.row.kid
        seen = await buyer.engine.look(offer["link"])
        assert seen.state is S.SEEN
    async with again(tmp_path) as buyer:
        assert buyer.engine.row.kid == kid
        assert await buyer.engine.purchase(fingerprint) == seen
        await buyer.engine.buy(seen)
    shown: PurchaseRow
    async with again(tmp_path) as buyer:
        shown = await buyer.until(await buyer.engine.purchase(fingerprint), S.AWAIT_CONSENT)
        assert shown.state is S.AWAIT_CONSENT
    async with again(tmp_path) as buyer:
        assert await buyer.engine.purchase(fingerprint) == shown
        await buyer.engine.answer(shown, "confirm")
    async with again(tmp_path) as buyer:
        done = await buyer.until(await buyer.engine.purchase(fingerprint))
        assert done.state is S.RECORDED
    async with opened(tmp_path) as wallet:
        (engine,) = wallet.engines.values()
        assert await engine.purchase(fingerprint) == done
    came_to_one_sale(mortal, fingerprint)


async def test_stops_gracefully_while_wallets_wait(mortal: Running, shopping: Shopping) -> None:
    async with shopping(mortal) as first, shopping(mortal):
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await asyncio.to_thread(mortal.agency.stop)
        took = time.monotonic() - began
        mortal.agency.start()
        assert took < 3
        assert '"level": "ERROR"' not in mortal.agency.log
        assert (await first.whole(mortal.offer()["link"])).state is S.RECORDED


async def test_a_node_says_how_it_is(mortal: Running) -> None:
    for node in mortal.nodes.values():
        live = node.get("/livez")
        assert (live.status_code, live.json()) == (200, {"alive": True})
        ready = node.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "wrong": []})
        figures = node.get("/metrics").text
        assert "surety_registered 1.0\n" in figures
        assert "surety_storage_healthy 1.0\n" in figures
        commits = next(
            line for line in figures.splitlines() if line.startswith("surety_commits_total ")
        )
        assert float(commits.split()[1]) > 0


async def test_a_node_that_is_not_registered_says_so(mortal: Running) -> None:
    fresh = mortal.install("agency", "127.0.8.1")
    ready = fresh.node.get("/readyz")
    assert ready.status_code == 503
    (wrong,) = ready.json()["wrong"]
    assert wrong.startswith("Not registered: run `surety agency register`")
    assert "surety_registered 0.0\n" in fresh.node.get("/metrics").text
    assert fresh.node.get("/.well-known/jwks.json").json()["code"] == "not_registered"
