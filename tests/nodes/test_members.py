"""Members, devices and consents that are not what they say, or come twice."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from core.member.rows import PurchaseState
from core.protocol.canonical import b64url, digest
from core.protocol.discovery import AnonymousIdRequest
from core.protocol.faults import PeerFault
from core.protocol.identifiers import device
from core.protocol.membership import EnrolmentRequest, SessionRequest
from core.protocol.money import Money
from core.protocol.purchase import (
    BillingRequest,
    CompletionNotice,
    CompletionReport,
    Consent,
    TransactionReport,
    VouchRelease,
)
from tests.nodes.conftest import Shopping
from tests.world.nodes import TOTAL, Networks, Running
from tests.world.puppet import MEMBER, Device, a_key, now, post, send, send_raw
from tests.world.shopper import Shopper
from tests.world.written import Row, eventually, unchanged

pytestmark = pytest.mark.anyio


def a_request(running: Running) -> AnonymousIdRequest:
    return AnonymousIdRequest(
        amount=Money(currency="GBP", minor=1250),
        expires_at=now() + 60,
        merchant=running.parties["merchant"],
        offer_hash=digest(b"an offer"),
        order_key=a_key().public.x,
    )


def order_at(running: Running, party: str, offer_hash: str) -> Row:
    return running.nodes[party].written.row("SELECT * FROM orders WHERE offer_hash = ?", offer_hash)


def exposure(running: Running) -> Row:
    return running.approval.written.row(
        "SELECT reserved, committed FROM ledgers WHERE agency = ?", running.parties["agency"]
    )


def credit(running: Running, shopper: Shopper) -> tuple[int, int]:
    row = running.agency.written.row(
        "SELECT reserved, owed FROM members JOIN devices USING (member) WHERE kid = ?",
        shopper.engine.row.kid,
    )
    return row["reserved"], row["owed"]


def test_a_device_that_nobody_knows(networks: Networks) -> None:
    running = networks("lookup")
    stranger = a_key()
    with unchanged(running.agency.written):
        reply = send(
            running.place("agency"),
            a_request(running),
            stranger,
            device(stranger.kid),
            address=MEMBER,
        )
    assert reply.problem == "no_member"


def test_no_session_or_another_devices(networks: Networks) -> None:
    running = networks("lookup")
    mine, other = Device(running), Device(running)
    agency = running.place("agency")
    with unchanged(running.agency.written):
        for headers in ({}, other.session, {"Surety-Session": "A" * 43}):
            reply = mine.send(agency, a_request(running), headers=headers)
            assert reply.problem == "session_required"
        for headers in ({}, {"Surety-Session": "A" * 43}, {"Surety-Session": "x" * 200}):
            answer = post(f"{agency.url}/mailbox", b"{}", MEMBER, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "session_required")
        malformed = post(f"{agency.url}/mailbox", b'{"wait":-1}', MEMBER, mine.session)
        assert malformed.json()["code"] == "malformed"


def test_a_log_in_with_an_answer_of_ones_own(networks: Networks) -> None:
    running = networks("lookup")
    mine = Device(running)
    stale = b64url((now() - 600).to_bytes(8, "big") + bytes(24))
    with unchanged(running.agency.written):
        for nonce in (digest(b""), stale):
            reply = mine.send(running.place("agency"), SessionRequest(nonce=nonce))
            assert reply.refusal == "expired"
            assert "surety-session" not in reply.headers


def test_an_invitation_is_for_one_device(networks: Networks) -> None:
    running = networks("lookup")
    invitation = running.invite()["invitation"]
    first = Device(running, invitation=invitation)
    code = invitation.partition("#")[0].rpartition("/")[2]
    agency = running.place("agency")
    thief = a_key()
    with unchanged(running.agency.written):
        for spoilt in (code, "A" * 22):
            reply = send(
                agency,
                EnrolmentRequest(invitation=spoilt, key=thief.public.x),
                thief,
                device(thief.kid),
                address=MEMBER,
            )
            assert reply.refusal == "invitation_refused"
    again = first.send(agency, EnrolmentRequest(invitation=code, key=first.key.public.x))
    assert again.message.agency == running.parties["agency"]


async def test_declined_by_the_member(networks: Networks, shopping: Shopping) -> None:
    running = networks("lookup")
    offer = running.offer()
    before = exposure(running)
    async with shopping(running) as shopper:
        shown = await shopper.shown(offer["link"])
        assert credit(running, shopper) == (TOTAL, 0)
        await shopper.engine.answer(shown, "decline")
        fingerprint = offer["offer_hash"]
        ends = [("merchant", "REJECTED"), ("approval", "RELEASED"), ("agency", "DECLINED")]
        await settled(running, fingerprint, ends)
        assert credit(running, shopper) == (0, 0)
        with pytest.raises(PeerFault, match="out_of_order"):
            await shopper.engine.answer(shown, "confirm")
    assert exposure(running) == before
    assert running.agency.written.entries(TransactionReport, subject=fingerprint) == []
    (report,) = running.merchant.written.entries(CompletionReport, subject=fingerprint)
    assert (report.body["result"], report.body["reason"]) == ("declined", "declined")
    (release,) = running.approval.written.entries(VouchRelease, subject=fingerprint)
    assert release.body["reason"] == "declined"


async def settled(running: Running, fingerprint: str, states: list[tuple[str, str]]) -> None:
    """Wait until the order has come so far at these parties."""
    for party, state in states:
        async with asyncio.timeout(20):
            while order_at(running, party, fingerprint)["state"] != state:
                await asyncio.sleep(0.02)


async def test_consent_twice(networks: Networks, shopping: Shopping) -> None:
    running = networks("lookup")
    offer = running.offer()
    async with shopping(running) as shopper:
        shown = await shopper.shown(offer["link"])
        first = await shopper.engine.answer(shown, "confirm")
        second = await shopper.engine.answer(shown, "confirm")
        assert first.state is second.state is PurchaseState.CONFIRMED
        done = await shopper.until(first)
        assert (await shopper.engine.answer(done, "confirm")).state is PurchaseState.RECORDED
        (consent,) = shopper.written.entries(Consent, direction="SENT")
        await settled(running, offer["offer_hash"], [("agency", "RECORDED_SEEN")])
        place = running.place("agency")
        with unchanged(running.agency.written, running.approval.written, running.merchant.written):
            same = send_raw(
                place,
                consent.raw,
                address=MEMBER,
                headers=shopper.session,
                audience=shopper.principal,
            )
            anew = send(
                place,
                consent_of(shopper, offer["offer_hash"]),
                shopper.engine.identity.key,
                shopper.principal,
                address=MEMBER,
                headers=shopper.session,
            )
        assert same.receipted
        assert anew.receipted
        assert credit(running, shopper) == (0, TOTAL)
    assert len(running.agency.written.entries(TransactionReport, subject=offer["offer_hash"])) == 1


def consent_of(shopper: Shopper, fingerprint: str, **changes: Any) -> Consent:
    """What the wallet would sign for the notice that it was shown."""
    (notice,) = shopper.written.entries(CompletionNotice, subject=fingerprint)
    fields: dict[str, Any] = {
        "decision": "confirm",
        "notice_digest": notice.digest,
        "order": notice.body["order"],
    }
    return msgspec.convert(fields | changes, Consent)


async def test_consent_of_another_device_or_to_something_else(
    networks: Networks, shopping: Shopping
) -> None:
    running = networks("lookup")
    offer = running.offer()
    place = running.place("agency")
    async with shopping(running) as shopper:
        await shopper.shown(offer["link"])
        other = Device(running)
        consent = consent_of(shopper, offer["offer_hash"])
        with unchanged(running.agency.written):
            assert other.send(place, consent).refusal == "order_unknown"
            unseen = consent_of(shopper, offer["offer_hash"], notice_digest=digest(b"other"))
            reply = send(
                place,
                unseen,
                shopper.engine.identity.key,
                shopper.principal,
                address=MEMBER,
                headers=shopper.session,
            )
            assert reply.refusal == "consent_mismatch"
        assert order_at(running, "agency", offer["offer_hash"])["state"] == "AWAIT_MEMBER"
        assert running.agency.written.entries(TransactionReport, subject=offer["offer_hash"]) == []
        await shopper.engine.answer(await shopper.engine.purchase(offer["offer_hash"]), "decline")
        await settled(running, offer["offer_hash"], [("approval", "RELEASED")])


async def test_credit_that_does_not_suffice_lookup(networks: Networks, shopping: Shopping) -> None:
    """The agency refuses the member himself; the merchant never hears of him."""
    running = networks("lookup")
    offer = running.offer()
    async with shopping(running, TOTAL - 1) as shopper:
        with unchanged(running.approval.written, running.merchant.written):
            refused = await shopper.shown(offer["link"])
    assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "credit_exceeded")


async def test_credit_that_does_not_suffice_push(networks: Networks, shopping: Shopping) -> None:
    """The merchant's reason tells nothing of the member; the member is told."""
    running = networks("push")
    offer = running.offer()
    async with shopping(running, TOTAL - 1) as shopper:
        refused = await shopper.shown(offer["link"])
        assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "credit_exceeded")
        assert credit(running, shopper) == (0, 0)
        await settled(running, offer["offer_hash"], [("merchant", "REJECTED")])
    order = order_at(running, "merchant", offer["offer_hash"])
    assert (order["state"], order["reason"]) == ("REJECTED", "declined")
    (refusal,) = [
        entry
        for entry in running.merchant.written.entries(subject=offer["offer_hash"])
        if entry.name == "refusal/1"
    ]
    assert (refusal.body["code"], refusal.body["detail"]) == ("declined", "")
    assert running.approval.written.entries(subject=offer["offer_hash"]) == []


async def test_the_same_credit_is_not_spent_twice(networks: Networks, shopping: Shopping) -> None:
    running = networks("push")
    async with shopping(running, 2 * TOTAL - 1) as shopper:
        first = await shopper.shown(running.offer()["link"])
        second = await shopper.shown(running.offer()["link"])
        assert (second.state, second.reason) == (PurchaseState.REFUSED, "credit_exceeded")
        assert (await shopper.confirm(first)).state is PurchaseState.RECORDED
        assert credit(running, shopper) == (0, TOTAL)


async def test_a_suspended_member(networks: Networks, shopping: Shopping) -> None:
    running = networks("push")
    offer = running.offer()
    async with shopping(running) as shopper:
        member = running.agency.written.row(
            "SELECT member FROM devices WHERE kid = ?", shopper.engine.row.kid
        )["member"]
        running.agency.ask("POST", f"/members/{member}", {"state": "SUSPENDED"})
        with pytest.raises(PeerFault, match="member_suspended"):
            await shopper.engine.log_in()
        refused = await shopper.shown(offer["link"])
        assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "member_suspended")
    await settled(running, offer["offer_hash"], [("merchant", "REJECTED")])
    assert order_at(running, "merchant", offer["offer_hash"])["reason"] == "declined"


async def test_the_cap_of_the_agency(networks: Networks, shopping: Shopping) -> None:
    """Approval does not vouch: the order ends everywhere, credit is free again."""
    running = networks("push")
    cap = 10**12
    running.approval.stop()
    running.approval.change_while_stopped(
        "UPDATE parties SET caps = ? WHERE party = ?",
        '[{"currency":"GBP","minor":1}]',
        running.parties["agency"],
    )
    running.approval.start()
    offer = running.offer()
    try:
        async with shopping(running) as shopper:
            with unchanged(running.approval.written):
                refused = await shopper.shown(offer["link"])
            assert (refused.state, refused.reason) == (PurchaseState.REFUSED, "cap_exceeded")
            assert credit(running, shopper) == (0, 0)
            await settled(running, offer["offer_hash"], [("merchant", "REJECTED")])
    finally:
        running.approval.stop()
        running.approval.change_while_stopped(
            "UPDATE parties SET caps = ? WHERE party = ?",
            f'[{{"currency":"GBP","minor":{cap}}}]',
            running.parties["agency"],
        )
        running.approval.start()
    (request,) = running.agency.written.entries(BillingRequest, subject=offer["offer_hash"])
    assert request.direction == "RECEIVED"


async def test_a_member_who_never_answers(networks: Networks, shopping: Shopping) -> None:
    running = networks("lookup")
    offer = running.offer()
    before = exposure(running)
    async with shopping(running) as shopper:
        shown = await shopper.shown(offer["link"])
        running.agency.kill()
        running.agency.change_while_stopped(
            "UPDATE orders SET deadline = ? WHERE offer_hash = ?",
            int(time.time()) - 1,
            offer["offer_hash"],
        )
        running.agency.start()
        ended = await shopper.until(shown)
        assert ended.state is PurchaseState.EXPIRED
        assert credit(running, shopper) == (0, 0)
        await settled(
            running,
            offer["offer_hash"],
            [("agency", "EXPIRED"), ("approval", "RELEASED"), ("merchant", "REJECTED")],
        )
    eventually(lambda: exposure(running), before)
