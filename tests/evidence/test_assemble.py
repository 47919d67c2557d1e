"""What a pool of messages makes of those that nobody should believe."""

import msgspec
import pytest

from core.evidence import form
from core.evidence.assemble import Pool, build
from core.evidence.bundle import verify
from core.evidence.unproved import Unproved
from core.protocol.canonical import b64url, canonical
from core.protocol.envelope import seal
from core.protocol.keys import SigningKey
from core.protocol.standing import ANYONE
from tests.world.evidence import (
    APPROVAL,
    MERCHANT,
    ORDER,
    World,
    a_merchant_guarantee,
    an_agency_guarantee,
    claim,
    signing_key,
)


def pool_of(world: World) -> Pool:
    pool = Pool(world.trusted, [world.keys["device"].public.x])
    # The last first: keys stand in messages that come later than those that they signed.
    pool.add(reversed(world.raw.values()))
    return pool


def test_everything_in_any_order() -> None:
    world = World()
    pool = pool_of(world)
    choice = pool.choose(pool.terms(ORDER, MERCHANT))
    assert choice.terms == world.terms
    assert choice.left_out == ()
    chains = world.bundle().chains
    assert build(choice, chains[::-1]) == form.write(world.bundle())
    assert len(choice.digests) == len(world.raw)


def test_in_several_portions() -> None:
    world = World()
    pool = Pool(world.trusted, [world.keys["device"].public.x])
    for raw in reversed(world.raw.values()):
        pool.add([raw])
    assert pool.choose(pool.terms(ORDER, MERCHANT)).left_out == ()


def forged(world: World, name: str, key: SigningKey) -> bytes:
    raw = world.raw[name]
    message = a_merchant_guarantee(signing_key("forger"))
    return seal(
        message,
        key,
        issuer=APPROVAL,
        audience=ANYONE,
        message_id="f" * 32,
        issued_at=claim(raw, "iat"),
        expires_at=claim(raw, "exp"),
    )


def test_a_forged_guarantee_is_not_taken() -> None:
    world = World()
    pool = pool_of(world)
    raw = forged(world, "merchant_guarantee", world.keys["merchant"])
    pool.add([raw])
    choice = pool.choose(world.terms)
    assert raw not in {found.raw for found in choice.messages}
    assert verify(build(choice, world.bundle().chains), world.trusted).proves("recorded")


def test_a_forged_notice_is_not_taken() -> None:
    world = World()
    other = World(signers={"notice": world.keys["merchant"]})
    pool = pool_of(other)
    choice = pool.choose(other.terms)
    assert other.raw["notice"] not in {found.raw for found in choice.messages}
    assert len(choice.left_out) == 3  # the notice, and what only a notice binds to the order
    assert all("no completion notice" in one or "no guarantee" in one for one in choice.left_out)


def test_terms_by_a_forger_of_approval() -> None:
    first = World()
    terms = msgspec.structs.replace(first.terms, order_key="A" * 43)
    world = World(
        signers={"verification": signing_key("merchant")},
        change=lambda name, message: (
            msgspec.structs.replace(message, terms=terms) if name == "verification" else message
        ),
    )
    assert pool_of(world).terms(ORDER, MERCHANT) == first.terms


def test_a_self_signed_message_without_its_key() -> None:
    world = World()
    head, _, signature = world.raw["presented"].split(b".")
    payloads: tuple[object, ...] = ({"body": {}}, {"body": 1}, [])
    for payload in payloads:
        pool = Pool(world.trusted)
        pool.add([b".".join((head, b64url(canonical(payload)).encode(), signature))])
        choice = pool.choose(world.terms)
        assert choice.left_out == ("message: a self-signed message without its key",)


def test_a_self_signed_message_with_a_weak_key() -> None:
    world = World()
    head, _, signature = world.raw["presented"].split(b".")
    pool = Pool(world.trusted)
    payload = canonical({"body": {"key": b64url(bytes(32))}})
    pool.add([b".".join((head, b64url(payload).encode(), signature))])
    (left_out,) = pool.choose(world.terms).left_out
    assert left_out == "message: The public key is one of the keys that prove nothing"


def test_a_checkpoint_of_an_unknown_key() -> None:
    world = World()
    pool = Pool(world.trusted)
    pool.add([world.raw["verification"]])
    choice = pool.choose(world.terms)
    kid = world.keys["merchant"].kid
    with pytest.raises(Unproved, match=f"key {kid}: signed a checkpoint"):
        build(choice, world.bundle(nodes=("merchant",)).chains)


def test_only_the_newest_guarantee_where_none_is_carried() -> None:
    world = World()
    world.now += 60_000
    world.say("newer", a_merchant_guarantee(world.keys["merchant"]), "approval", ANYONE)
    world.say("agency_newer", an_agency_guarantee(world.keys["agency"]), "approval", ANYONE)
    pool = pool_of(world)
    kept = {found.raw for found in pool.choose(world.terms).messages}
    # The notice carries the merchant's older one; nothing carries one of the agency.
    assert world.raw["merchant_guarantee"] in kept
    assert world.raw["newer"] not in kept
    assert world.raw["agency_newer"] in kept
    assert world.raw["agency_guarantee"] not in kept
