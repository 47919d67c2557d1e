"""A party's information changes, and everybody hears of it: claims 6, 7, 15, 16, 24, 25."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.protocol.canonical import digest, unb64url
from core.protocol.discovery import AgencyFound
from core.protocol.purchase import MerchantFound
from core.protocol.standing import DirectoryPush, InformationChange, InformationChanged
from tests.claims.conftest import Buying
from tests.world.nodes import Networks, NodeUnderTest, Running
from tests.world.trail import Trail
from tests.world.written import Row, eventually

pytestmark = pytest.mark.anyio


def changed(running: Running, kind: str, change: dict[str, Any]) -> Row:
    """Change request → approval, which modifies exactly that. Returns approval's row after it."""
    node = running.nodes[kind]
    before = _row(running, kind)
    sent_before = node.written.head()
    answer = node.ask("POST", "/information", change)
    (sent,) = node.written.entries(InformationChange, direction="SENT", after=sent_before)
    trail = Trail(running)
    request = trail.passed(
        InformationChange, kind, "approval", where=lambda claims: claims["jti"] == sent.message_id
    )
    told = trail.passed(
        InformationChanged, "approval", kind, where=lambda claims: claims["ans"] == sent.message_id
    )
    nothing = dict.fromkeys(
        ("discovery", "endpoint", "payment_methods", "payout_account", "source_networks")
    )
    assert sent.body == nothing | change
    assert request.message.endpoint is None
    after = _row(running, kind)
    assert answer["epoch"] == told.message.epoch == after["epoch"] > before["epoch"]
    stored = {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in change.items()
    }
    moved = {"epoch", "guarantee", "guarantee_until", "last_seen"}
    assert {name: after[name] for name in after if name not in moved} == {
        name: before[name] for name in before if name not in moved
    } | stored
    assert told.message.guarantee.encode() == after["guarantee"] != before["guarantee"]
    assert _said(after["guarantee"])["payment_methods"] == change["payment_methods"]
    assert int(running.approval.written.setting("epoch")) >= after["epoch"]
    index = running.approval.get("/directory").content
    assert _said(index)["epoch"] >= after["epoch"]
    return after


async def merchant_change(running: Running, buying: Buying) -> None:
    """Claims 6, 15, 24; the agency, which pays the merchant, hears of it with the next order."""
    stamp = time.time_ns()
    change = {
        "payment_methods": ["monthly account", f"gift card {stamp}"],
        "payout_account": f"GB33 CHANGED {stamp}",
    }
    row = changed(running, "merchant", change)
    async with buying(running) as purchase:
        found = purchase.passed(MerchantFound, "approval", "agency").message
        assert found.guarantee.encode() == row["guarantee"]
        assert purchase.guarantee(found.guarantee).payment_methods == tuple(
            change["payment_methods"]
        )
        eventually(
            lambda: running.agency.written.row(
                "SELECT payout_account FROM merchants WHERE merchant = ?",
                running.parties["merchant"],
            )["payout_account"],
            change["payout_account"],
        )


def agency_change(running: Running) -> Row:
    """Claims 7, 16, 25."""
    stamp = time.time_ns()
    row = changed(
        running, "agency", {"payment_methods": ["monthly account", f"direct debit {stamp}"]}
    )
    eventually(lambda: running.agency.get("/guarantee").content, row["guarantee"])
    listed = _said(running.approval.get("/directory").content)["agencies"]
    (entry,) = [each for each in listed if each["agency"] == running.parties["agency"]]
    assert (entry["epoch"], entry["guarantee_digest"]) == (row["epoch"], digest(row["guarantee"]))
    return row


def held_at(merchant: NodeUnderTest, agency: str) -> Callable[[], bytes]:
    """The agency's guarantee as the merchant keeps it."""
    sql = "SELECT raw FROM guarantees WHERE party = ?"
    return lambda: merchant.written.row(sql, agency)["raw"]


def _row(running: Running, kind: str) -> Row:
    return running.approval.written.row(
        "SELECT * FROM parties WHERE party = ?", running.parties[kind]
    )


def _said(raw: bytes) -> dict[str, Any]:
    return dict(json.loads(unb64url(raw.split(b".")[1]))["body"])


async def test_claim_06_merchant_change(networks: Networks, buying: Buying) -> None:
    """Merchant's information change request → approval modifies what it stores (lookup)."""
    await merchant_change(networks("lookup"), buying)


async def test_claim_15_merchant_change_push(networks: Networks, buying: Buying) -> None:
    """As claim 6, where approval pushes."""
    await merchant_change(networks("push"), buying)


async def test_claim_24_merchant_change_pull(networks: Networks, buying: Buying) -> None:
    """As claim 6, where merchants pull."""
    await merchant_change(networks("pull"), buying)


async def test_claim_07_agency_change(networks: Networks, buying: Buying) -> None:
    """Agency's information change request; the merchant hears with its next search (lookup)."""
    running = networks("lookup")
    row = agency_change(running)
    async with buying(running) as purchase:
        found = purchase.passed(AgencyFound, "approval", "merchant").message
        assert found.guarantee.encode() == row["guarantee"]
    assert held_at(running.merchant, row["party"])() == row["guarantee"]


async def test_claim_16_agency_change_push(networks: Networks) -> None:
    """As claim 7; the new guarantee is pushed to the merchant, which acknowledges it."""
    running = networks("push")
    row = agency_change(running)
    eventually(held_at(running.merchant, row["party"]), row["guarantee"])
    text = row["guarantee"].decode()
    push = Trail(running).passed(
        DirectoryPush,
        "approval",
        "merchant",
        where=lambda claims: text in claims["body"]["guarantees"],
    )
    assert (push.answers, push.message.epoch, push.message.withdrawn) == (None, row["epoch"], ())
    waiting = "SELECT count(*) AS many FROM outbox WHERE message_id = ?"
    eventually(
        lambda: running.approval.written.row(waiting, push.message_id)["many"],
        0,
    )


async def test_claim_25_agency_change_pull(networks: Networks) -> None:
    """As claim 7; the merchant's next refresh fetches the new guarantee from the agency."""
    running = networks("pull")
    row = agency_change(running)
    running.merchant.ask("POST", "/directory/refresh")
    assert held_at(running.merchant, row["party"])() == row["guarantee"]
    assert int(running.merchant.written.setting("directory_epoch")) >= row["epoch"]
