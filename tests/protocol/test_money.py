from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.protocol.faults import PeerFault
from core.protocol.money import EXPONENTS, Money, exponent, in_words, line_minor
from core.protocol.names import MAX_INTEGER
from core.protocol.terms import check_offer, total_of
from tests.world.messages import offer


@pytest.mark.parametrize(
    ("code", "places"),
    [("GBP", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("ISK", 0), ("UGX", 0), ("XAF", 0),
     ("BHD", 3), ("KWD", 3), ("TND", 3), ("CLF", 4), ("UYW", 4), ("HUF", 2), ("MRU", 2)],
)  # fmt: skip
def test_exponents_of_iso_4217(code: str, places: int) -> None:
    assert exponent(code) == EXPONENTS[code] == places


@pytest.mark.parametrize(
    "code", ["XXX", "XAU", "XTS", "BTC", "gbp", "", "GB", "GBPP", "HRK", "ZWL"]
)
def test_what_is_no_currency(code: str) -> None:
    with pytest.raises(PeerFault) as caught:
        exponent(code)
    assert caught.value.fault.code == "unsupported_currency"


@pytest.mark.parametrize(
    ("quantity", "price", "code", "minor"),
    [
        (1, "0.125", "GBP", 12),
        (1, "0.135", "GBP", 14),
        (1, "0.115", "GBP", 12),
        (1, "0.005", "GBP", 0),
        (1, "0.015", "GBP", 2),
        (1, "0.025", "GBP", 2),
        (1, "0.004999", "GBP", 0),
        (1, "0.005001", "GBP", 1),
        (-1, "0.125", "GBP", -12),
        (1, "-0.125", "GBP", -12),
        (-1, "-0.135", "GBP", 14),
        (-1, "0.005", "GBP", 0),
        (1, "-0", "GBP", 0),
        (0, "999999999999.999999", "GBP", 0),
        (3, "0.78", "GBP", 234),
        (1, "0.5", "JPY", 0),
        (3, "0.5", "JPY", 2),
        (5, "0.5", "JPY", 2),
        (1, "2.5", "JPY", 2),
        (1, "3.5", "JPY", 4),
        (1, "1.0005", "BHD", 1000),
        (1, "1.0015", "BHD", 1002),
        (1, "0.00005", "CLF", 0),
        (1, "0.00015", "CLF", 2),
        (1000, "0.001", "GBP", 100),
        (10**9, "999999999999.999999", "GBP", 99_999_999_999_999_999_900_000),
        (-(10**9), "999999999999.999999", "CLF", -9_999_999_999_999_999_990_000_000),
        (999_999_999, "123456789012.345675", "GBP", 12345678888888888598765),
    ],
)
def test_lines_are_rounded_half_even(quantity: int, price: str, code: str, minor: int) -> None:
    exact = Fraction(price) * quantity * 10 ** exponent(code)

    assert line_minor(quantity, price, code) == minor == round(exact)


@given(
    st.integers(-(10**9), 10**9),
    st.integers(-(10**18) + 1, 10**18 - 1),
    st.sampled_from(["JPY", "GBP", "BHD", "CLF"]),
)
def test_a_line_is_exact_wherever_it_is_allowed(quantity: int, millionths: int, code: str) -> None:
    price = f"{Decimal(millionths).scaleb(-6):f}"

    # `round` of a Fraction is half-even and has no precision to run out of.
    assert line_minor(quantity, price, code) == round(
        Fraction(millionths, 10**6) * quantity * 10 ** exponent(code)
    )


@pytest.mark.parametrize(
    ("minor", "code", "words"),
    [(1234, "GBP", "12.34 GBP"), (5, "GBP", "0.05 GBP"), (1234, "JPY", "1234 JPY"),
     (1, "BHD", "0.001 BHD"), (1, "CLF", "0.0001 CLF"),
     (MAX_INTEGER, "GBP", "90071992547409.91 GBP"), (100, "GBP", "1.00 GBP")],
)  # fmt: skip
def test_in_words(minor: int, code: str, words: str) -> None:
    assert in_words(Money(currency=code, minor=minor)) == words


@pytest.mark.parametrize(
    "body",
    [
        b'{"currency":"GBP","minor":0}',
        b'{"currency":"GBP","minor":-1}',
        b'{"currency":"GBP","minor":9007199254740992}',
        b'{"currency":"GBP","minor":1.0}',
        b'{"currency":"GBP","minor":"1"}',
        b'{"currency":"gbp","minor":1}',
        b'{"currency":"GBP\\n","minor":1}',
        b'{"currency":"GBP"}',
        b'{"currency":"GBP","minor":1,"scale":2}',
    ],
)
def test_what_is_no_money_on_the_wire(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Money)


def test_an_offer_adds_up_or_is_refused() -> None:
    good = offer()
    check_offer(good)
    wrong_line = msgspec.structs.replace(good.lines[0], minor=999)
    for changed, detail in (
        (offer(amount=Money(currency="GBP", minor=1235)), "total"),
        (offer(lines=(wrong_line, good.lines[1])), "line 1"),
        (offer(lines=good.lines[:1]), "total"),
    ):
        with pytest.raises(PeerFault) as caught:
            check_offer(changed)
        assert (caught.value.fault.code, caught.value.detail) == ("amount_mismatch", detail)
    with pytest.raises(PeerFault) as caught:
        check_offer(offer(amount=Money(currency="XXX", minor=1234)))
    assert caught.value.fault.code == "unsupported_currency"
    assert total_of(good.lines, "GBP") == 1234
