"""A bundle's signatures are checked by JOSE libraries that know nothing of us."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]
from jwcrypto.jws import JWS, InvalidJWSSignature  # type: ignore[import-untyped]

from core.evidence import form
from tests.world.evidence import World

WORLD = World()
BUNDLE: dict[str, Any] = json.loads(form.write(WORLD.bundle()))


def tokens() -> Iterator[str]:
    yield from BUNDLE["messages"]
    for chain in BUNDLE["chains"]:
        for segment in chain["segments"]:
            yield segment["checkpoint"]


def key_of(token: str) -> dict[str, str]:
    header = json.loads(urlsafe_b64decode(token.split(".", 1)[0] + "=="))
    found: dict[str, str] = next(key for key in BUNDLE["keys"] if key["kid"] == header["kid"])
    return found


def test_there_is_something_to_check() -> None:
    assert len(list(tokens())) > 20


def test_joserfc_agrees() -> None:
    for token in tokens():
        key = OKPKey.import_key(dict(key_of(token)))
        found = jws.deserialize_compact(token, key, algorithms=["Ed25519"])
        assert json.loads(found.payload)["iss"]
        assert key.thumbprint() == key_of(token)["kid"]


def test_joserfc_refuses_another_message() -> None:
    first, second = BUNDLE["messages"][:2]
    mixed = first.rsplit(".", 1)[0] + "." + second.rsplit(".", 1)[1]
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(
            mixed, OKPKey.import_key(dict(key_of(first))), algorithms=["Ed25519"]
        )


def test_jwcrypto_agrees() -> None:
    for token in tokens():
        found: Any = JWS()
        found.allowed_algs = ["Ed25519"]
        key: Any = JWK(**key_of(token))
        found.deserialize(token, key=key)
        assert found.is_valid
        assert key.thumbprint() == key_of(token)["kid"]


def test_jwcrypto_refuses_another_message() -> None:
    first, second = BUNDLE["messages"][:2]
    mixed = first.rsplit(".", 1)[0] + "." + second.rsplit(".", 1)[1]
    jws_: Any = JWS()
    with pytest.raises(InvalidJWSSignature):
        jws_.deserialize(mixed, key=JWK(**key_of(first)))
