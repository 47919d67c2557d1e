"""Two parties' word against each other at approval, with every lie and accident in between."""

import os

import msgspec
import pytest

from core.protocol.canonical import b64url, canonical, unb64url
from core.protocol.discovery import AgencySearch
from core.protocol.envelope import seal
from core.protocol.identifiers import serial_number
from core.protocol.money import Money
from core.protocol.purchase import (
    MerchantSearch,
    RecordedNotice,
    StateQuery,
    Verification,
    VerificationFailed,
    VerificationPending,
    VouchRelease,
)
from core.protocol.terms import reference
from tests.nodes.orders import Pair, a_pair, an_address, dearer
from tests.world.nodes import Networks
from tests.world.puppet import Puppet, a_key, fresh_id, now, post, send_raw
from tests.world.written import eventually, unchanged


def told(pair: Pair, puppet: Puppet, kind: type) -> list[dict[str, object]]:
    """What approval sent a puppet unasked."""
    entries = pair.running.approval.written.entries(
        kind, direction="SENT", counterpart=puppet.party
    )
    return [entry.body for entry in entries]


def test_report_then_request(pair: Pair) -> None:
    agreed = pair.terms()
    assert pair.vouch(agreed).message.order == reference(agreed)
    assert (pair.order(agreed)["state"], pair.exposure()) == ("VOUCHED", (1250, 0))
    assert pair.report(agreed).receipted
    assert (pair.order(agreed)["state"], pair.exposure()) == ("REPORT_ONLY", (1250, 0))
    verified = pair.verify(agreed).message
    assert isinstance(verified, Verification)
    assert (verified.terms, verified.record) == (agreed, 1)
    assert (pair.order(agreed)["state"], pair.exposure()) == ("RECORDED", (0, 1250))
    assert [body["record"] for body in told(pair, pair.agency, RecordedNotice)] == [1]


def test_request_before_report_is_pending_and_never_unknown(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    first, second = pair.verify(agreed).message, pair.verify(agreed).message
    assert isinstance(first, VerificationPending)
    assert first == second
    assert first.until == pair.order(agreed)["deadline"]
    assert (pair.order(agreed)["state"], pair.exposure()) == ("VERIFY_ONLY", (1250, 0))
    assert isinstance(pair.report(agreed).message, RecordedNotice)
    assert (pair.order(agreed)["state"], pair.exposure()) == ("RECORDED", (0, 1250))
    assert len(told(pair, pair.merchant, Verification)) == 1


def test_both_again_change_nothing(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.report(agreed)
    verified = pair.verify(agreed).message
    with unchanged(pair.running.approval.written):
        assert pair.verify(agreed).message == verified
        assert pair.report(agreed).message.record == verified.record
        assert pair.vouch(agreed).refusal == "out_of_order"
        assert pair.release(agreed).refusal == "out_of_order"
    assert pair.exposure() == (0, 1250)


def test_vouching_twice_reserves_once(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    with unchanged(pair.running.approval.written):
        again = pair.vouch(agreed).message
    assert again.order == reference(agreed)
    assert pair.exposure() == (1250, 0)


def test_a_report_of_another_amount(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    reply = pair.report(dearer(agreed))
    assert (reply.refusal, reply.message.detail) == ("terms_mismatch", "amount")
    assert (pair.order(agreed)["state"], pair.exposure()) == ("MISMATCH", (0, 0))
    assert pair.verify(agreed).refusal == "out_of_order"
    assert pair.order(agreed)["reason"] == "terms_mismatch: amount"


def test_a_report_of_another_amount_after_the_request(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.verify(agreed)
    assert pair.report(dearer(agreed)).refusal == "terms_mismatch"
    assert (pair.order(agreed)["state"], pair.exposure()) == ("MISMATCH", (0, 0))
    assert [body["reason"] for body in told(pair, pair.merchant, VerificationFailed)] == [
        "terms_mismatch"
    ]


@pytest.mark.parametrize("reported", [False, True])
def test_a_request_of_another_amount(pair: Pair, *, reported: bool) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    if reported:
        pair.report(agreed)
    assert pair.verify(dearer(agreed)).refusal == "terms_mismatch"
    assert (pair.order(agreed)["state"], pair.exposure()) == ("MISMATCH", (0, 0))
    assert [body["reason"] for body in told(pair, pair.agency, VerificationFailed)] == [
        "terms_mismatch"
    ]
    assert pair.report(agreed).refusal == "out_of_order"


def test_a_recorded_sale_cannot_be_talked_away(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.report(agreed)
    pair.verify(agreed)
    with unchanged(pair.running.approval.written):
        assert pair.report(dearer(agreed)).refusal == "terms_mismatch"
        assert pair.verify(dearer(agreed)).refusal == "terms_mismatch"
    assert (pair.order(agreed)["state"], pair.exposure()) == ("RECORDED", (0, 1250))


def test_a_reference_that_does_not_follow_from_the_terms(pair: Pair) -> None:
    agreed = pair.terms()
    message = MerchantSearch(order=reference(dearer(agreed)), terms=agreed)
    with unchanged(pair.running.approval.written):
        assert pair.agency.send(pair.approval, message).refusal == "terms_mismatch"


def test_a_taken_order_number(pair: Pair) -> None:
    agreed = pair.terms()
    other = pair.terms(order_number=agreed.order_number)
    pair.vouch(agreed)
    with unchanged(pair.running.approval.written):
        assert pair.vouch(other).refusal == "order_conflict"
    assert pair.exposure() == (1250, 0)


def test_another_agencys_order(pair: Pair) -> None:
    thief = a_pair(pair.running)
    agreed = pair.terms()
    message = MerchantSearch(order=reference(agreed), terms=agreed)
    with unchanged(pair.running.approval.written):
        assert thief.agency.send(pair.approval, message).refusal == "wrong_issuer"
        assert thief.release(agreed).refusal == "order_unknown"
    pair.vouch(agreed)
    with unchanged(pair.running.approval.written):
        assert thief.report(agreed).refusal == "wrong_issuer"
        assert thief.verify(agreed).refusal == "wrong_issuer"
        assert thief.release(agreed).refusal == "order_unknown"
    assert pair.exposure() == (1250, 0)


def test_a_state_is_told_to_those_it_concerns(pair: Pair) -> None:
    stranger = a_pair(pair.running)
    agreed = pair.terms()
    pair.vouch(agreed)
    question = StateQuery(offer_hash=agreed.offer_hash)
    for puppet in (pair.agency, pair.merchant):
        answer = puppet.send(pair.approval, question).message
        assert (answer.state, answer.order) == ("VOUCHED", reference(agreed))
    for puppet in (stranger.agency, stranger.merchant):
        answer = puppet.send(pair.approval, question).message
        assert (answer.state, answer.order) == (None, None)


def test_nothing_without_a_vouch(pair: Pair) -> None:
    agreed = pair.terms()
    with unchanged(pair.running.approval.written):
        assert pair.report(agreed).refusal == "not_vouched"
        assert pair.verify(agreed).refusal == "not_vouched"
        assert pair.release(agreed).refusal == "order_unknown"


def test_a_release_gives_back_what_was_reserved(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.verify(agreed)
    assert pair.release(agreed).receipted
    assert (pair.order(agreed)["state"], pair.exposure()) == ("RELEASED", (0, 0))
    assert [body["reason"] for body in told(pair, pair.merchant, VerificationFailed)] == [
        "declined"
    ]
    with unchanged(pair.running.approval.written):
        assert pair.release(agreed).receipted
        assert pair.report(agreed).refusal == "out_of_order"


def test_a_report_cannot_be_taken_back(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.report(agreed)
    with unchanged(pair.running.approval.written):
        assert pair.release(agreed).refusal == "out_of_order"
    assert isinstance(pair.verify(agreed).message, Verification)


def test_the_cap(networks: Networks) -> None:
    pair = a_pair(networks("lookup"), minor=2000)
    first, second = pair.terms(1250), pair.terms(751)
    pair.vouch(first)
    with unchanged(pair.running.approval.written):
        refused = pair.vouch(second)
    assert (refused.refusal, refused.message.detail) == ("cap_exceeded", "")
    assert pair.vouch(pair.terms(750)).message.vouched_until > now()
    assert pair.exposure() == (2000, 0)
    pair.release(first)
    assert pair.vouch(second).message.order == reference(second)
    assert pair.exposure() == (1501, 0)


def test_a_currency_outside_the_contract(pair: Pair) -> None:
    agreed = pair.terms()
    foreign = msgspec.structs.replace(agreed, amount=Money(currency="EUR", minor=1250))
    with unchanged(pair.running.approval.written):
        reply = pair.vouch(foreign)
    assert reply.refusal == "unsupported_currency"
    assert reply.message.detail == f"EUR with {pair.agency.party}"


@pytest.mark.parametrize("minor", [0, -1250])
def test_an_amount_that_is_none(pair: Pair, minor: int) -> None:
    agreed = pair.terms()
    raw = seal(
        MerchantSearch(order=reference(agreed), terms=agreed),
        pair.agency.key,
        issuer=pair.agency.party,
        audience=pair.approval.principal,
        message_id=fresh_id(),
        issued_at=now(),
        expires_at=now() + 60,
    )
    header, payload, _ = raw.split(b".")
    body = msgspec.json.decode(unb64url(payload))
    body["body"]["terms"]["amount"]["minor"] = minor
    signed = header + b"." + b64url(canonical(body)).encode()
    forged = signed + b"." + b64url(pair.agency.key.sign(signed)).encode()
    with unchanged(pair.running.approval.written):
        reply = send_raw(
            pair.approval,
            forged,
            address=pair.agency.address,
            headers={"Surety-License": pair.agency.license},
            audience=pair.agency.party,
        )
    assert reply.problem == "malformed"


def test_an_order_whose_time_is_up(pair: Pair) -> None:
    late = pair.terms()
    over = msgspec.structs.replace(late, expires_at=now() - 1)
    with unchanged(pair.running.approval.written):
        assert pair.vouch(over).refusal == "order_expired"
    pair.vouch(late)
    pair.verify(late)
    approval = pair.running.approval
    approval.stop()
    approval.change_while_stopped(
        "UPDATE orders SET deadline = deadline - 3600 WHERE order_number = ?", late.order_number
    )
    approval.start()
    eventually(lambda: pair.order(late)["state"], "EXPIRED")
    assert pair.exposure() == (0, 0)
    for puppet in (pair.agency, pair.merchant):
        assert [body["reason"] for body in told(pair, puppet, VerificationFailed)] == [
            "order_expired"
        ]
    with unchanged(approval.written):
        assert pair.verify(late).refusal == "order_expired"
        assert pair.report(late).refusal == "out_of_order"


@pytest.mark.parametrize(
    ("action", "code"), [("suspend", "party_suspended"), ("revoke", "party_revoked")]
)
def test_an_agency_that_falls_in_the_middle(pair: Pair, action: str, code: str) -> None:
    first, second, before = pair.terms(), pair.terms(), pair.terms()
    for agreed in (first, second, before):
        pair.vouch(agreed)
    pair.report(first)
    pair.report(before)
    pair.verify(before)
    pair.standing(pair.agency.party, action)
    with unchanged(pair.running.approval.written):
        assert pair.verify(first).refusal == code  # its word counts no longer
        assert pair.report(second).refusal == code
        assert pair.vouch(pair.terms()).refusal == code
    assert pair.exposure() == (2500, 1250)
    assert isinstance(pair.verify(before).message, Verification)  # what was recorded stands


@pytest.mark.parametrize(
    ("action", "code"), [("suspend", "party_suspended"), ("revoke", "party_revoked")]
)
def test_a_merchant_that_falls_in_the_middle(pair: Pair, action: str, code: str) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.report(agreed)
    pair.standing(pair.merchant.party, action)
    with unchanged(pair.running.approval.written):
        assert pair.verify(agreed).refusal == code
        assert pair.vouch(pair.terms()).refusal == code
    assert pair.exposure() == (1250, 0)


def test_a_suspension_can_be_lifted_and_the_order_goes_on(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    pair.standing(pair.agency.party, "suspend")
    assert pair.report(agreed).refusal == "party_suspended"
    pair.standing(pair.agency.party, "reinstate")
    assert pair.report(agreed).receipted
    assert isinstance(pair.verify(agreed).message, Verification)
    assert pair.exposure() == (0, 1250)


def test_a_message_for_somebody_else(pair: Pair) -> None:
    with unchanged(pair.running.approval.written):
        reply = pair.vouch(pair.terms(), audience=pair.running.parties["agency"])
    assert reply.problem == "wrong_audience"


def test_a_message_that_comes_too_late_or_too_early(pair: Pair) -> None:
    with unchanged(pair.running.approval.written):
        late = pair.vouch(pair.terms(), issued_at=now() - 600, expires_at=now() - 300)
        early = pair.vouch(pair.terms(), issued_at=now() + 300, expires_at=now() + 400)
        eternal = pair.vouch(pair.terms(), expires_at=now() + 40 * 86_400)
    assert (late.problem, early.problem, eternal.problem) == (
        "expired",
        "not_yet_valid",
        "malformed",
    )


def test_the_same_message_again(pair: Pair) -> None:
    agreed = pair.terms()
    identifier = fresh_id()
    first = pair.vouch(agreed, identifier=identifier, issued_at=now() - 1, expires_at=now() + 99)
    with unchanged(pair.running.approval.written):
        conflict = pair.vouch(pair.terms(), identifier=identifier)
    assert conflict.problem == "message_conflict"
    (kept,) = pair.running.approval.written.entries(
        MerchantSearch, direction="RECEIVED", counterpart=pair.agency.party
    )
    head = pair.running.approval.written.head()
    again = send_raw(
        pair.approval,
        kept.raw,
        address=pair.agency.address,
        headers={"Surety-License": pair.agency.license},
        audience=pair.agency.party,
    )
    assert again.messages == first.messages
    assert pair.running.approval.written.head() == head
    assert pair.exposure() == (1250, 0)


def test_a_message_of_the_wrong_sender(pair: Pair) -> None:
    agreed = pair.terms()
    search = MerchantSearch(order=reference(agreed), terms=agreed)
    release = VouchRelease(order=reference(agreed), reason="declined")
    merchants = AgencySearch(anonymous_id="ABCDEFG2." + "A" * 43, offer_hash="A" * 43)
    with unchanged(pair.running.approval.written):
        assert pair.merchant.send(pair.approval, search).refusal == "unknown_type"
        assert pair.merchant.send(pair.approval, release).refusal == "unknown_type"
        assert pair.agency.send(pair.approval, merchants).refusal == "unknown_type"


def test_approvals_own_word_is_not_taken_back_from_others(pair: Pair) -> None:
    agreed = pair.terms()
    pair.vouch(agreed)
    guarantee = pair.agency.granted.guarantee.encode() if pair.agency.granted else b""
    with unchanged(pair.running.approval.written):
        replies = [
            send_raw(
                pair.approval,
                raw,
                address=pair.agency.address,
                headers={"Surety-License": pair.agency.license},
                audience=pair.agency.party,
            )
            for raw in (
                guarantee,
                pair.running.approval.written.entries(
                    direction="SENT", counterpart=pair.agency.party
                )[-1].raw,
            )
        ]
    assert [reply.problem for reply in replies] == ["unknown_type", "unknown_type"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", "malformed"),
        (b"a.b.c", "malformed"),
        (b"{}", "malformed"),
        (os.urandom(64).replace(b"\n", b""), "malformed"),
        (serial_number(bytes(16)).encode(), "malformed"),
        (b"x" * 400_001, "too_large"),
    ],
    ids=["words", "dots", "json", "noise", "serial", "long"],
)
def test_bytes_that_are_no_message(pair: Pair, body: bytes, code: str) -> None:
    with unchanged(pair.running.approval.written):
        reply = send_raw(pair.approval, body, address=an_address(), headers=None, audience="nobody")
    assert reply.problem == code


def test_a_request_that_is_no_request(pair: Pair) -> None:
    url = pair.approval.url
    address = an_address()
    huge = post(f"{url}/messages", b"x" * 1_000_001, address)
    assert (huge.status_code, huge.json()["code"]) == (413, "too_large")
    many = post(f"{url}/messages", b"\n".join([b"a"] * 65), address)
    assert many.json()["code"] == "too_large"
    form = post(f"{url}/messages", b"a.b.c", address, {"Content-Type": "text/plain"})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media")
    nowhere = post(f"{url}/elsewhere", b"", address)
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    got = pair.running.approval.get("/messages")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")


def test_a_forged_signature(pair: Pair) -> None:
    agreed = pair.terms()
    raw = seal(
        MerchantSearch(order=reference(agreed), terms=agreed),
        pair.agency.key,
        issuer=pair.agency.party,
        audience=pair.approval.principal,
        message_id=fresh_id(),
        issued_at=now(),
        expires_at=now() + 60,
    )
    other = a_key().sign(raw.rpartition(b".")[0])
    forged = raw.rpartition(b".")[0] + b"." + b64url(other).encode()
    with unchanged(pair.running.approval.written):
        reply = send_raw(
            pair.approval,
            forged,
            address=pair.agency.address,
            headers={"Surety-License": pair.agency.license},
            audience=pair.agency.party,
        )
    assert reply.problem == "bad_signature"
