import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from core.protocol import envelope
from core.protocol.canonical import b64url, canonical, unb64url
from core.protocol.envelope import (
    MAX_COMPACT,
    SKEW,
    Verified,
    peek_issuer,
    unwrap,
    verify,
    verify_as_evidence,
    verify_for_anyone,
    verify_self_signed,
)
from core.protocol.faults import PeerFault
from core.protocol.message import REGISTRY, Message, typ
from core.protocol.standing import LeaseRenewal, StandingQuery
from tests.world.keys import AGENCY, APPROVAL, MERCHANT, key
from tests.world.messages import NOW, fresh_id, samples, sealed

SAMPLES = samples()
Parts = tuple[dict[str, Any], dict[str, Any]]
Edit = Callable[[dict[str, Any]], object]


def _opened(raw: bytes, *, audience: str | None = AGENCY, now: int = NOW) -> Verified[Message]:
    return verify(unwrap(raw), key("approval").public, audience=audience, now=now)


def _parts(message: Message | None = None) -> Parts:
    raw = sealed(message or StandingQuery(party=MERCHANT), audience=AGENCY)
    header, payload, _ = raw.split(b".")
    return json.loads(unb64url(header)), json.loads(unb64url(payload))


def _signed(header: bytes, payload: bytes, sender: str = "approval") -> bytes:
    text = b64url(header).encode() + b"." + b64url(payload).encode()
    return text + b"." + b64url(key(sender).sign(text)).encode()


def _code(run: Callable[[], object]) -> str:
    with pytest.raises(PeerFault) as caught:
        run()
    return caught.value.fault.code


def _header(edit: Edit) -> bytes:
    header, payload = _parts()
    edit(header)
    return _signed(canonical(header), canonical(payload))


def _payload(edit: Edit) -> bytes:
    header, payload = _parts()
    edit(payload)
    return _signed(canonical(header), canonical(payload))


def test_what_was_sealed_is_what_is_verified() -> None:
    asked = fresh_id()
    message = StandingQuery(party=MERCHANT)
    raw = sealed(message, audience=AGENCY, answers=asked, issued_at=NOW, expires_at=NOW + 300)

    found = _opened(raw)

    assert found.message == message
    assert (found.issuer, found.audience, found.answers) == (APPROVAL, AGENCY, asked)
    assert (found.issued_at, found.expires_at) == (NOW, NOW + 300)
    assert (found.raw, found.kid) == (raw, key("approval").kid)
    assert verify_as_evidence(unwrap(raw), key("approval").public) == found
    assert peek_issuer(unwrap(raw)) == APPROVAL


def test_rebuilding_the_parts_is_itself_no_change() -> None:
    header, payload = _parts()

    assert _opened(_signed(canonical(header), canonical(payload))).message_id == payload["jti"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_message_travels(name: str) -> None:
    message = SAMPLES[name]
    raw = sealed(message, audience=AGENCY, issued_at=NOW, expires_at=NOW + message.lifetime)

    assert _opened(raw).message == message


@pytest.mark.parametrize("name", SAMPLES)
def test_no_message_passes_as_one_of_another_type(name: str) -> None:
    _, payload = _parts(SAMPLES[name])
    for kind in set(REGISTRY.values()) - {type(SAMPLES[name])}:
        header = {"alg": "Ed25519", "kid": key("approval").kid, "typ": typ(kind)}
        raw = _signed(canonical(header), canonical(payload))
        if _same_form(kind, SAMPLES[name]):
            # Same fields: what tells them apart is the type under the signature.
            assert type(_opened(raw).message) is kind
        else:
            assert _code(partial(_opened, raw)) == "malformed", kind.name


def _same_form(kind: type[Message], message: Message) -> bool:
    try:
        msgspec.json.decode(canonical(message), type=kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", SAMPLES)
def test_another_type_in_the_header_breaks_the_signature(name: str) -> None:
    raw = sealed(SAMPLES[name], audience=AGENCY)
    _, payload, signature = raw.split(b".")
    for kind in set(REGISTRY.values()) - {type(SAMPLES[name])}:
        header = {"alg": "Ed25519", "kid": key("approval").kid, "typ": typ(kind)}
        swapped = b".".join((b64url(canonical(header)).encode(), payload, signature))
        assert _code(partial(_opened, swapped)) == "bad_signature"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    kind = type(value).__name__
    if kind not in {"dict", "list"}:
        yield path
        return
    for step, inner in value.items() if kind == "dict" else enumerate(value):
        yield from _leaves(inner, (*path, step))


def _put(tree: Any, path: tuple[Any, ...], value: object) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


_WRONG: tuple[object, ...] = (
    1.5,
    -(2**53),
    2**53,
    2**64,
    10**40,
    "\n",
    "a\u202eb",
    {},
    [],
    [True],
    "x" * 5000,
)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_field_of_every_message_refuses_what_it_is_not(name: str) -> None:
    header, payload = _parts(SAMPLES[name])
    for path in list(_leaves(payload)):
        for wrong in _WRONG:
            changed = json.loads(json.dumps(payload))
            _put(changed, path, wrong)
            raw = _signed(canonical(header), canonical(changed))
            assert _code(partial(_opened, raw)) == "malformed", (path, wrong)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_field_may_be_missing_or_added_or_end_in_a_line_break(name: str) -> None:
    header, payload = _parts(SAMPLES[name])
    for path in list(_leaves(payload)):
        for edit in (_without, _beside, _with_line_break):
            changed = json.loads(json.dumps(payload))
            if edit(changed, path):
                raw = _signed(canonical(header), canonical(changed))
                assert _code(partial(_opened, raw)) == "malformed", (path, edit)


def _inside(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        tree = tree[step]
    return tree


def _without(tree: Any, path: tuple[Any, ...]) -> bool:
    inside = _inside(tree, path)
    if not isinstance(inside, dict):
        return False
    del inside[path[-1]]
    return True


def _beside(tree: Any, path: tuple[Any, ...]) -> bool:
    inside = _inside(tree, path)
    if not isinstance(inside, dict):
        return False
    inside["zzz"] = None
    return True


def _with_line_break(tree: Any, path: tuple[Any, ...]) -> bool:
    inside = _inside(tree, path)
    if not isinstance(inside[path[-1]], str):
        return False
    inside[path[-1]] += "\n"
    return True


# Payloads that mean the same as a good one to a lenient parser.
_GOOD = b'"iss":"' + APPROVAL.encode() + b'"'
_REWRITES: dict[str, Callable[[bytes], bytes]] = {
    "duplicate key": lambda p: p.replace(b'"iat":', b'"iat":1,"iat":'),
    "duplicate key, same value": lambda p: p.replace(_GOOD, _GOOD + b"," + _GOOD),
    "NaN": lambda p: p.replace(f'"iat":{NOW}'.encode(), b'"iat":NaN'),
    "Infinity": lambda p: p.replace(f'"iat":{NOW}'.encode(), b'"iat":Infinity'),
    "float": lambda p: p.replace(f'"iat":{NOW}'.encode(), f'"iat":{NOW}.0'.encode()),
    "exponent": lambda p: p.replace(f'"iat":{NOW}'.encode(), b'"iat":18e8'),
    "leading zero": lambda p: p.replace(b'"iat":', b'"iat":0'),
    "negative zero": lambda p: p.replace(f'"iat":{NOW}'.encode(), b'"iat":-0'),
    "number in quotes": lambda p: p.replace(f'"iat":{NOW}'.encode(), f'"iat":"{NOW}"'.encode()),
    "true for a number": lambda p: p.replace(f'"iat":{NOW}'.encode(), b'"iat":true'),
    "beyond 53 bits": lambda p: p.replace(f'"exp":{NOW + 60}'.encode(), b'"exp":9007199254740992'),
    "space": lambda p: p.replace(b'":', b'": '),
    "line break at the end": lambda p: p + b"\n",
    "space before": lambda p: b" " + p,
    "byte-order mark": lambda p: b"\xef\xbb\xbf" + p,
    "something after": lambda p: p + b"{}",
    "zero byte after": lambda p: p + b"\x00",
    "unsorted": lambda p: b"{" + _GOOD + b"," + p[1:].replace(b"," + _GOOD, b""),
    "unknown member": lambda p: p.replace(b'{"ans"', b'{"aaa":1,"ans"'),
    "unknown member in the body": lambda p: p.replace(b'"body":{', b'"body":{"aaa":1,'),
    "escape that is not needed": lambda p: p.replace(b'"iss"', b'"\\u0069ss"'),
    "escaped slash": lambda p: p.replace(APPROVAL.encode(), b"\\/" + APPROVAL.encode()),
    "lone surrogate": lambda p: p.replace(APPROVAL.encode(), b"\\ud800"),
    "lone low surrogate": lambda p: p.replace(APPROVAL.encode(), b"\\udc00"),
    "encoded surrogate": lambda p: p.replace(APPROVAL.encode(), b"\xed\xa0\x80"),
    "not UTF-8": lambda p: p.replace(APPROVAL.encode(), b"\xff"),
    "overlong UTF-8": lambda p: p.replace(APPROVAL.encode(), b"\xc0\xaf"),
    "UTF-16": lambda p: p.decode().encode("utf-16"),
    "comment": lambda p: b"/**/" + p,
    "trailing comma": lambda p: p[:-1] + b",}",
    "an array": lambda p: b"[" + p + b"]",
    "nothing": lambda _: b"",
    "null": lambda _: b"null",
    "depth bomb": lambda p: p.replace(b'{"ans":null', b'{"ans":' + b"[" * 100_000),
    "depth bomb, unknown": lambda p: p.replace(b'{"ans"', b'{"aaa":' + b"[" * 100_000),
    "depth bomb, closed": lambda p: p.replace(
        b'{"ans":null', b'{"ans":' + b"[" * 50_000 + b"]" * 50_000
    ),
    "depth bomb of objects": lambda p: p.replace(
        b'"body":{', b'"body":' + b'{"a":' * 20_000 + b"{"
    ),
}


@pytest.mark.parametrize("rewrite", _REWRITES.values(), ids=_REWRITES)
def test_a_signed_payload_in_any_other_form_is_refused(rewrite: Callable[[bytes], bytes]) -> None:
    header, payload = _parts()
    good = canonical(payload)
    changed = rewrite(good)

    assert changed != good
    assert _code(lambda: _opened(_signed(canonical(header), changed))) == "malformed"


@pytest.mark.parametrize("rewrite", _REWRITES.values(), ids=_REWRITES)
def test_a_self_signed_payload_is_as_strict(rewrite: Callable[[bytes], bytes]) -> None:
    header, payload = _parts(SAMPLES["enrolment.request/1"])
    changed = rewrite(canonical({**payload, "body": {**payload["body"]}}))

    assert _code(lambda: _self_signed(_signed(canonical(header), changed))) == "malformed"


_HEADERS: dict[str, tuple[Edit, str]] = {
    "none": (lambda h: h.update(alg="none"), "malformed"),
    "EdDSA": (lambda h: h.update(alg="EdDSA"), "malformed"),
    "HS256": (lambda h: h.update(alg="HS256"), "malformed"),
    "ed25519": (lambda h: h.update(alg="ed25519"), "malformed"),
    "Ed448": (lambda h: h.update(alg="Ed448"), "malformed"),
    "no algorithm": (lambda h: h.pop("alg"), "malformed"),
    "null algorithm": (lambda h: h.update(alg=None), "malformed"),
    "jwk": (lambda h: h.update(jwk=key("thief").public.jwk()), "malformed"),
    "jku": (lambda h: h.update(jku="https://thief.example/jwks"), "malformed"),
    "x5u": (lambda h: h.update(x5u="https://thief.example"), "malformed"),
    "crit": (lambda h: h.update(crit=["b64"]), "malformed"),
    "b64": (lambda h: h.update(b64=False), "malformed"),
    "cty": (lambda h: h.update(cty="JWT"), "malformed"),
    "zip": (lambda h: h.update(zip="DEF"), "malformed"),
    "no kid": (lambda h: h.pop("kid"), "malformed"),
    "kid with spare bits": (lambda h: h.update(kid="A" * 42 + "B"), "malformed"),
    "kid with a line break": (lambda h: h.update(kid=h["kid"] + "\n"), "malformed"),
    "another kid": (lambda h: h.update(kid=key("thief").kid), "bad_signature"),
    "no type": (lambda h: h.pop("typ"), "malformed"),
    "JWT": (lambda h: h.update(typ="JWT"), "unknown_type"),
    "type in capitals": (lambda h: h.update(typ=h["typ"].upper()), "unknown_type"),
    "media type written out": (lambda h: h.update(typ="application/" + h["typ"]), "unknown_type"),
    "another version": (lambda h: h.update(typ=h["typ"].replace(".v1", ".v2")), "unknown_type"),
    "a long type": (lambda h: h.update(typ="x" * 200_000), "malformed"),
}


@pytest.mark.parametrize(("edit", "code"), _HEADERS.values(), ids=_HEADERS)
def test_headers_that_are_not_ours(edit: Edit, code: str) -> None:
    assert _code(lambda: _opened(_header(edit))) == code


def test_a_header_with_a_duplicate_member_or_space_is_refused() -> None:
    header, payload = _parts()
    good = canonical(header)
    for changed in (
        good.replace(b'"alg":', b'"alg":"none","alg":'),
        good.replace(b'":', b'": '),
        b'{"typ"' + good[1:],
    ):
        raw = _signed(changed, canonical(payload))
        assert _code(partial(unwrap, raw)) == "malformed"


def test_what_was_read_of_strangers_headers_stays_small() -> None:
    for number in range(6000):
        header = {"alg": "Ed25519", "kid": key("approval").kid, "typ": f"{number}"}
        raw = b64url(canonical(header)).encode() + b".e30."
        assert _code(partial(unwrap, raw)) == "unknown_type"

    assert len(envelope._READ) <= envelope._READ_LIMIT
    assert max(map(len, envelope._READ)) <= envelope.MAX_HEADER


def test_the_outer_form() -> None:
    raw = sealed(StandingQuery(party=MERCHANT), audience=AGENCY)
    head, payload, signature = raw.split(b".")
    spare = signature[:-1] + bytes([signature[-1] + 1])
    for changed in (
        b"",
        b".",
        b"..",
        head + b"." + payload,
        raw + b".",
        raw + b"=",
        raw + b"==",
        raw + b"\n",
        b" " + raw,
        head + b"=." + payload + b"." + signature,
        head + b"." + payload + b"=." + signature,
        head + b"." + payload + b"." + spare,
        head + b"." + payload + b"\r\n." + signature,
        raw.replace(b".", b"\xc2\xb7"),
        json.dumps({"payload": payload.decode(), "signatures": []}).encode(),
    ):
        assert _code(partial(_opened, changed)) == "malformed", changed
    for changed in (head + b"." + payload + b".", raw[:-8]):
        assert _code(partial(_opened, changed)) in {"bad_signature", "malformed"}
    assert _code(lambda: unwrap(raw + b"A" * MAX_COMPACT)) == "too_large"


def test_any_changed_byte_is_noticed() -> None:
    raw = sealed(StandingQuery(party=MERCHANT), audience=AGENCY)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert _code(partial(_opened, changed)) in {
            "malformed",
            "bad_signature",
            "unknown_type",
        }, at


def test_a_signature_is_one_over_these_bytes_by_this_key_only() -> None:
    raw = sealed(StandingQuery(party=MERCHANT), audience=AGENCY)
    other = sealed(StandingQuery(party=AGENCY), audience=AGENCY)
    stolen = raw.rsplit(b".", 1)[0] + b"." + other.rsplit(b".", 1)[1]
    by_thief = sealed(StandingQuery(party=MERCHANT), "thief", audience=AGENCY)

    assert _code(lambda: _opened(stolen)) == "bad_signature"
    assert _code(lambda: _opened(by_thief)) == "bad_signature"
    assert _code(lambda: verify_as_evidence(unwrap(by_thief), key("approval").public)) == (
        "bad_signature"
    )


def test_a_signature_with_a_second_scalar_is_refused() -> None:
    # RFC 8032: S + L verifies under a lenient implementation; evidence would have two digests.
    order = 2**252 + 27742317777372353535851937790883648493
    head, payload, signature = sealed(StandingQuery(party=MERCHANT), audience=AGENCY).split(b".")
    plain = unb64url(signature)
    scalar = int.from_bytes(plain[32:], "little") + order
    forged = b64url(plain[:32] + scalar.to_bytes(32, "little")).encode()

    assert _code(lambda: _opened(b".".join((head, payload, forged)))) == "bad_signature"


def test_audience() -> None:
    raw = sealed(StandingQuery(party=MERCHANT), audience=MERCHANT)
    statement = sealed(StandingQuery(party=MERCHANT))

    assert _code(lambda: _opened(raw)) == "wrong_audience"
    assert _code(lambda: _opened(statement)) == "wrong_audience"
    assert (
        _code(lambda: verify_for_anyone(unwrap(raw), key("approval").public, now=NOW))
        == "wrong_audience"
    )
    assert verify_for_anyone(unwrap(statement), key("approval").public, now=NOW).audience
    assert _opened(raw, audience=None).audience == MERCHANT


@pytest.mark.parametrize(
    ("iat", "exp", "code"),
    [
        (NOW + SKEW, NOW + SKEW, None),
        (NOW + SKEW + 1, NOW + SKEW + 1, "not_yet_valid"),
        (NOW - 300, NOW - SKEW, None),
        (NOW - 300, NOW - SKEW - 1, "expired"),
        (NOW, NOW - 1, "malformed"),
        (NOW, NOW + StandingQuery.lifetime, None),
        (NOW, NOW + StandingQuery.lifetime + 1, "malformed"),
        (0, 2**53 - 1, "malformed"),
        (-1, 1, "malformed"),
    ],
)
def test_times(iat: int, exp: int, code: str | None) -> None:
    raw = _payload(lambda p: p.update(iat=iat, exp=exp))
    if code is None:
        assert _opened(raw).message == StandingQuery(party=MERCHANT)
    else:
        assert _code(partial(_opened, raw)) == code
    if code != "malformed":  # evidence stays true whatever the time
        assert verify_as_evidence(unwrap(raw), key("approval").public).issued_at == iat


@pytest.mark.parametrize("kind", REGISTRY.values(), ids=lambda kind: kind.name)
def test_no_type_lives_longer_than_it_says(kind: type[Message]) -> None:
    message = SAMPLES[kind.name]
    last = sealed(message, audience=AGENCY, expires_at=NOW + kind.lifetime)
    over = sealed(message, audience=AGENCY, expires_at=NOW + kind.lifetime + 1)

    assert _opened(last).expires_at == NOW + kind.lifetime
    assert _code(lambda: _opened(over)) == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", ""),
        ("iss", "a b"),
        ("iss", "a" * 81),
        ("iss", "ä"),
        ("aud", [AGENCY]),
        ("aud", None),
        ("jti", "0" * 31),
        ("jti", "0" * 33),
        ("jti", "A" * 32),
        ("jti", "0" * 31 + "\n"),
        ("ans", ""),
        ("ans", 0),
        ("nbf", NOW),
        ("sub", "member"),
        ("body", None),
    ],
)
def test_claims_that_are_not_ours(name: str, value: object) -> None:
    assert _code(lambda: _opened(_payload(lambda p: p.update({name: value})))) == "malformed"


def _self_signed(raw: bytes) -> Verified[Message]:
    return verify_self_signed(unwrap(raw), audience=AGENCY, now=NOW)


def test_self_signed_proves_its_own_key_only() -> None:
    message = SAMPLES["enrolment.request/1"]
    good = sealed(message, "device", audience=AGENCY)
    by_other = sealed(message, "thief", audience=AGENCY)
    not_such = sealed(LeaseRenewal(counter=1, instance="0" * 32), "device", audience=AGENCY)
    weak = msgspec.structs.replace(message, key="A" * 43)

    assert _self_signed(good).kid == key("device").kid
    assert _code(lambda: _self_signed(by_other)) == "bad_signature"
    assert _code(lambda: _self_signed(not_such)) == "unknown_key"
    assert _code(lambda: _self_signed(sealed(weak, "device", audience=AGENCY))) == "weak_key"


def test_what_a_refusal_says_quotes_nothing_that_was_read() -> None:
    with pytest.raises(PeerFault) as caught:
        _opened(_payload(lambda p: p["body"].update(party="Alice Example, 1 Main Street")))

    assert "Alice" not in str(caught.value)
    assert caught.value.detail
