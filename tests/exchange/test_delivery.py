import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.exchange.directory import Contact
from core.exchange.outbox import MAX_LINES
from core.exchange.peers import Answer
from core.exchange.tables import OUTBOX
from core.exchange.turn import Turn
from core.protocol.control import Head, Receipt, Refusal
from core.protocol.envelope import SKEW, Verified, unwrap, verify_as_evidence
from core.protocol.faults import OurFault, PeerFault, fault
from core.protocol.identifiers import device
from core.protocol.membership import EnrolmentRequest
from core.protocol.message import Message
from core.protocol.purchase import Consent, StateAnswer, StateQuery
from core.protocol.standing import LeaseRenewal, StandingQuery
from core.storage import journal
from tests.world.keys import AGENCY, MERCHANT, a_digest, key, party
from tests.world.messages import NOW, samples, sealed
from tests.world.network import Place, place, post, two

pytestmark = pytest.mark.anyio
RENEWAL = LeaseRenewal(counter=1, instance="0" * 32)
QUERY = StateQuery(offer_hash=a_digest("offer"))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Place, Place]]:
    async with two(tmp_path, AGENCY, MERCHANT) as places:
        yield places


def _read(line: bytes) -> Verified[Any]:
    unopened = unwrap(line)
    signer = next(each for each in ("agency", "merchant") if key(each).kid == unopened.kid)
    return verify_as_evidence(unopened, key(signer).public)


def _lines(answer: Answer) -> list[Any]:
    return [
        json.loads(line) if line.startswith(b"{") else _read(line).message for line in answer.lines
    ]


def _codes(answer: Answer) -> list[str]:
    return [each["code"] if isinstance(each, dict) else each.name for each in _lines(answer)]


def _send(message: Message, to: str, turn: Turn) -> bytes:
    return turn.send(message, to, turn.now + 60).raw


def _from_agency(message: Message, **options: Any) -> bytes:
    options.setdefault("audience", MERCHANT)
    return sealed(message, "agency", issuer=AGENCY, **options)


async def test_a_message_is_delivered_and_receipted(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    raw = await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    await agency.quiet()

    assert [each.raw for each in merchant.party.handled] == [raw]
    assert merchant.party.admitted == ["127.0.0.9"]
    assert agency.party.receipts == [_read(raw).message_id]
    assert [call.lines for call in agency.wire.calls] == [(raw,)]
    (receipt,) = [_read(line) for line in agency.wire.answers[0].lines]
    assert isinstance(receipt.message, Receipt)
    assert (receipt.issuer, receipt.audience) == (MERCHANT, AGENCY)
    assert receipt.message.accepted == (_read(raw).message_id,)
    # Both chains hold what was said: the sender's its message and the receipt, and so the other's.
    assert (agency.count("evidence"), merchant.count("evidence")) == (2, 2)
    assert (agency.count("inbox"), merchant.count("inbox")) == (0, 1)
    assert receipt.message.head.position == 1


async def test_the_same_bytes_get_the_same_answer_and_change_nothing(
    pair: tuple[Place, Place],
) -> None:
    _, merchant = pair
    query, renewal = _from_agency(QUERY), _from_agency(RENEWAL)
    first = [await post(merchant, query), await post(merchant, renewal)]
    rows = merchant.count("evidence"), merchant.count("settings")
    again = [await post(merchant, query), await post(merchant, renewal)]

    assert len(merchant.party.handled) == 2
    assert first[0].body == again[0].body
    assert [type(_read(each.body).message) for each in first] == [StateAnswer, Receipt]
    assert _read(again[1].body).message.accepted == _read(first[1].body).message.accepted
    assert (merchant.count("evidence"), merchant.count("settings")) == (rows[0] + 1, rows[1])
    assert first[0].headers["surety-test"] == "yes"
    assert "surety-test" not in again[0].headers


async def test_the_same_bytes_twice_in_one_request_are_dealt_with_once(
    pair: tuple[Place, Place],
) -> None:
    _, merchant = pair
    renewal, query = _from_agency(RENEWAL), _from_agency(QUERY)
    answer = await post(merchant, renewal, query, renewal, query)

    assert len(merchant.party.handled) == 2
    assert _codes(answer) == ["state.answer/1", "state.answer/1", "receipt/1"]
    assert set(_lines(answer)[-1].accepted) == {_read(renewal).message_id}


async def test_another_message_of_the_same_identifier_is_a_conflict(
    pair: tuple[Place, Place],
) -> None:
    _, merchant = pair
    first = _from_agency(RENEWAL, message_id="a" * 32)
    second = _from_agency(LeaseRenewal(counter=2, instance="0" * 32), message_id="a" * 32)
    await post(merchant, first)
    answer = await post(merchant, second)

    assert _codes(answer) == ["message_conflict"]
    assert [each.raw for each in merchant.party.handled] == [first]
    assert _codes(await post(merchant, first)) == ["receipt/1"]


async def test_two_senders_may_use_the_same_identifier(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    other = await place(
        party("agency", "2"), "second", merchant.path.with_name("2.db"), merchant.wire
    )
    merchant.knows(other)
    mine = _from_agency(RENEWAL, message_id="a" * 32)
    theirs = sealed(
        RENEWAL, "second", issuer=other.principal, audience=MERCHANT, message_id="a" * 32
    )
    answer = await post(merchant, mine, theirs)
    await other.stop()

    # Each sender gets a receipt of its own, and reads of nobody else's messages in it.
    receipts = [_read(line) for line in answer.lines]
    assert [(each.audience, each.message.accepted) for each in receipts] == [
        (AGENCY, ("a" * 32,)),
        (other.principal, ("a" * 32,)),
    ]
    assert len(merchant.party.handled) == 2


async def test_a_refusal_is_signed_kept_and_repeated(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    raw = _from_agency(StandingQuery(party=MERCHANT))
    first = await post(merchant, raw)
    again = await post(merchant, raw)

    refusal = _read(first.body)
    assert isinstance(refusal.message, Refusal)
    assert (refusal.issuer, refusal.answers) == (MERCHANT, _read(raw).message_id)
    assert refusal.message.code == "party_unknown"
    assert refusal.message.detail.startswith("nobody of this name!")
    assert len(refusal.message.detail) == 500
    assert first.body == again.body
    assert len(merchant.party.handled) == 1
    # What the handler had written before it refused is gone; the refused bytes are evidence.
    assert merchant.count("settings") == 0
    assert await _directions(merchant) == [("REFUSED", "standing.query/1"), ("SENT", "refusal/1")]


async def _directions(of: Place) -> list[tuple[str, str]]:
    table = journal.entries
    rows = await of.node.writer.submit(
        lambda unit: unit.query(table.select().order_by(table.c.position))
    )
    entries = [journal.ENTRIES.load(row) for row in rows]
    return [(entry.direction.value, entry.name) for entry in entries]


async def test_whoever_is_not_admitted_is_refused_before_anything_is_done(
    pair: tuple[Place, Place],
) -> None:
    _, merchant = pair
    merchant.party.shut = PeerFault(fault("address_mismatch"))
    raw = _from_agency(RENEWAL)
    first = await post(merchant, raw)
    merchant.party.shut = None

    assert _lines(first)[0].code == "address_mismatch"
    assert (await post(merchant, raw)).body == first.body
    assert merchant.party.handled == []


async def test_what_may_be_tried_again_is_not_remembered(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    merchant.party.refuse = PeerFault(fault("guarantee_stale"))
    raw = _from_agency(RENEWAL)
    first = await post(merchant, raw, raw)
    assert _codes(first) == ["guarantee_stale", "guarantee_stale"]
    assert (merchant.count("inbox"), merchant.count("evidence")) == (0, 0)
    assert merchant.count("settings") == 0

    merchant.party.refuse = None
    assert _codes(await post(merchant, raw)) == ["receipt/1"]
    assert merchant.count("inbox") == 1


async def test_it_is_sent_again_until_it_can_be_dealt_with(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    merchant.party.refuse = PeerFault(fault("guarantee_stale"))
    raw = await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    async with asyncio.timeout(5):
        while len(agency.wire.calls) < 2:
            await asyncio.sleep(0.01)
    merchant.party.refuse = None
    await agency.quiet()

    assert {call.lines for call in agency.wire.calls} == {(raw,)}
    assert agency.party.receipts == [_read(raw).message_id]


async def test_unreachable_peers_get_the_same_bytes_later(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    agency.wire.down.add("merchant")
    raw = await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    async with asyncio.timeout(5):
        while len(agency.wire.calls) < 4:
            await asyncio.sleep(0.005)
    assert agency.count("outbox") == 1
    agency.wire.down.clear()
    await agency.quiet()

    assert {call.lines for call in agency.wire.calls} == {(raw,)}
    assert len(merchant.party.handled) == 1
    waits = [nap for nap in agency.clock.naps if nap not in {1.0, 60.0}]
    for at, wait in enumerate(waits[:4]):
        assert 0.5 * 2**at * 0.5 <= wait <= min(0.5 * 2**at, 60)


async def test_a_lost_answer_is_asked_for_again(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    agency.wire.deaf.add("merchant")
    raw = await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    async with asyncio.timeout(5):
        while len(agency.wire.calls) < 3:
            await asyncio.sleep(0.005)
    agency.wire.deaf.clear()
    await agency.quiet()

    assert [each.raw for each in merchant.party.handled] == [raw]
    assert merchant.count("inbox") == 1


async def test_what_was_unanswered_is_sent_after_a_restart(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    agency.wire.down.add("merchant")
    sent: list[bytes] = []
    for at in range(5):
        agency.clock.at += 1
        renewal = LeaseRenewal(counter=at, instance="0" * 32)
        sent.append(await agency.node.work(partial(_send, renewal, MERCHANT)))
    await agency.stop()
    agency.wire.down.clear()
    agency.wire.calls.clear()
    again = await place(AGENCY, "agency", agency.path, agency.wire)
    again.knows(merchant)
    assert merchant.party.handled == []
    await again.node.start()
    await again.quiet()
    await again.stop()

    assert [each.raw for each in merchant.party.handled] == sent
    assert again.party.receipts == [_read(raw).message_id for raw in sent]


async def test_the_answer_outlives_a_restart_of_whoever_gave_it(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    raw = _from_agency(QUERY)
    first = await post(merchant, raw)
    await merchant.stop()
    again = await place(MERCHANT, "merchant", merchant.path, merchant.wire)
    again.knows(agency)
    second = await post(again, raw)
    await again.stop()

    assert second.body == first.body
    assert again.party.handled == []


async def test_many_messages_share_few_requests(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    count = 400

    def send(turn: Turn) -> None:
        for at in range(count):
            turn.send(LeaseRenewal(counter=at, instance="0" * 32), MERCHANT, turn.now + 60)

    await agency.node.work(send)
    await agency.quiet()

    assert len(merchant.party.handled) == count
    assert len(agency.wire.calls) == -(-count // MAX_LINES)
    assert max(len(call.lines) for call in agency.wire.calls) <= MAX_LINES
    assert agency.node.outbox.sent_lines == count
    assert sorted(agency.party.receipts) == sorted(
        each.message_id for each in merchant.party.handled
    )


async def test_large_messages_are_spread_over_requests(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    guarantee = "a.b." + "c" * 180_000
    big = msgspec.structs.replace(samples()["lease.renewed/1"], guarantee=guarantee)

    def send(turn: Turn) -> None:
        for _ in range(8):
            turn.send(big, MERCHANT, turn.now + 60)

    await agency.node.work(send)
    async with asyncio.timeout(5):
        while sum(len(call.lines) for call in agency.wire.calls) < 8:
            await asyncio.sleep(0.01)

    assert all(sum(map(len, call.lines)) < 900_000 for call in agency.wire.calls)
    assert merchant.party.handled == []


async def test_what_has_expired_is_given_up(
    pair: tuple[Place, Place], caplog: pytest.LogCaptureFixture
) -> None:
    agency, merchant = pair
    agency.wire.down.add("merchant")
    await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    agency.clock.at += 1000 * (60 + SKEW + 1)
    await agency.quiet()

    assert merchant.party.handled == []
    assert "expired unanswered" in caplog.text


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (_from_agency(RENEWAL, audience=AGENCY), "wrong_audience"),
        (_from_agency(RENEWAL, audience="anyone"), "wrong_audience"),
        (sealed(RENEWAL, "thief", issuer=AGENCY, audience=MERCHANT), "unknown_key"),
        (sealed(RENEWAL, "agency", issuer=party("agency", "x"), audience=MERCHANT), "wrong_issuer"),
        (sealed(RENEWAL, "agency", issuer=MERCHANT, audience=MERCHANT), "wrong_issuer"),
        (_from_agency(RENEWAL, issued_at=NOW + SKEW + 1), "not_yet_valid"),
        (_from_agency(RENEWAL, issued_at=NOW - 900), "expired"),
        (_from_agency(samples()["offer/1"]), "unknown_type"),
        (_from_agency(RENEWAL)[:-4] + b"AAAA", "bad_signature"),
        (b"what is this", "malformed"),
        (b"{}", "malformed"),
    ],
)
async def test_what_cannot_be_believed_changes_nothing(
    pair: tuple[Place, Place], raw: bytes, code: str
) -> None:
    _, merchant = pair
    good = _from_agency(RENEWAL)
    answer = await post(merchant, raw, good)

    assert _codes(answer) in ([code, "receipt/1"], ["malformed", "receipt/1"])
    assert _codes(answer)[0] == code or "AAAA" in raw.decode()
    assert [each.raw for each in merchant.party.handled] == [good]
    assert (merchant.count("inbox"), merchant.count("evidence")) == (1, 2)


async def test_a_type_from_a_kind_that_may_not_send_it_is_refused(
    pair: tuple[Place, Place],
) -> None:
    _, merchant = pair
    wallet = device(key("device").kid)
    merchant.node.directory.add(_contact(wallet, "device"))
    answer = await post(merchant, sealed(RENEWAL, "device", issuer=wallet, audience=MERCHANT))

    assert _lines(answer)[0].code == "unknown_type"
    assert merchant.party.handled == []


async def test_an_answer_that_was_not_asked_for_is_refused(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    unasked = StateAnswer(offer_hash=a_digest("offer"), order=None, state="VERIFIED")
    answer = await post(merchant, _from_agency(unasked, answers="b" * 32))

    assert _lines(answer)[0].code == "out_of_order"
    assert merchant.party.handled == []


async def test_a_receipt_that_comes_as_a_request_is_refused(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    receipt = samples()["receipt/1"]
    answer = await post(merchant, _from_agency(receipt), _from_agency(RENEWAL))

    assert answer.status == 200
    assert _codes(answer) == ["refusal/1", "receipt/1"]
    assert _lines(answer)[0].code == "unknown_type"


def _contact(principal: str, owner: str) -> Contact:
    return Contact(principal, key(owner).public, "", (), 2**53)


async def test_self_signed_messages_come_from_their_own_key(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    message = EnrolmentRequest(invitation="A" * 22, key=key("device").public.x)
    wallet = device(key("device").kid)
    good = await post(agency, sealed(message, "device", issuer=wallet, audience=AGENCY))
    as_other = await post(
        agency,
        sealed(message, "device", issuer=device(key("thief").kid), audience=AGENCY),
        sealed(message, "device", issuer=MERCHANT, audience=AGENCY),
    )
    stolen = await post(agency, sealed(message, "thief", issuer=wallet, audience=AGENCY))

    assert _codes(good) == ["enrolment.granted/1"]
    assert _codes(as_other) == ["wrong_issuer", "wrong_issuer"]
    assert _codes(stolen) == ["bad_signature"]
    assert len(agency.party.handled) == 1


async def test_before_registration_a_node_takes_nothing(pair: tuple[Place, Place]) -> None:
    _, merchant = pair
    merchant.node.identity = None
    assert _codes(await post(merchant, _from_agency(RENEWAL))) == ["not_registered"]
    with pytest.raises(PeerFault, match="not_registered"):
        await merchant.node.work(partial(_send, RENEWAL, AGENCY))


async def test_ask_returns_the_answer(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    answer = await agency.node.ask(QUERY, MERCHANT, 5)

    assert answer.message == StateAnswer(offer_hash=QUERY.offer_hash, order=None, state="DRAFT")
    assert answer.issuer == MERCHANT
    assert answer.answers == merchant.party.handled[0].message_id
    assert [each.message for each in agency.party.handled] == [answer.message]
    assert agency.count("outbox") == 0
    assert agency.node._asked == {}


async def test_ask_raises_the_refusal(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    with pytest.raises(PeerFault) as caught:
        await agency.node.ask(StandingQuery(party=MERCHANT), MERCHANT, 5)

    assert caught.value.fault.code == "party_unknown"
    assert caught.value.detail.startswith("nobody of this name")
    assert agency.count("outbox") == 0


async def test_ask_says_when_nobody_answers_in_time(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    agency.wire.down.add("merchant")
    with pytest.raises(OurFault) as caught:
        await agency.node.ask(QUERY, MERCHANT, 0.05)
    assert caught.value.fault.code == "peer_unreachable"
    assert agency.node._asked == {}
    # The question stays in the outbox until its own time is up; a late answer is no error.
    agency.wire.down.clear()
    await agency.quiet()
    assert len(merchant.party.handled) == 1
    assert [each.message.name for each in agency.party.handled] == ["state.answer/1"]


async def test_many_questions_at_once_get_each_its_own_answer(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    hashes = [a_digest(f"{at}") for at in range(100)]
    answers = await asyncio.gather(
        *(agency.node.ask(StateQuery(offer_hash=each), MERCHANT, 10) for each in hashes)
    )

    assert [each.message.offer_hash for each in answers] == hashes
    assert len(agency.wire.calls) < 40


async def _answers(agency: Place, *lines: bytes) -> set[str]:
    return (await agency.node.receiving.answers(list(lines))).answered


async def test_nobody_can_answer_or_receipt_for_another(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    agency.wire.down.add("merchant")
    thief = party("merchant", "thief")
    agency.node.directory.add(_contact(thief, "thief"))
    raw = await agency.node.work(partial(_send, QUERY, MERCHANT))
    asked = _read(raw).message_id
    head = Head(chain="main", hash=a_digest("head"), position=1)
    receipt = Receipt(accepted=(asked,), head=head)
    answer = StateAnswer(offer_hash=QUERY.offer_hash, order=None, state="VERIFIED")
    forged = [
        sealed(each, "thief", issuer=thief, audience=AGENCY, answers=asked)
        for each in (receipt, answer)
    ]

    assert await _answers(agency, *forged) == set()
    assert agency.count("outbox") == 1
    assert agency.party.handled == []
    assert agency.party.receipts == []
    agency.wire.down.clear()
    await agency.quiet()
    assert len(merchant.party.handled) == 1


async def test_an_answer_counts_once(pair: tuple[Place, Place]) -> None:
    agency, merchant = pair
    await agency.node.ask(QUERY, MERCHANT, 5)
    line = merchant.wire.answers[-1].lines[0]
    rows = agency.count("evidence")

    assert await _answers(agency, line, line) == {merchant.party.handled[0].message_id}
    assert len(agency.party.handled) == 1
    assert agency.count("evidence") == rows


async def test_an_answer_that_is_refused_is_kept_as_evidence(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    agency.party.refuse = PeerFault(fault("terms_mismatch"))
    await agency.node.ask(QUERY, MERCHANT, 5)

    assert await _directions(agency) == [("SENT", "state.query/1"), ("REFUSED", "state.answer/1")]
    assert (agency.count("outbox"), agency.count("settings")) == (0, 0)


async def test_a_handler_that_breaks_loses_nothing(
    pair: tuple[Place, Place], caplog: pytest.LogCaptureFixture
) -> None:
    agency, merchant = pair
    broken: Any = KeyError("a bug")
    merchant.party.refuse = broken
    raw = await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    async with asyncio.timeout(5):
        while not agency.wire.answers:
            await asyncio.sleep(0.01)
    assert agency.wire.answers[0].status == 500
    assert "bug" not in agency.wire.answers[0].body.decode()
    assert (merchant.count("inbox"), merchant.count("evidence")) == (0, 0)
    merchant.party.refuse = None
    await agency.quiet()

    assert merchant.party.handled[-1].raw == raw
    assert "KeyError" in caplog.text


async def test_a_handler_of_answers_that_breaks_loses_nothing(
    pair: tuple[Place, Place], caplog: pytest.LogCaptureFixture
) -> None:
    agency, merchant = pair
    broken: Any = KeyError("a bug")
    agency.party.refuse = broken
    await agency.node.work(partial(_send, QUERY, MERCHANT))
    async with asyncio.timeout(5):
        while len(agency.wire.answers) < 2:
            await asyncio.sleep(0.01)
    agency.party.refuse = None
    await agency.quiet()

    assert len(merchant.party.handled) == 1
    assert "KeyError" in caplog.text


async def test_nonsense_in_place_of_an_answer_is_no_answer(
    pair: tuple[Place, Place], caplog: pytest.LogCaptureFixture
) -> None:
    agency, merchant = pair

    def send(turn: Turn) -> str:
        return turn.send(QUERY, MERCHANT, turn.now + 60).message_id

    door = agency.wire.doors["merchant"]

    async def rude(_scope: Any, _receive: Any, reply: Any) -> None:
        await reply({"type": "http.response.start", "status": 200, "headers": []})
        await reply({"type": "http.response.body", "body": b"<html>\n{\n{}\n\xff\n[1]\na.b.c"})

    swapped: Any = rude
    agency.wire.doors["merchant"] = swapped
    asked = await agency.node.work(send)
    async with asyncio.timeout(5):
        while not agency.wire.answers:
            await asyncio.sleep(0.01)
    assert agency.count("outbox") == 1
    agency.wire.doors["merchant"] = door
    await agency.quiet()

    assert merchant.party.handled[0].message_id == asked
    assert "unsigned problem" in caplog.text


async def test_the_license_goes_to_approval_and_nobody_else(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    agency.node.license = "the license key"
    trust = agency.node.directory.trust
    assert trust is not None
    await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    await agency.node.work(partial(_send, RENEWAL, trust.principal))
    async with asyncio.timeout(5):
        while len(agency.wire.calls) < 2:
            await asyncio.sleep(0.01)

    sent = {call.url: call.headers.get("Surety-License") for call in agency.wire.calls}
    assert sent == {
        "http://merchant/messages": None,
        "http://approval/messages": "the license key",
    }


async def test_what_is_in_the_outbox_cites_its_order(pair: tuple[Place, Place]) -> None:
    agency, _ = pair
    agency.wire.down.add("merchant")
    consent = samples()["consent/1"]
    assert isinstance(consent, Consent)
    await agency.node.work(partial(_send, consent, MERCHANT))
    rows = await agency.node.writer.submit(lambda unit: unit.query(OUTBOX.table.select()))

    assert [OUTBOX.load(row).subject for row in rows] == [consent.order.offer_hash]


async def test_a_stopped_node_has_signed_where_its_chain_stands(
    pair: tuple[Place, Place],
) -> None:
    agency, _ = pair
    await agency.node.work(partial(_send, RENEWAL, MERCHANT))
    await agency.quiet()
    await agency.stop()
    again = await place(AGENCY, "agency", agency.path, agency.wire)
    kept = await again.node.writer.submit(
        lambda unit: unit.get(journal.CHECKPOINTS, "main", agency.count("evidence"))
    )
    head = await again.node.writer.submit(journal.head)
    await again.stop()

    assert kept is not None
    assert _read(kept.raw).message.head == head
