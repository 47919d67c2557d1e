"""No byte of a bundle can change unseen."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evidence import form
from core.evidence.bundle import verify
from core.evidence.unproved import Unproved
from tests.world.evidence import World

WORLD = World(noise=1)
FULL = form.write(WORLD.bundle())
SMALL = form.write(WORLD.bundle(nodes=("merchant",), names={"merchant_guarantee", "verification"}))
NAMES = re.compile(
    r"^(bundle"
    r"|key [A-Za-z0-9_-]{43}"
    r"|messages\[\d+\]( \([a-z_.]+/\d\))?"
    r"|[a-z_.]+/\d [0-9a-f]{32}"
    r"|chain [a-z]+-[a-z2-7]{16} [^,]+"
    r"(, (link \d+|links \d+ to \d+|checkpoint of segment \d+( \(checkpoint/1\))?))?"
    r")$"
)


def assert_found(data: bytes) -> None:
    with pytest.raises(Unproved) as caught:
        verify(data, WORLD.trusted)
    assert NAMES.match(caught.value.where), str(caught.value)
    assert caught.value.what


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def test_both_are_right_before() -> None:
    assert verify(FULL, WORLD.trusted).not_shown == ()
    assert verify(SMALL, WORLD.trusted).proves("recorded")


@pytest.mark.parametrize("bit", range(8))
def test_every_byte_of_a_small_bundle(bit: int) -> None:
    # Every byte in each run, every bit over the eight of them.
    for at in range(len(SMALL)):
        assert_found(flipped(SMALL, at, 1 << (at + bit) % 8))


def test_bytes_all_over_a_whole_sale() -> None:
    for at in range(0, len(FULL), 29):
        assert_found(flipped(FULL, at, 1 << at % 8))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(FULL) - 1), st.integers(1, 255))
def test_any_byte_to_any_other(at: int, mask: int) -> None:
    assert_found(flipped(FULL, at, mask))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SMALL)), st.integers(0, 40), st.binary(max_size=40))
def test_any_stretch_cut_out_or_put_in(at: int, length: int, instead: bytes) -> None:
    data = SMALL[:at] + instead + SMALL[at + length :]
    if data != SMALL:
        assert_found(data)
