import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_sign_open,
)

from core.protocol.canonical import b64url, unb64url
from core.protocol.faults import PeerFault
from core.protocol.keys import (
    PublicKey,
    SigningKey,
    derive_seed,
    jwk_set,
    open_sealed,
    seal_to,
    sealing_public,
    thumbprint,
)
from tests.world.keys import key

# "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko 2020), table 1: the eight points of small
# order in canonical form, then every other encoding of points whose ordinate is not reduced.
SMALL_ORDER = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
)
NOT_CANONICAL = (
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
_PRIME = 2**255 - 19
_NOT_REDUCED = [
    (ordinate | sign << 255).to_bytes(32, "little").hex()
    for ordinate in range(_PRIME, 2**255)
    for sign in (0, 1)
]


def _code(x: str) -> str:
    with pytest.raises(PeerFault) as caught:
        PublicKey(x)
    return caught.value.fault.code


@pytest.mark.parametrize("encoded", [*SMALL_ORDER, *NOT_CANONICAL, *_NOT_REDUCED])
def test_keys_that_prove_nothing_are_refused(encoded: str) -> None:
    assert _code(b64url(bytes.fromhex(encoded))) == "weak_key"


def test_mixed_order_keys_are_refused() -> None:
    good = unb64url(key("anybody").public.x)
    for torsion in (SMALL_ORDER[1], *SMALL_ORDER[2:]):
        mixed = crypto_core_ed25519_add(good, bytes.fromhex(torsion))
        assert mixed != good
        assert not crypto_core_ed25519_is_valid_point(mixed)
        assert _code(b64url(mixed)) == "weak_key"


def test_points_off_the_curve_and_other_lengths_are_refused() -> None:
    off = [number for number in range(2, 40) if not _taken(number.to_bytes(32, "little"))]
    assert len(off) > 10
    for size in (0, 1, 31, 33, 64):
        assert _code(b64url(bytes([7]) * size)) == "weak_key"
    assert _code(key("anybody").public.x + "=") == "malformed"


def _taken(raw: bytes) -> bool:
    try:
        return PublicKey(b64url(raw)).x == b64url(raw)
    except PeerFault:
        return False


def test_rfc_8032_test_vector_2() -> None:
    pair = SigningKey(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )

    assert unb64url(pair.public.x).hex() == (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )
    assert pair.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_rfc_8037_appendix_a3_thumbprint() -> None:
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

    assert thumbprint(x) == PublicKey(x).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_signatures(seed: bytes, data: bytes) -> None:
    pair = SigningKey(seed)
    signature = pair.sign(data)
    pair.public.verify(signature, data)

    assert crypto_sign_open(signature + data, unb64url(pair.public.x)) == data
    for wrong, what in ((signature, data + b"x"), (signature[:-1], data), (b"", data)):
        with pytest.raises(PeerFault) as caught:
            pair.public.verify(wrong, what)
        assert caught.value.fault.code == "bad_signature"


def test_a_seed_has_32_bytes() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            SigningKey(bytes(size))


def test_a_key_shows_no_secret() -> None:
    pair = SigningKey(bytes(range(32)))

    assert bytes(range(32)).hex() not in repr(pair) + str(vars(type(pair)))
    assert "_secret" not in repr(pair)


def test_the_jwk_set_is_canonical() -> None:
    public = key("approval").public

    assert jwk_set(public) == (
        b'{"keys":[{"alg":"Ed25519","crv":"Ed25519","kid":"' + public.kid.encode() + b'",'
        b'"kty":"OKP","use":"sig","x":"' + public.x.encode() + b'"}]}'
    )
    assert jwk_set() == b'{"keys":[]}'


def test_derived_seeds_differ_by_secret_purpose_and_context() -> None:
    secret = hashlib.sha256(b"secret").digest()
    seeds = {
        derive_seed(secret, "order key", "a"),
        derive_seed(secret, "order key", "b"),
        derive_seed(secret, "sealing", "a"),
        derive_seed(secret[::-1], "order key", "a"),
    }

    assert len(seeds) == 4
    assert {len(seed) for seed in seeds} == {32}
    assert derive_seed(secret, "order key", "a") in seeds


def test_what_is_sealed_is_opened_by_one_alone() -> None:
    mine, other = bytes([1]) * 32, bytes([2]) * 32
    sealed = seal_to(sealing_public(mine), b"who it is")

    assert open_sealed(mine, sealed) == b"who it is"
    assert b"who" not in sealed
    assert seal_to(sealing_public(mine), b"who it is") != sealed
    for seed, box in ((other, sealed), (mine, sealed[:-1]), (mine, b""), (mine, b"x" * 48)):
        with pytest.raises(PeerFault) as caught:
            open_sealed(seed, box)
        assert caught.value.fault.code == "anonymous_id_unknown"


@pytest.mark.parametrize("x", ["", "AAAA", "A" * 44, "!" * 43])
def test_what_is_no_sealing_key_is_refused(x: str) -> None:
    with pytest.raises(PeerFault) as caught:
        seal_to(x, b"")
    assert caught.value.fault.code in {"weak_key", "malformed"}


def test_a_small_order_sealing_key_is_refused() -> None:
    # To these points everybody's shared secret is the same: anybody could open what was sealed.
    for encoded in ("00" * 32, "01" + "00" * 31):
        with pytest.raises(PeerFault) as caught:
            seal_to(b64url(bytes.fromhex(encoded)), b"who it is")
        assert caught.value.fault.code == "weak_key"
