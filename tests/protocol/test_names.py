from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.protocol import names
from tests.world.keys import AGENCY, key
from tests.world.messages import ANONYMOUS_ID, sealed
from tests.world.messages import samples as messages

_GOOD: dict[str, tuple[str, ...]] = {
    "PartyId": (AGENCY, "approval-" + "2" * 16),
    "Digest": ("A" * 43, "_" * 42 + "8"),
    "Thumbprint": (key("device").kid,),
    "KeyText": (key("device").public.x,),
    "MessageId": ("0" * 32, "f" * 32),
    "OrderNumber": ("A1234567", "A" * 40, "0-------"),
    "OfferId": ("A" * 22,),
    "AnonymousId": (ANONYMOUS_ID, "ABCDEFG2." + "_" * 4000),
    "RoutingCode": ("ABCDEFG2",),
    "Currency": ("GBP",),
    "UnitPrice": ("0", "-0", "-1.5", "999999999999.999999", "0.000001", "10"),
    "Endpoint": ("", "https://a.example", "http://127.0.0.2:80", "https://[::1]:8443"),
    "Network": ("127.0.0.0/8", "2001:db8::/32"),
    "CompactJws": ("a.b.c", sealed(messages()["offer/1"]).decode()),
    "Principal": ("anyone", "device:" + "A" * 43),
    "Label": ("x", "Café 株式会社", "שלום", "مرحبا", "👍", "a" * 120, "O'Neill & Söhne"),
    "Text": ("", "a" * 500, "non-breaking\u00a0space"),
    "Sku": ("T-1", "a" * 64),
}
_BAD: dict[str, tuple[str, ...]] = {
    "PartyId": ("", "member-" + "a" * 16, "agency-" + "a" * 15, "agency-" + "a" * 17,
                "Agency-" + "a" * 16, "agency-" + "1" * 16, "x agency-" + "a" * 16),
    "Digest": ("A" * 42, "A" * 44, "A" * 42 + "B", "+" * 42 + "A", "A" * 42 + "="),
    "Thumbprint": ("A" * 42 + "_",),
    "KeyText": ("A" * 42 + "C",),
    "MessageId": ("0" * 31, "0" * 33, "F" * 32, "g" * 32),
    "OrderNumber": ("A" * 7, "A" * 41, "-AAAAAAAA", "a1234567", "A1234 67", "Ａ1234567"),
    "OfferId": ("A" * 21, "A" * 23, "A" * 21 + "="),
    "AnonymousId": ("", "ABCDEFG2", "ABCDEFG2." + "A" * 42, "ABCDEFG2." + "A" * 4001,
                    "abcdefg2." + "A" * 43, "ABCDEFG1." + "A" * 43),
    "RoutingCode": ("ABCDEFG", "ABCDEFGH2", "abcdefg2", "ABCDEFG0"),
    "Currency": ("gbp", "GB", "GBPP", "ＧＢＰ", "G1P"),
    "UnitPrice": ("", "-", "1.", ".5", "01", "+1", "1e3", "1,5", "NaN", "Infinity", "1.1234567",
                  "1000000000000", " 1", "1_0", "٣"),
    "Endpoint": ("ftp://a", "https://", "https://a/b", "https://a b", "https://u@a", "//a", "a",
                 "https://" + "a" * 200, "HTTPS://a", "https://ä.example"),
    "Network": ("", "127.0.0.1", "127.0.0.0/", "::G/8", "127.0.0.0/8888", "1" * 46 + "/128"),
    "CompactJws": ("", "a.b", "a.b.c.d", "a..c", "a.b.c=", "a.b." + "c" * 400_000),
    "Principal": ("", "a b", "a.b", "a/b", "a" * 81, "ä"),
    "Label": ("", "a" * 121),
    "Text": ("a" * 501,),
    "Sku": ("", "a" * 65),
}  # fmt: skip

# What nobody sees or what turns the text around: each of these lets one name pass as another.
_UNSEEN = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0",
    *"\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e",
    *"\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u206f\ufeff\ufff9\ufffa\ufffb",
]


def _is(name: str, text: object) -> bool:
    kind: Any = getattr(names, name)
    try:
        return bool(msgspec.convert(text, kind) == text)
    except msgspec.ValidationError:
        return False


@pytest.mark.parametrize("name", _GOOD)
def test_what_the_names_take(name: str) -> None:
    assert [text for text in _GOOD[name] if not _is(name, text)] == []


@pytest.mark.parametrize("name", _BAD)
def test_what_the_names_refuse(name: str) -> None:
    assert [text for text in _BAD[name] if _is(name, text)] == []


@pytest.mark.parametrize("name", _GOOD)
def test_no_name_takes_a_line_break_anywhere(name: str) -> None:
    # Python's `$` matches before a last line break: "merchant-…\n" would be another party's key.
    for text in _GOOD[name]:
        for changed in (text + "\n", "\n" + text, text + "\r\n", text + "\x00", text + "\u2028"):
            assert not _is(name, changed), repr(changed)


@pytest.mark.parametrize("name", ["Label", "Text", "Sku"])
def test_texts_refuse_what_nobody_sees(name: str) -> None:
    assert [hex(ord(c)) for c in _UNSEEN if _is(name, f"Acme{c}Ltd") or _is(name, f"Acme{c}")] == []


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("Seconds", 0, 2**53 - 1), ("Count", 0, 2**53 - 1), ("Minor", 1 - 2**53, 2**53 - 1)],
)
def test_numbers(name: str, low: int, high: int) -> None:
    assert _is(name, low)
    assert _is(name, high)
    for wrong in (low - 1, high + 1, 2**64, 1.0, True, "1", None):
        assert not _is(name, wrong), wrong


def test_kinds() -> None:
    assert [kind for kind in ("agency", "merchant", "approval", "member") if _is("Kind", kind)] == [
        "agency",
        "merchant",
    ]


@given(st.text(max_size=700) | st.text(st.sampled_from([*_UNSEEN, "a", "\ud800"])))
def test_any_words_can_be_made_a_text(words: str) -> None:
    assert _is("Text", names.as_text(words))


def test_words_that_are_a_text_stay_as_they_are() -> None:
    assert [names.as_text(text) for text in _GOOD["Text"]] == list(_GOOD["Text"])
    assert names.as_text("a\nb\u202ec") == "a b c"
    assert len(names.as_text("x" * 900)) == 500
