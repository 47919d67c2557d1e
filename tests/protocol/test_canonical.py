import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.protocol.canonical import b64url, canonical, digest, digest_of, unb64url
from core.protocol.faults import PeerFault
from core.protocol.message import Message
from tests.world.messages import samples

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}

Json = str | int | bool | list["Json"] | dict[str, "Json"] | None


def _jcs_text(text: str) -> str:
    # RFC 8785, section 3.2.2.2, written down anew: nothing of the code under test is used.
    parts = [_SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in text]
    return '"' + "".join(parts) + '"'


def _jcs(value: Json) -> str:
    if isinstance(value, str):
        return _jcs_text(value)
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_jcs_text(name)}:{_jcs(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_jcs(each) for each in value) + "]"
    return json.dumps(value)


# Our member names are ASCII; beyond the basic plane RFC 8785 sorts by UTF-16 and msgspec by UTF-8.
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_NAMES = st.text(st.characters(max_codepoint=127), max_size=8)
_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_canonical_is_rfc_8785(value: Json) -> None:
    written = canonical(value)

    assert written == _jcs(value).encode()
    assert json.loads(written) == value


def test_the_example_strings_of_rfc_8785() -> None:
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"

    assert canonical(text) == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    assert canonical({"b": 1, "a": [True, None], "": {}}) == b'{"":{},"a":[true,null],"b":1}'


@pytest.mark.parametrize("message", samples().values(), ids=lambda message: message.name)
def test_messages_are_written_in_rfc_8785_form(message: Message) -> None:
    written = canonical(message)

    assert written == _jcs(json.loads(written)).encode()
    assert digest_of(message) == digest(written)


def test_a_lone_surrogate_cannot_be_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical("\ud800")


@given(st.binary(max_size=70))
def test_base64url_comes_back(raw: bytes) -> None:
    text = b64url(raw)

    assert unb64url(text) == unb64url(text.encode()) == raw
    assert text == urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    ["=", "QQ==", "QQ=", "QUI=", "A", "AAAAA", "QQ\n", "\nQQ", "Q Q", "QUI\r\nQUI", "+/+/", "--+-",
     "QR", "QUJ", "__9", "Qé", "QQ\x00", "QQ.", "QQ!!", "٤٤٤٤", "ＡＡＡＡ", "QQ\ud800"],
)  # fmt: skip
def test_base64url_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(PeerFault) as caught:
        unb64url(text)

    assert caught.value.fault.code == "malformed"


def test_of_all_last_letters_only_those_without_spare_bits_are_taken() -> None:
    def taken(text: str) -> bool:
        try:
            return b64url(unb64url(text)) == text
        except PeerFault:
            return False

    assert [c for c in _ALPHABET if taken("A" * 42 + c)] == list("AEIMQUYcgkosw048")
    assert [c for c in _ALPHABET if taken("A" + c)] == list("AQgw")
    assert all(taken("AAA" + c) for c in _ALPHABET)


def test_bytes_that_are_not_ascii_are_refused() -> None:
    for number in range(128, 256):
        with pytest.raises(PeerFault):
            unb64url(b"QUI" + bytes([number]))
