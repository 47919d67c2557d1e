import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evidence.chain import Direction, Link, extend, genesis

links = st.builds(
    Link,
    at=st.integers(0, 2**53),
    direction=st.sampled_from(Direction),
    digest=st.binary(min_size=32, max_size=32),
)


def test_the_beginning_depends_on_the_name_alone() -> None:
    assert genesis("main") == hashlib.sha256(b"surety evidence chain 1\nmain").digest()
    assert genesis("main") != genesis("other")


def test_a_link_is_hashed_as_the_format_says() -> None:
    link = Link(at=1, direction=Direction.RECEIVED, digest=b"d" * 32)
    text = b"b" * 32 + (7).to_bytes(8, "big") + (1).to_bytes(8, "big") + b"\x02" + b"d" * 32
    assert extend(b"b" * 32, 7, link) == hashlib.sha256(text).digest()


@given(links, links, st.integers(1, 2**53), st.integers(1, 2**53))
def test_two_links_lead_to_one_hash_only_if_they_are_the_same(
    left: Link, right: Link, here: int, there: int
) -> None:
    before = genesis("main")
    same = (left, here) == (right, there)
    assert (extend(before, here, left) == extend(before, there, right)) is same


@given(st.lists(links, min_size=1, max_size=20), st.data())
def test_nothing_can_be_left_out_or_exchanged(chain: list[Link], data: st.DataObject) -> None:
    def head(of: list[Link]) -> bytes:
        now = genesis("main")
        for position, link in enumerate(of, 1):
            now = extend(now, position, link)
        return now

    at = data.draw(st.integers(0, len(chain) - 1))
    assert head(chain[:at] + chain[at + 1 :]) != head(chain)
    moved = [*chain[:at], *chain[at + 1 :], chain[at]]
    assert (head(moved) == head(chain)) is (moved == chain)


@pytest.mark.parametrize("direction", list(Direction))
def test_what_the_node_did_is_in_the_hash(direction: Direction) -> None:
    others = {
        extend(b"b" * 32, 1, Link(at=1, direction=one, digest=b"d" * 32))
        for one in Direction
        if one is not direction
    }
    assert extend(b"b" * 32, 1, Link(at=1, direction=direction, digest=b"d" * 32)) not in others
