"""Other people's libraries read what we sign, with nothing but our published JWK set."""

import json
from importlib import import_module
from typing import Any

import pytest
from joserfc import jws as joserfc_jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from nacl.bindings import crypto_sign

from core.protocol.canonical import b64url, canonical, unb64url
from core.protocol.envelope import unwrap, verify
from core.protocol.keys import jwk_set
from core.protocol.message import typ
from core.protocol.standing import StandingQuery
from tests.world.keys import AGENCY, MERCHANT, key
from tests.world.messages import NOW, samples, sealed

# It has no types.
jwcrypto_jwk: Any = import_module("jwcrypto.jwk")
jwcrypto_jws: Any = import_module("jwcrypto.jws")
SAMPLES = samples()
JWKS = jwk_set(key("merchant").public, key("approval").public)


@pytest.mark.parametrize("name", SAMPLES)
def test_joserfc_verifies(name: str) -> None:
    raw = sealed(SAMPLES[name], audience=AGENCY)
    keys = KeySet.import_key_set(json.loads(JWKS))

    found = joserfc_jws.deserialize_compact(raw, keys, algorithms=["Ed25519"])

    assert found.headers()["typ"] == typ(type(SAMPLES[name]))
    assert json.loads(found.payload)["body"] == json.loads(canonical(SAMPLES[name]))


@pytest.mark.parametrize("name", SAMPLES)
def test_jwcrypto_verifies(name: str) -> None:
    raw = sealed(SAMPLES[name], audience=AGENCY)
    found = jwcrypto_jws.JWS()
    found.deserialize(raw.decode(), jwcrypto_jwk.JWKSet.from_json(JWKS.decode()))

    assert found.is_valid
    assert json.loads(found.payload)["body"] == json.loads(canonical(SAMPLES[name]))
    assert jwcrypto_jwk.JWK(**key("approval").public.jwk()).thumbprint() == key("approval").kid


def test_they_refuse_what_somebody_else_signed() -> None:
    raw = sealed(SAMPLES["offer/1"], audience=AGENCY)
    forged = raw.rsplit(b".", 1)[0] + b"." + sealed(SAMPLES["consent/1"]).rsplit(b".", 1)[1]

    with pytest.raises(BadSignatureError):
        joserfc_jws.deserialize_compact(
            forged, KeySet.import_key_set(json.loads(JWKS)), algorithms=["Ed25519"]
        )
    with pytest.raises(jwcrypto_jws.InvalidJWSSignature):
        jwcrypto_jws.JWS().deserialize(
            forged.decode(), jwcrypto_jwk.JWK(**key("approval").public.jwk())
        )


def test_we_verify_what_another_library_signed() -> None:
    _, payload, _ = sealed(StandingQuery(party=MERCHANT), audience=AGENCY).split(b".")
    private = {**key("approval").public.jwk(), "d": b64url(key("approval")._secret[:32])}
    header = {"alg": "Ed25519", "kid": key("approval").kid, "typ": typ(StandingQuery)}
    theirs = jwcrypto_jws.JWS(unb64url(payload))
    theirs.add_signature(jwcrypto_jwk.JWK(**private), None, canonical(header).decode(), None)
    raw = theirs.serialize(compact=True).encode()

    found = verify(unwrap(raw), key("approval").public, audience=AGENCY, now=NOW)

    assert found.message == StandingQuery(party=MERCHANT)
    assert crypto_sign(raw.rsplit(b".", 1)[0], key("approval")._secret)[:64] == unb64url(
        raw.rsplit(b".", 1)[1]
    )
