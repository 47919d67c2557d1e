import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.protocol import names
from core.protocol.identifiers import (
    device,
    is_serial_number,
    kind_of,
    message_id,
    offer_id,
    order_key,
    order_number,
    party_id,
    routing_code,
    serial_number,
)
from tests.world.keys import key

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LETTERS = _CROCKFORD + "ILOUilou abc-_é\n"
NOW_MS = 1_800_000_000_123


def _is(kind: Any, text: object) -> bool:
    try:
        return bool(msgspec.convert(text, kind) == text)
    except msgspec.ValidationError:
        return False


@given(st.binary(min_size=16, max_size=16))
def test_serial_numbers_are_well_formed(entropy: bytes) -> None:
    serial = serial_number(entropy)

    assert is_serial_number(serial)
    assert _is(names.Serial, serial)


def test_serial_numbers_hold_all_their_bits() -> None:
    flipped = {serial_number((1 << bit).to_bytes(16, "big")) for bit in range(128)}

    assert len(flipped) == 128
    assert serial_number(bytes(16)) == "SURETY-00000-00000-00000-00000-00000-00000"
    assert is_serial_number(serial_number(bytes([255]) * 16))


@pytest.mark.parametrize("entropy", [bytes(range(16)), bytes([255]) * 16, bytes(16)])
def test_every_single_mistyped_letter_is_noticed(entropy: bytes) -> None:
    serial = serial_number(entropy)
    tried = 0
    for at in range(len("SURETY-"), len(serial)):
        for letter in _LETTERS:
            if letter != serial[at]:
                assert not is_serial_number(serial[:at] + letter + serial[at + 1 :])
                tried += 1

    assert tried > 35 * 40


def test_every_swap_of_neighbours_is_noticed() -> None:
    serial = serial_number(bytes(range(100, 116)))
    for at in range(len("SURETY-"), len(serial) - 1):
        swapped = serial[:at] + serial[at + 1] + serial[at] + serial[at + 2 :]
        assert swapped == serial or not is_serial_number(swapped)


@pytest.mark.parametrize(
    "text",
    ["", "-", "SURETY", "SURETY-", "I", "SURETY-I", "SURETY-IIIII", "0", "Z" * 200, "SURETY--",
     serial_number(bytes(range(16))).lower(), serial_number(bytes(16)) + "\n", " ",
     serial_number(bytes(16))[7:], serial_number(bytes(16)) + "-00000", "é", "\ud800"],
)  # fmt: skip
def test_what_is_no_serial_number_is_no_error_either(text: str) -> None:
    assert not is_serial_number(text)


@given(st.text(max_size=50))
def test_any_text_may_be_asked_about(text: str) -> None:
    assert is_serial_number(text) in {True, False}


def test_message_ids_sort_by_time() -> None:
    early = message_id(NOW_MS, bytes([255]) * 10)
    late = message_id(NOW_MS + 1, bytes(10))

    assert early < late
    assert all(_is(names.MessageId, each) for each in (early, late, message_id(0, bytes(10))))
    assert int(early[:12], 16) == NOW_MS


def test_party_ids() -> None:
    for kind in ("agency", "merchant", "approval"):
        party = party_id(kind, bytes(range(10)))
        assert _is(names.PartyId, party)
        assert kind_of(party) == kind
    for kind in ("member", "", "Agency"):
        with pytest.raises(ValueError, match=f"^{kind}$"):
            party_id(kind, bytes(10))


def test_other_identifiers() -> None:
    kid = key("device").kid

    assert _is(names.RoutingCode, routing_code(bytes(5)))
    assert _is(names.OfferId, offer_id(bytes([255]) * 16))
    assert _is(names.Principal, device(kid))
    assert _is(names.Principal, order_key(kid))
    assert (kind_of(device(kid)), kind_of(order_key(kid))) == ("device", "order-key")
    assert (kind_of("anyone"), kind_of("unregistered"), kind_of("")) == (
        "anyone",
        "unregistered",
        "",
    )


@given(st.integers(0, 2**48 - 1), st.binary(min_size=5, max_size=5))
def test_order_numbers(milliseconds: int, entropy: bytes) -> None:
    number = order_number("M", milliseconds, entropy)

    assert _is(names.OrderNumber, number)
    assert re.fullmatch(r"M(-[0-9A-HJKMNP-TV-Z]{6}){3}", number)
    plain = "".join(f"{_CROCKFORD.index(letter):05b}" for letter in number[2:].replace("-", ""))
    assert int(plain, 2) == (milliseconds << 40) | int.from_bytes(entropy, "big")
