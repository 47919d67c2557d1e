"""One wrong thing a test: it is found, and named."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.evidence import form
from core.evidence.bundle import verify
from core.evidence.trust import Trusted
from core.evidence.unproved import Unproved
from core.protocol.canonical import b64url
from core.protocol.control import Checkpoint, Head, Receipt, Refusal
from core.protocol.discovery import AgencyFound
from core.protocol.envelope import unwrap, verify_as_evidence
from core.protocol.identifiers import device, message_id
from core.protocol.keys import thumbprint
from core.protocol.membership import EnrolmentGranted
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.purchase import StateQuery, VerificationFailed
from core.protocol.standing import ANYONE
from core.protocol.terms import reference
from tests.world.evidence import (
    AGENCY,
    MERCHANT,
    START,
    STRANGER,
    World,
    a_merchant_guarantee,
    an_agency_guarantee,
    an_offer,
    id_of,
    signing_key,
)

OTHER = "A" * 43


def trouble(world: World, bundle: form.Bundle | bytes) -> str:
    data = bundle if isinstance(bundle, bytes) else form.write(bundle)
    with pytest.raises(Unproved) as caught:
        verify(data, world.trusted)
    assert str(caught.value) == f"{caught.value.where}: {caught.value.what}"
    return str(caught.value)


def with_(bundle: form.Bundle, **fields: object) -> form.Bundle:
    return msgspec.structs.replace(bundle, **fields)


def changing(name: str, **fields: object) -> Callable[[str, Message], Message]:
    def change(of: str, message: Message) -> Message:
        return msgspec.structs.replace(message, **fields) if of == name else message

    return change


def about(world: World, name: str) -> str:
    return id_of(world.raw[name])


# The file


def test_a_space_more() -> None:
    world = World()
    data = form.write(world.bundle())
    assert trouble(world, data[:-1] + b" }") == f"bundle: not canonical: byte {len(data) - 1}"
    assert trouble(world, data + b"\n") == f"bundle: not canonical: byte {len(data)}"
    assert trouble(world, b" " + data) == "bundle: not canonical: byte 0"


def test_a_member_twice() -> None:
    world = World()
    data = form.write(world.bundle())
    again = data.replace(b'"version"', b'"version":"surety.evidence/1","version"')
    assert "bundle: not canonical" in trouble(world, again)


def test_a_field_more() -> None:
    world = World()
    data = form.write(world.bundle())
    assert "unknown field `zebra`" in trouble(world, data[:-1] + b',"zebra":1}')
    jwk = data.replace(b'"use":"sig"', b'"use":"sig","y":"A"', 1)
    assert "unknown field `y` - at `$.keys[0]`" in trouble(world, jwk)


def test_not_json() -> None:
    world = World()
    assert "bundle: not readable" in trouble(world, b"")
    assert "bundle: not readable" in trouble(world, b"[" * 100_000)
    assert "bundle: not readable" in trouble(world, b'{"\xff":1}')
    assert "bundle: not readable" in trouble(world, b'{"chains":[],"\n\x00')


def test_another_version() -> None:
    world = World()
    data = form.write(world.bundle()).replace(b"surety.evidence/1", b"surety.evidence/2")
    assert "at `$.version`" in trouble(world, data)


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(form, "MAX_BUNDLE", 1000)
    assert trouble(world, world.bundle()) == "bundle: longer than 1000 bytes"


# Keys


def test_a_kid_that_is_no_thumbprint() -> None:
    world = World()
    bundle = world.bundle()
    jwk = msgspec.structs.replace(bundle.keys[0], kid=OTHER)
    found = trouble(world, with_(bundle, keys=(jwk, *bundle.keys[1:])))
    assert found.startswith(f"key {OTHER}: not the RFC 7638 thumbprint of its x")


def test_a_weak_key() -> None:
    world = World()
    bundle = world.bundle()
    weak = b64url(bytes(32))
    jwk = msgspec.structs.replace(bundle.keys[0], x=weak, kid=thumbprint(weak))
    found = trouble(world, with_(bundle, keys=(jwk, *bundle.keys[1:])))
    assert found.startswith(f"key {thumbprint(weak)}: The public key is one of the keys that prove")


def test_keys_out_of_order() -> None:
    world = World()
    bundle = world.bundle()
    found = trouble(world, with_(bundle, keys=bundle.keys[::-1]))
    assert found == f"key {bundle.keys[-2].kid}: is not in order of kid"


def test_a_key_twice() -> None:
    world = World()
    bundle = world.bundle()
    found = trouble(world, with_(bundle, keys=(bundle.keys[0], *bundle.keys)))
    assert found == f"key {bundle.keys[0].kid}: is there twice"


def test_a_key_that_is_missing() -> None:
    world = World()
    bundle = world.bundle()
    kid = world.keys["device"].kid
    keys = tuple(jwk for jwk in bundle.keys if jwk.kid != kid)
    found = trouble(world, with_(bundle, keys=keys))
    assert "anonymous_id.request/1" in found
    assert f"signed with key {kid}, which is not in the bundle" in found


def test_a_key_that_nobody_uses() -> None:
    world = World()
    bundle = world.bundle()
    extra = form.jwk_of(signing_key("extra").public)
    keys = tuple(sorted((*bundle.keys, extra), key=lambda jwk: jwk.kid))
    found = trouble(world, with_(bundle, keys=keys))
    assert found == f"key {extra.kid}: nothing in the bundle is signed with it"


# Messages by themselves


def test_a_message_that_is_none() -> None:
    world = World()
    bundle = world.bundle()
    found = trouble(world, with_(bundle, messages=("a.b.c", *bundle.messages)))
    assert found.startswith("messages[0]: The message is not in the form")


def test_a_signature_of_other_bytes() -> None:
    world = World()
    bundle = world.bundle()
    first, second = bundle.messages[:2]
    mixed = first.rsplit(".", 1)[0] + "." + second.rsplit(".", 1)[1]
    found = trouble(world, with_(bundle, messages=(mixed, *bundle.messages[1:])))
    assert found.startswith("messages[0] (agency.guarantee/1): The signature does not belong")


def test_a_message_twice() -> None:
    world = World()
    bundle = world.bundle()
    found = trouble(world, with_(bundle, messages=(bundle.messages[0], *bundle.messages)))
    assert found == f"agency.guarantee/1 {about(world, 'agency_guarantee')}: is there twice"


def test_two_messages_with_one_identifier() -> None:
    same = message_id(START * 1000, bytes(10))
    world = World(claims={"billing": {"message_id": same}, "request": {"message_id": same}})
    found = trouble(world, world.bundle())
    assert found == f"verification.request/1 {same}: two messages have this identifier"


def test_messages_out_of_order() -> None:
    world = World()
    bundle = world.bundle()
    swapped = (bundle.messages[1], bundle.messages[0], *bundle.messages[2:])
    found = trouble(world, with_(bundle, messages=swapped))
    assert found.endswith("not in order of issue time and identifier")
    assert about(world, "agency_guarantee") in found


def test_a_message_that_lives_too_long() -> None:
    world = World(claims={"introduction": {"expires_at": START + 10**6}})
    found = trouble(world, world.bundle())
    assert found.startswith(f"anonymous_id/1 {about(world, 'introduction')}: The message is not in")


# Who says it


def test_another_approval_server() -> None:
    world = World()
    world.trusted = Trusted("approval-zzzzzzzzzzzzzzzz", world.trusted.keys)
    assert "but approval-zzzzzzzzzzzzzzzz is trusted" in trouble(world, world.bundle())


def test_a_key_of_approval_that_is_not_trusted() -> None:
    world = World()
    world.trusted = Trusted(world.trusted.principal, (signing_key("another").public,))
    found = trouble(world, world.bundle())
    assert found.startswith(f"agency.guarantee/1 {about(world, 'agency_guarantee')}: key ")
    assert "is not a trusted key of approval-" in found


def test_a_verification_that_approval_did_not_sign() -> None:
    world = World(signers={"verification": signing_key("merchant")})
    assert f"key {signing_key('merchant').kid} is not a trusted key" in trouble(
        world, world.bundle()
    )


def test_a_merchant_that_verifies_itself() -> None:
    world = World(
        signers={"verification": signing_key("merchant")},
        claims={"verification": {"issuer": MERCHANT}},
    )
    found = trouble(world, world.bundle(nodes=("merchant",)))
    assert found.startswith(f"verification/1 {about(world, 'verification')}: issued by {MERCHANT}")
    assert "only approval may say it" in found


def test_a_message_for_nobody_who_gets_such_messages() -> None:
    world = World(claims={"report": {"audience": MERCHANT}})
    found = trouble(world, world.bundle(nodes=("agency",)))
    assert f"meant for {MERCHANT}, but it is for approval" in found


def test_a_party_without_a_guarantee() -> None:
    world = World()
    names = world.raw.keys() - {"agency_guarantee"}
    found = trouble(world, world.bundle(names=names))
    assert found.startswith(f"completion.notice/1 {about(world, 'notice')}: no guarantee in the")


def test_a_guarantee_of_a_weak_key() -> None:
    world = World(change=changing("agency_guarantee", key=b64url(bytes(32))))
    found = trouble(world, world.bundle())
    assert found.startswith(
        f"agency.guarantee/1 {about(world, 'agency_guarantee')}: the guaranteed"
    )


def test_a_guarantee_by_the_merchant_itself() -> None:
    world = World(
        signers={"merchant_guarantee": signing_key("merchant")},
        claims={"merchant_guarantee": {"issuer": MERCHANT}},
    )
    assert "only approval may say it" in trouble(world, world.bundle())


def test_a_device_to_which_nothing_was_shown() -> None:
    other = signing_key("other device")
    world = World(signers={"consent": other}, claims={"consent": {"issuer": device(other.kid)}})
    found = trouble(world, world.bundle())
    assert found.startswith(
        f"consent/1 {about(world, 'consent')}: no completion notice of the agency"
    )


def test_a_device_that_signs_for_another() -> None:
    world = World(signers={"consent": signing_key("other device")})
    assert "is not who signs with key" in trouble(world, world.bundle())


def test_an_order_key_that_is_not_of_the_terms() -> None:
    other = signing_key("other order")
    world = World(
        signers={"presented": other}, claims={"presented": {"issuer": f"order-key:{other.kid}"}}
    )
    assert "is not the order key of the terms" in trouble(world, world.bundle())


def test_a_notice_of_somebody_elses_making() -> None:
    world = World(signers={"notice": signing_key("merchant")})
    found = trouble(world, world.bundle())
    assert found.startswith(f"completion.notice/1 {about(world, 'notice')}: no guarantee")


# What it is about


def test_no_terms_at_all() -> None:
    world = World()
    bundle = world.bundle(nodes=("merchant",), names={"merchant_guarantee", "offer"})
    assert trouble(world, bundle) == "bundle: no message in it states the terms of the order"


@pytest.mark.parametrize(
    ("field", "value"),
    [("offer_hash", OTHER), ("terms_hash", OTHER), ("order_number", "M-9999-9999")],
)
def test_a_head_that_is_not_of_the_messages(field: str, value: str) -> None:
    world = World()
    found = trouble(
        world, with_(world.bundle(names=world.raw.keys() - {"billing"}), **{field: value})
    )
    assert found.startswith(f"bundle: {field} is ")


def test_a_billing_request_with_another_number() -> None:
    world = World(change=changing("billing", order_number="M-9999-9999"))
    found = trouble(world, world.bundle())
    assert found.endswith("order_number is not that of this order")


@pytest.mark.parametrize(
    "name",
    ["search", "found", "notice", "consent", "completion", "report", "request", "verification"],
)
def test_a_reference_to_another_order(name: str) -> None:
    world = World()
    other = msgspec.structs.replace(reference(world.terms), terms_hash=OTHER)
    world = World(change=changing(name, order=other))
    found = trouble(world, world.bundle())
    assert found.endswith(f"{about(world, name)}: order is not that of this order: terms_hash")


@pytest.mark.parametrize("name", ["completion", "report", "request", "verification"])
def test_other_terms(name: str) -> None:
    terms = msgspec.structs.replace(World().terms, amount=Money(currency="GBP", minor=2600))
    world = World(change=changing(name, terms=terms))
    found = trouble(world, world.bundle())
    assert found.endswith(f"{about(world, name)}: terms is not that of this order: amount")


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("introduction", {"anonymous_id": "ABCDEFGH." + "y" * 60}, "anonymous_id"),
        ("introduction", {"order_key": OTHER}, "order_key"),
        ("introduction", {"offer_hash": OTHER}, "offer_hash"),
        ("presented", {"key": signing_key("x").public.x}, "key"),
        ("id_request", {"order_key": signing_key("x").public.x}, "order_key"),
        ("id_request", {"amount": Money(currency="GBP", minor=1)}, "amount"),
        ("id_request", {"merchant": STRANGER}, "merchant"),
        ("billing", {"terms_hash": OTHER}, "terms_hash"),
        ("billing", {"offer": an_offer(3)}, "offer"),
        ("offer", {"expires_at": START}, "offer"),
        ("result", {"offer_hash": OTHER}, "offer_hash"),
    ],
)
def test_a_word_about_another_order(name: str, fields: dict[str, Any], field: str) -> None:
    # Who falsifies the billing request falsifies what it comes to: the notice comes first then.
    world = World(change=changing(name, **fields))
    bundle = world.bundle(names=world.raw.keys() - ({"billing"} - {name}))
    found = trouble(world, bundle)
    assert about(world, name) in found
    if name != "billing" or field == "terms_hash":
        assert f"{field} is not that of this order" in found


def test_an_offer_that_does_not_add_up() -> None:
    world = World()
    offer = msgspec.structs.replace(an_offer(), amount=Money(currency="GBP", minor=2499))
    world.say("offer2", offer, "merchant", ANYONE)
    world.sign()
    found = trouble(world, world.bundle())
    assert found.startswith(f"offer/1 {about(world, 'offer2')}: its offer: The lines do not add up")


def test_a_guarantee_of_a_stranger() -> None:
    for guarantee in (
        a_merchant_guarantee(signing_key("x"), STRANGER),
        an_agency_guarantee(signing_key("x"), STRANGER),
    ):
        world = World()
        world.say("extra", guarantee, "approval", ANYONE)
        world.sign()
        found = trouble(world, world.bundle())
        assert found.endswith(
            f"{about(world, 'extra')}: guarantees {STRANGER}, who has no part in this order"
        )


def test_a_message_of_a_stranger() -> None:
    world = World()
    query = StateQuery(offer_hash=world.terms.offer_hash)
    world.principals["stranger"] = STRANGER
    world.say("query", query, "approval", "stranger")
    world.sign()
    found = trouble(world, world.bundle())
    assert found.endswith(f"meant for {STRANGER}, who has no part in this order")


def test_a_message_about_no_order() -> None:
    world = World()
    head = Head(chain="main", hash=OTHER, position=1)
    granted = EnrolmentGranted(
        agency=AGENCY,
        guarantee=world.text("agency_guarantee"),
        limit=Money(currency="GBP", minor=1),
        payment_methods=("invoice",),
    )
    for message, by, to in (
        (Receipt(accepted=(about(world, "report"),), head=head), "approval", "agency"),
        (Checkpoint(head=head), "approval", ANYONE),
        (granted, "agency", "device"),
    ):
        other = World()
        other.say("extra", message, by, to)
        other.sign()
        found = trouble(other, other.bundle())
        assert found == f"{message.name} {about(other, 'extra')}: is not about this order"


# What messages say of each other


def test_a_consent_to_what_was_not_shown() -> None:
    world = World(change=changing("consent", notice_digest=OTHER))
    found = trouble(world, world.bundle())
    assert found.startswith(f"consent/1 {about(world, 'consent')}: notice_digest is not that of")


def test_a_consent_to_what_another_device_was_shown() -> None:
    other = signing_key("other device")
    claims = {"consent": {"issuer": device(other.kid), "answers": None}}
    world = World(signers={"consent": other}, claims=claims)
    world.principals["other"] = device(other.kid)
    world.say("notice2", opened(world, "notice", "agency"), "agency", "other")
    world.sign()
    found = trouble(world, world.bundle())
    shown_to = device(world.keys["device"].kid)
    assert found == (
        f"consent/1 {about(world, 'consent')}: answers a notice that was shown to {shown_to}"
    )


def opened(world: World, name: str, by: str) -> Message:
    return verify_as_evidence(unwrap(world.raw[name]), world.keys[by].public).message


def test_a_report_without_that_consent() -> None:
    world = World(change=changing("report", consent_digest=OTHER))
    found = trouble(world, world.bundle())
    assert found.startswith(f"transaction.report/1 {about(world, 'report')}: consent_digest is not")


def test_a_report_on_a_consent_that_declines() -> None:
    world = World(change=changing("consent", decision="decline"))
    found = trouble(world, world.bundle())
    assert found.startswith(f"transaction.report/1 {about(world, 'report')}: rests on consent/1")


def test_a_request_without_that_report() -> None:
    world = World(change=changing("request", completion_digest=OTHER))
    found = trouble(world, world.bundle())
    assert found.startswith(f"verification.request/1 {about(world, 'request')}: completion_digest")


def test_a_request_on_a_report_that_says_no() -> None:
    world = World(change=changing("completion", result="refused"))
    found = trouble(world, world.bundle())
    assert found.startswith(
        f"verification.request/1 {about(world, 'request')}: rests on completion"
    )
    assert found.endswith("which says refused")


@pytest.mark.parametrize(("field", "value"), [("record", 8), ("recorded_at", START)])
def test_two_records_of_one_sale(field: str, value: int) -> None:
    world = World(change=changing("recorded", **{field: value}))
    found = trouble(world, world.bundle())
    assert found.startswith(f"recorded.notice/1 {about(world, 'recorded')}: {field} is not that of")


def test_recorded_and_failed() -> None:
    world = World()
    failed = VerificationFailed(order=reference(world.terms), reason="order_expired")
    world.say("failed", failed, "approval", "merchant")
    world.sign()
    found = trouble(world, world.bundle())
    assert found.startswith(
        f"verification.failed/1 {about(world, 'failed')}: contradicts verification/1"
    )


def test_recorded_in_the_future() -> None:
    world = World(change=changing("verification", recorded_at=START + 9999))
    found = trouble(world, world.bundle(nodes=("merchant",)))
    assert found.endswith("recorded_at is later than the message itself")


@pytest.mark.parametrize(
    ("name", "rests_on"),
    [
        ("consent", "notice"),
        ("report", "consent"),
        ("request", "completion"),
        ("verification", "request"),
        ("found", "search"),
        ("notice", "merchant_guarantee"),
    ],
)
def test_a_message_that_is_older_than_what_it_rests_on(name: str, rests_on: str) -> None:
    world = World(claims={name: {"issued_at": START - 1000, "expires_at": START}})
    found = trouble(world, world.bundle())
    assert f"{about(world, name)}: issued before " in found
    assert about(world, rests_on) in found


def test_a_guarantee_that_had_expired() -> None:
    world = World(
        claims={"merchant_guarantee": {"issued_at": START - 9000, "expires_at": START - 1000}}
    )
    found = trouble(world, world.bundle())
    assert "which had expired" in found
    assert about(world, "merchant_guarantee") in found


def test_an_answer_to_what_was_for_somebody_else() -> None:
    asked = World()
    world = World(claims={"verification": {"answers": id_of(asked.raw["billing"])}})
    found = trouble(world, world.bundle())
    assert found.startswith(
        f"verification/1 {about(world, 'verification')}: answers billing.request/1"
    )


def test_a_refusal_of_what_is_not_there() -> None:
    world = World()
    refusal = Refusal(code="expired", detail="", subject=world.terms.offer_hash)
    world.say("refusal", refusal, "approval", "merchant")
    world.sign()
    found = trouble(world, world.bundle())
    assert found.endswith("the message that it refuses is not in the bundle")


def test_a_message_inside_a_message_that_is_not_there() -> None:
    world = World()
    found = trouble(world, world.bundle(nodes=("agency",), names=world.raw.keys() - {"recorded"}))
    assert found.startswith(f"purchase.result/1 {about(world, 'result')}: the message in recorded")


def test_something_else_than_a_recorded_notice() -> None:
    world = World()
    result = opened(world, "result", "agency")
    wrong = msgspec.structs.replace(result, recorded=world.text("verification"))
    world.say("result2", wrong, "agency", "device")
    world.sign()
    assert trouble(world, world.bundle()).endswith("recorded holds a verification/1")


@pytest.mark.parametrize("name", ["found", "notice"])
def test_the_guarantee_of_the_wrong_party(name: str) -> None:
    world = World(change=changing(name, guarantee=World().text("agency_guarantee")))
    assert "guarantee holds a agency.guarantee/1" in trouble(world, world.bundle())


def test_the_merchants_guarantee_in_place_of_the_agencys() -> None:
    world = World()
    wrong = AgencyFound(
        agency=AGENCY,
        anonymous_id_digest=world.terms.anonymous_id_digest,
        guarantee=world.text("merchant_guarantee"),
        offer_hash=world.terms.offer_hash,
    )
    world.say("agency_found", wrong, "approval", "merchant")
    world.sign()
    assert "guarantee holds a merchant.guarantee/1" in trouble(world, world.bundle())


def test_something_else_than_a_guarantee() -> None:
    world = World()
    wrong = msgspec.structs.replace(
        opened(world, "notice", "agency"), guarantee=world.text("offer")
    )
    world.say("notice2", wrong, "agency", "device")
    world.sign()
    assert trouble(world, world.bundle()).endswith("guarantee holds a offer/1")
