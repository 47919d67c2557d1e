"""Chains that do not hold, named by node and position."""

from typing import Any

import msgspec
import pytest

from core.evidence import form
from core.evidence.chain import Direction
from core.evidence.segments import Heads
from core.evidence.unproved import Unproved
from core.protocol.canonical import b64url
from tests.evidence.test_wrong import OTHER, about, trouble, with_
from tests.world.evidence import AGENCY, MERCHANT, STRANGER, World

M = f"chain {MERCHANT} main"


def merchants(world: World) -> form.Bundle:
    return world.bundle(nodes=("merchant",))


def rechained(bundle: form.Bundle, **fields: object) -> form.Bundle:
    return with_(bundle, chains=(msgspec.structs.replace(bundle.chains[0], **fields),))


def resegmented(bundle: form.Bundle, number: int, **fields: object) -> form.Bundle:
    segments = list(bundle.chains[0].segments)
    segments[number] = msgspec.structs.replace(segments[number], **fields)
    return rechained(bundle, segments=tuple(segments))


def span(segment: form.Segment) -> str:
    first = segment.start.position
    return f"{M}, links {first} to {first + len(segment.links) - 1}"


@pytest.mark.parametrize("field", [{"at": 1}, {"digest": OTHER}, {"direction": Direction.REFUSED}])
def test_a_link_that_was_changed(field: dict[str, Any]) -> None:
    world = World()
    bundle = merchants(world)
    segment = bundle.chains[0].segments[1]
    links = list(segment.links)
    links[-2] = msgspec.structs.replace(links[-2], **field)
    found = trouble(world, resegmented(bundle, 1, links=tuple(links)))
    assert found.startswith(f"{span(segment)}: they do not lead to the checkpoint ")


def test_a_link_left_out() -> None:
    world = World()
    bundle = merchants(world)
    segment = bundle.chains[0].segments[0]
    found = trouble(world, resegmented(bundle, 0, links=segment.links[:-1]))
    assert "the checkpoint " in found
    assert f"is of position {segment.start.position + len(segment.links) - 1}" in found


def test_another_start() -> None:
    world = World()
    bundle = merchants(world)
    segment = bundle.chains[0].segments[0]
    start = form.Start(hash=OTHER, position=segment.start.position)
    found = trouble(world, resegmented(bundle, 0, start=start))
    assert found.startswith(f"{span(segment)}: they do not lead to the checkpoint ")


def test_a_beginning_that_is_none() -> None:
    world = World(noise=0)
    bundle = merchants(world)
    start = form.Start(hash=OTHER, position=1)
    assert bundle.chains[0].segments[0].start.position == 1
    found = trouble(world, resegmented(bundle, 0, start=start))
    assert found.startswith(
        f"{M}: position 0 has two hashes: the beginning of every such chain and"
    )


def test_a_checkpoint_of_another_node() -> None:
    world = World()
    bundle = merchants(world)
    other = world.nodes["agency"].signed[0][1].decode()
    signer = form.jwk_of(world.keys["agency"].public)
    keys = tuple(sorted({*bundle.keys, signer}, key=lambda jwk: jwk.kid))
    found = trouble(world, with_(resegmented(bundle, 0, checkpoint=other), keys=keys))
    assert found == f"{M}, checkpoint of segment 0: it is about chain {AGENCY} main"


def test_a_checkpoint_that_is_none() -> None:
    world = World()
    found = trouble(world, resegmented(merchants(world), 0, checkpoint=world.text("offer")))
    assert found == f"{M}, checkpoint of segment 0: it is a offer/1"


def test_a_checkpoint_signed_with_another_key() -> None:
    world = World()
    node = world.nodes["merchant"]
    node.key, node.signed = world.keys["agency"], []
    node.sign(world.now)
    found = trouble(world, merchants(world))
    assert found.startswith("checkpoint/1 ")
    assert "no guarantee in the bundle gives key" in found


def test_the_chain_of_a_stranger() -> None:
    world = World()
    found = trouble(world, rechained(merchants(world), node=STRANGER))
    assert found == f"chain {STRANGER} main: {STRANGER} has no part in this order"


def test_a_chain_twice() -> None:
    world = World()
    bundle = merchants(world)
    found = trouble(world, with_(bundle, chains=bundle.chains * 2))
    assert found == f"{M}: is there twice or not in order of node and chain"


def test_segments_that_overlap() -> None:
    world = World()
    bundle = merchants(world)
    first, *rest = bundle.chains[0].segments
    found = trouble(world, rechained(bundle, segments=(first, first, *rest)))
    assert found.startswith(f"{span(first)}: overlap with or come before links")


def test_two_checkpoints_that_contradict_each_other() -> None:
    world = World()
    bundle = merchants(world)
    position, _ = world.nodes["merchant"].signed[0]
    fork = World(noise=1).nodes["merchant"]
    forked = world.nodes["merchant"]
    first = bundle.chains[0].segments[0]
    rows = forked.rows
    forked.rows = fork.rows[:position]
    while len(forked.rows) < position:
        forked.noise(1, world.now)
    forked.sign(world.now)
    other = forked.segment(first.start.position, position, forked.signed[-1][1])
    forked.rows = rows
    found = trouble(world, rechained(bundle, segments=(first, other)))
    assert found.startswith(f"{M}: position {position} has two hashes: checkpoint ")
    assert found.endswith("contradict each other")


def test_heads_that_agree() -> None:
    heads = Heads()
    heads.state(MERCHANT, "main", 5, OTHER, "one")
    heads.state(MERCHANT, "main", 5, OTHER, "another")
    heads.state(MERCHANT, "other", 5, b64url(bytes(range(32))), "another chain")
    with pytest.raises(Unproved, match="position 5 has two hashes: one and a third contradict"):
        heads.state(MERCHANT, "main", 5, b64url(bytes(range(32))), "a third")


def test_a_message_in_no_chain() -> None:
    world = World()
    chains = merchants(world).chains
    bundle = world.bundle()
    found = trouble(world, with_(bundle, chains=chains))
    assert (
        found
        == f"anonymous_id.request/1 {about(world, 'id_request')}: no chain in the bundle holds it"
    )


def test_a_segment_that_begins_too_early() -> None:
    world = World()
    bundle = merchants(world)
    first = bundle.chains[0].segments[0]
    node = world.nodes["merchant"]
    position, checkpoint = node.signed[0]
    early = node.segment(first.start.position - 1, position, checkpoint)
    rest = bundle.chains[0].segments[1:]
    found = trouble(world, rechained(bundle, segments=(early, *rest)))
    assert found == f"{span(early)}: they do not begin with a message of this order"


@pytest.mark.parametrize(
    ("name", "direction", "expected"),
    [
        ("billing", Direction.RECEIVED, f"says that {MERCHANT} received billing.request/1"),
        ("verification", Direction.SENT, f"says that {MERCHANT} sent verification/1"),
    ],
)
def test_what_the_node_did_does_not_fit(name: str, direction: Direction, expected: str) -> None:
    world = World()
    node = world.nodes["merchant"]
    node.keep(world.raw[name], direction, world.now)
    world.sign()
    found = trouble(world, merchants(world))
    assert expected in found
    place = next(row.position for row in reversed(node.rows) if row.raw == world.raw[name])
    assert found.startswith(f"{M}, link {place}: ")


@pytest.mark.parametrize(
    ("name", "late"), [("billing", 10**6), ("billing", -(10**6)), ("verification", -(10**6))]
)
def test_the_time_of_a_link_does_not_fit(name: str, late: int) -> None:
    world = World()
    node = world.nodes["merchant"]
    direction = Direction.SENT if name == "billing" else Direction.RECEIVED
    node.keep(world.raw[name], direction, world.now + late)
    world.sign()
    found = trouble(world, merchants(world))
    assert "its time does not fit the time of issue of" in found
    assert about(world, name) in found
