"""Ed25519 keys (RFC 8032) as JOSE names them (RFC 8037, RFC 7638), and an agency's sealed box."""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

from nacl.bindings import (
    crypto_box_PUBLICKEYBYTES,
    crypto_core_ed25519_is_valid_point,
    crypto_scalarmult_base,
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from nacl.public import PublicKey as BoxKey

from core.protocol.canonical import b64url, canonical, unb64url
from core.protocol.faults import PeerFault, fault

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = crypto_sign_BYTES
_FIELD_PRIME: Final = 2**255 - 19


class Signer(Protocol):
    """Whatever signs for a party: a key in memory, or later a hardware module."""

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint of the public key."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature."""
        ...


def thumbprint(x: str) -> str:
    """RFC 7638 thumbprint of the Ed25519 public key whose base64url text is `x`."""
    return b64url(
        hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"' + x.encode() + b'"}').digest()
    )


class PublicKey:
    """An Ed25519 key that proves something: canonical, on the curve, of the prime-order subgroup.

    Raises `PeerFault("weak_key")` for small-order, mixed-order and non-canonical encodings: with
    such a key one signature can fit any message, so consent could be denied later.
    """

    __slots__ = ("_raw", "kid", "x")

    def __init__(self, x: str) -> None:
        raw = unb64url(x)
        ordinate = int.from_bytes(raw, "little") & (2**255 - 1)
        if (
            len(raw) != SEED_BYTES
            or ordinate >= _FIELD_PRIME
            or not crypto_core_ed25519_is_valid_point(raw)
        ):
            raise PeerFault(fault("weak_key"))
        self._raw = raw
        self.x = x
        self.kid = thumbprint(x)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises `PeerFault("bad_signature")` unless `signature` is this key's over `data`."""
        try:
            crypto_sign_open(signature + data, self._raw)
        except (CryptoError, ValueError) as error:
            raise PeerFault(fault("bad_signature")) from error

    def jwk(self) -> dict[str, str]:
        """The public JSON Web Key (RFC 8037, RFC 9864)."""
        return {
            "alg": "Ed25519",
            "crv": "Ed25519",
            "kid": self.kid,
            "kty": "OKP",
            "use": "sig",
            "x": self.x,
        }


class SigningKey:
    """An Ed25519 key pair held in memory, made from a 32-byte seed that a vault keeps."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("an Ed25519 seed has 32 bytes")
        raw_public, self._secret = crypto_sign_seed_keypair(seed)
        self.public = PublicKey(b64url(raw_public))

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint of the public key."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature."""
        return crypto_sign(data, self._secret)[:SIGNATURE_BYTES]


def jwk_set(*keys: PublicKey) -> bytes:
    """The canonical JWK Set (RFC 7517, section 5) of these keys."""
    return canonical({"keys": [key.jwk() for key in keys]})


def derive_seed(secret: bytes, purpose: str, context: str) -> bytes:
    """A 32-byte seed from a secret, what it is for and one context (keyed BLAKE2b)."""
    return hashlib.blake2b(
        context.encode(), key=secret, person=purpose.encode()[:16], digest_size=SEED_BYTES
    ).digest()


def sealing_public(seed: bytes) -> str:
    """The X25519 public key, base64url, to which members seal what this agency alone may open."""
    return b64url(crypto_scalarmult_base(seed))


def seal_to(x: str, plain: bytes) -> bytes:
    """Anonymous public-key encryption to the X25519 key `x` (libsodium sealed box)."""
    raw = unb64url(x)
    if len(raw) != crypto_box_PUBLICKEYBYTES:
        raise PeerFault(fault("weak_key"), "not an X25519 key")
    try:
        return SealedBox(BoxKey(raw)).encrypt(plain)
    except CryptoError as error:  # a point of small order: anybody could open what is sealed to it
        raise PeerFault(fault("weak_key"), "an X25519 key of small order") from error


def open_sealed(seed: bytes, sealed: bytes) -> bytes:
    """What was sealed to this seed's public key.

    Raises `PeerFault("anonymous_id_unknown")` if it was not.
    """
    try:
        return SealedBox(PrivateKey(seed)).decrypt(sealed)
    except (CryptoError, ValueError, TypeError) as error:
        raise PeerFault(fault("anonymous_id_unknown")) from error
