import msgspec
import pytest

from core.evidence import form
from core.evidence.bundle import Report, verify
from core.evidence.chain import Direction
from core.evidence.roster import kinds
from core.protocol.catalogue import ENTRIES
from core.protocol.control import Refusal
from core.protocol.message import Message
from core.protocol.purchase import (
    CompletionReport,
    Consent,
    StateAnswer,
    StateQuery,
    VerificationFailed,
    VerificationPending,
    VouchRelease,
)
from core.protocol.terms import reference
from tests.world.evidence import AGENCY, APPROVAL, MERCHANT, ORDER, START, World


def proved(world: World, bundle: form.Bundle) -> Report:
    return verify(form.write(bundle), world.trusted)


def codes(report: Report) -> set[str]:
    return {claim.code for claim in report.findings.proved}


def missing(report: Report) -> set[str]:
    return {claim.code for claim in report.findings.not_shown}


def test_all_three_nodes_prove_the_whole_sale() -> None:
    world = World()
    report = proved(world, world.bundle())
    assert report.terms == world.terms
    assert report.not_shown == ()
    assert report.proves("recorded")
    assert report.proves("consented")
    assert "the sale is recorded and guaranteed by the institution" in report.proved
    assert len(report.messages) == len(world.raw)
    assert {found.issuer for found in report.checkpoints} == {APPROVAL, AGENCY, MERCHANT}


@pytest.mark.parametrize(
    ("node", "absent"),
    [
        ("agency", {"claimed"}),
        ("merchant", {"vouched", "shown", "consented", "reported"}),
        ("approval", {"offered", "billed", "shown", "consented", "confirmed"}),
    ],
)
def test_one_node_alone_proves_the_sale_and_says_what_it_cannot_show(
    node: str, absent: set[str]
) -> None:
    world = World()
    report = proved(world, world.bundle(nodes=(node,)))
    assert report.proves("recorded")
    assert missing(report) == absent


def test_the_agency_may_make_the_order_number() -> None:
    world = World(number_by_agency=True)
    assert proved(world, world.bundle()).terms.order_number == ORDER


def test_a_billing_request_is_enough_to_know_the_terms() -> None:
    world = World()
    report = proved(
        world, world.bundle(nodes=("merchant",), names={"merchant_guarantee", "billing"})
    )
    assert report.terms == world.terms
    assert codes(report) == {"offered", "billed"}


def test_the_report_as_plain_values() -> None:
    world = World()
    plain = proved(world, world.bundle()).plain()
    assert plain["order_number"] == ORDER
    assert plain["amount"] == {"currency": "GBP", "minor": 2500}
    assert "recorded" in plain["proved"]
    assert plain["not_shown"] == {}
    assert len(plain["messages"]) == len(world.raw)
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


def test_a_declined_order_is_shown_as_declined() -> None:
    def decline(_name: str, message: Message) -> Message:
        if isinstance(message, Consent):
            return msgspec.structs.replace(message, decision="decline")
        if isinstance(message, CompletionReport):
            return msgspec.structs.replace(message, result="declined")
        return message

    world = World(change=decline)
    last = {"report", "request", "recorded", "verification", "result"}
    report = proved(world, world.bundle(names=world.raw.keys() - last))
    assert {"declined", "not_confirmed"} <= codes(report)
    assert {"consented", "confirmed", "recorded"} <= missing(report)


def test_what_else_belongs_to_an_order() -> None:
    world = World()
    ref = reference(world.terms)
    offer_hash = world.terms.offer_hash
    world.say("pending", VerificationPending(order=ref, until=START), "approval", "merchant")
    world.say("query", StateQuery(offer_hash=offer_hash), "merchant", "approval")
    answer = StateAnswer(offer_hash=offer_hash, order=None, state=None)
    world.say("answer", answer, "approval", "merchant", answers="query")
    refusal = Refusal(code="expired", detail="", subject=offer_hash)
    world.say("refusal", refusal, "approval", "merchant", answers="request")
    world.sign()
    report = proved(world, world.bundle())
    assert report.proves("refused")
    assert report.proves("recorded")


def test_an_order_that_failed_is_shown_as_failed() -> None:
    world = World()
    ref = reference(world.terms)
    world.say("release", VouchRelease(order=ref, reason="declined"), "agency", "approval")
    world.say("failed", VerificationFailed(order=ref, reason="declined"), "approval", "merchant")
    world.sign()
    last = {"recorded", "verification", "result"}
    report = proved(world, world.bundle(names=world.raw.keys() - last))
    assert {"released", "failed"} <= codes(report)
    assert "recorded" in missing(report)


def test_what_a_node_refused_is_covered_too() -> None:
    world = World()
    merchant = world.nodes["merchant"]
    raw = world.sealed(
        "again",
        VerificationPending(order=reference(world.terms), until=START),
        "approval",
        "merchant",
    )
    merchant.keep(raw, Direction.REFUSED, world.now)
    world.raw["again"] = raw
    world.sign()
    found = proved(world, world.bundle(nodes=("merchant",))).messages
    assert raw in {one.raw for one in found}


def test_segments_of_one_chain_may_meet() -> None:
    world = World(noise=0)
    report = proved(world, world.bundle(nodes=("merchant",)))
    positions = [found.message.head.position for found in report.checkpoints]
    assert positions == sorted(positions)
    assert len(positions) > 1


def test_a_bundle_from_a_long_chain_stays_small() -> None:
    world = World(noise=0)
    for node in world.nodes.values():
        for _ in range(5):
            node.noise(200, world.now)
            node.sign(world.now)
    spread = World(noise=3000)
    entries = sum(len(node.rows) for node in spread.nodes.values())
    assert entries > 50_000
    for node in spread.nodes.values():
        node.signed = checkpoints(spread, node.principal)
    data = form.write(spread.bundle())
    assert len(data) < 300_000
    assert verify(data, spread.trusted).proves("recorded")


def checkpoints(world: World, principal: str) -> list[tuple[int, bytes]]:
    """A checkpoint every hundred entries, as a node makes them that signs each second."""
    node = next(one for one in world.nodes.values() if one.principal == principal)
    rows = node.rows
    signed: list[tuple[int, bytes]] = []
    for end in range(100, len(rows) + 100, 100):
        node.rows, node.signed = rows[:end], []
        node.sign(node.rows[-1].at)
        signed += node.signed
    node.rows = rows
    return signed


def test_every_word_of_the_catalogue_is_understood() -> None:
    for entry in ENTRIES:
        assert kinds(entry.sender), entry
        assert kinds(entry.receiver), entry
