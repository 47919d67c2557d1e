"""Signed messages on the wire: compact JWS (RFC 7515), JWT claims (RFC 7519), Ed25519 (RFC 9864).

Types are explicit (RFC 8725).

The header is exactly `{"alg":"Ed25519","kid":…,"typ":…}`; the payload is canonical JSON with the
claims `ans aud body exp iat iss jti`. Bytes go in, only `Verified` messages come out: signature
first, then parsing, then audience and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, Generic, TypeVar

import msgspec

from core.protocol.canonical import b64url, canonical, digest, unb64url
from core.protocol.faults import PeerFault, fault
from core.protocol.keys import PublicKey, Signer
from core.protocol.message import REGISTRY, Message, typ
from core.protocol.names import MessageId, Principal, Seconds, Thumbprint
from core.protocol.standing import ANYONE

MAX_COMPACT: Final = 400_000
"""Longest compact JWS, in bytes."""

MAX_HEADER: Final = 400
"""Longest encoded header, in bytes: what is read is remembered, so nobody may hand in long ones."""

SKEW: Final = 120
"""How far two parties' wall clocks may differ, in seconds."""

M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", bound=Message, covariant=True)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protected header: these three members and nothing else."""

    alg: str
    kid: Thumbprint
    typ: str


class Claims(msgspec.Struct, Generic[M], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload.

    `ans`: the message that this one answers; `aud`, `iss`: see docs/protocol.md; times in seconds.
    """

    ans: MessageId | None
    aud: Principal
    body: M
    exp: Seconds
    iat: Seconds
    iss: Principal
    jti: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Generic[M_co]):
    """A message whose signature, form, audience and time were checked.

    Only `verify` makes one. `raw`: the exact bytes.
    """

    message: M_co
    raw: bytes
    kid: str
    issuer: str
    audience: str
    message_id: str
    answers: str | None
    issued_at: int
    expires_at: int

    @property
    def digest(self) -> str:
        """SHA-256 of the exact bytes."""
        return digest(self.raw)


@dataclass(frozen=True, slots=True)
class Unopened:
    """A compact JWS whose outer form is right and whose signature is not checked yet.

    Nothing in it can be believed.
    """

    raw: bytes
    kid: str
    kind: type[Message]
    signing_input: bytes
    payload: bytes
    signature: bytes


@cache
def _decoder(kind: type[Message]) -> msgspec.json.Decoder[Claims[Any]]:
    return msgspec.json.Decoder(Claims[kind])  # type: ignore[valid-type]


_HEADERS = msgspec.json.Decoder(Header)


@cache
def _header(name: str, kid: str) -> bytes:
    return b64url(canonical(Header("Ed25519", kid, name))).encode()


def seal(  # noqa: PLR0913 - the claims of RFC 7519, each by its name
    message: Message,
    signer: Signer,
    *,
    issuer: str,
    audience: str,
    message_id: str,
    issued_at: int,
    expires_at: int,
    answers: str | None = None,
) -> bytes:
    """The message as compact JWS bytes.

    Times in seconds; `answers`: the message ID that this one answers.
    """
    claims: Claims[Message] = Claims(
        ans=answers,
        aud=audience,
        body=message,
        exp=expires_at,
        iat=issued_at,
        iss=issuer,
        jti=message_id,
    )
    signing_input = (
        _header(typ(type(message)), signer.kid) + b"." + b64url(canonical(claims)).encode()
    )
    return signing_input + b"." + b64url(signer.sign(signing_input)).encode()


def unwrap(raw: bytes) -> Unopened:
    """Split and check the outer form.

    Raises `PeerFault`: `too_large`, `malformed`, `unknown_type`.
    """
    if len(raw) > MAX_COMPACT:
        raise PeerFault(fault("too_large"), f"{len(raw)} bytes in one message")
    parts = raw.split(b".")
    if len(parts) != 3:  # noqa: PLR2004 - RFC 7515 compact: header, payload, signature
        raise PeerFault(fault("malformed"), "not a compact JWS")
    head, name = _read_header(parts[0])
    kind = REGISTRY.get(name)
    if kind is None:
        raise PeerFault(fault("unknown_type"), name[:80])
    return Unopened(
        raw, head, kind, parts[0] + b"." + parts[1], unb64url(parts[1]), unb64url(parts[2])
    )


_READ: dict[bytes, tuple[str, str]] = {}
_READ_LIMIT: Final = 4096


def _read_header(part: bytes) -> tuple[str, str]:
    known = _READ.get(part)
    if known is None:
        if len(part) > MAX_HEADER:
            raise PeerFault(fault("malformed"), "the header is longer than any header is")
        header = _strict(_HEADERS, unb64url(part))
        if header.alg != "Ed25519":
            raise PeerFault(fault("malformed"), "the algorithm is not Ed25519")
        known = (header.kid, header.typ)
        if len(_READ) >= _READ_LIMIT:
            _READ.clear()
        _READ[part] = known
    return known


T = TypeVar("T")


def _strict(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        value = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise PeerFault(fault("malformed"), _short(error)) from error
    if canonical(value) != data:
        raise PeerFault(fault("malformed"), "not in canonical form (RFC 8785)")
    return value


def _short(error: Exception) -> str:
    # The library quotes what it read as a path and a type, never a value: nobody's identity ends
    # up in a refusal.
    text = str(error)
    return text[:200] if text.isprintable() else type(error).__name__


def verify(
    unopened: Unopened, key: PublicKey, *, audience: str | None, now: int
) -> Verified[Message]:
    """Signature, then form, then audience and time.

    `audience=None`: of a statement for anyone, or read as evidence.

    Raises `PeerFault`: `bad_signature`, `malformed`, `wrong_audience`, `not_yet_valid`, `expired`.
    """
    if key.kid != unopened.kid:
        raise PeerFault(fault("bad_signature"), "another key")
    key.verify(unopened.signature, unopened.signing_input)
    claims = _strict(_decoder(unopened.kind), unopened.payload)
    if audience is not None and claims.aud != audience:
        raise PeerFault(fault("wrong_audience"))
    check_time(claims.iat, claims.exp, unopened.kind, now)
    return _verified(unopened, claims)


def verify_for_anyone(unopened: Unopened, key: PublicKey, *, now: int) -> Verified[Message]:
    """Like `verify`, for a statement made for whoever holds it: an offer, a guarantee, an index."""
    return verify(unopened, key, audience=ANYONE, now=now)


def verify_self_signed(unopened: Unopened, *, audience: str | None, now: int) -> Verified[Message]:
    """Like `verify`, where the key stands in the body: proves possession of that key, no more."""
    if not unopened.kind.self_signed:
        raise PeerFault(fault("unknown_key"))
    claims = _strict(_decoder(unopened.kind), unopened.payload)
    return verify(unopened, PublicKey(claims.body.key), audience=audience, now=now)


def verify_as_evidence(unopened: Unopened, key: PublicKey) -> Verified[Message]:
    """Signature and form only: evidence stays true after its messages have expired."""
    if key.kid != unopened.kid:
        raise PeerFault(fault("bad_signature"), "another key")
    key.verify(unopened.signature, unopened.signing_input)
    return _verified(unopened, _strict(_decoder(unopened.kind), unopened.payload))


@lru_cache(maxsize=1024)
def read_kept(raw: bytes) -> Message:
    """What stands in bytes that this program itself signed, or checked before it kept them.

    For its own database only: no signature is checked here.
    """
    unopened = unwrap(raw)
    message: Message = _strict(_decoder(unopened.kind), unopened.payload).body
    return message


def peek_issuer(unopened: Unopened) -> str:
    """Who claims to have issued it: good for asking who that is, and for nothing else."""
    return _strict(_decoder(unopened.kind), unopened.payload).iss


def peek_id(unopened: Unopened) -> str:
    """The message identifier that it claims: good for asking that it be forgotten, no more."""
    return _strict(_decoder(unopened.kind), unopened.payload).jti


def check_time(issued_at: int, expires_at: int, kind: type[Message], now: int) -> None:
    """Check a message's times. Raises `PeerFault`: `not_yet_valid`, `expired`, `malformed`.

    `malformed`: it claims to live longer than its type may.
    """
    if expires_at - issued_at > kind.lifetime or expires_at < issued_at:
        raise PeerFault(
            fault("malformed"), "the time between iat and exp is not one that this type may have"
        )
    if issued_at > now + SKEW:
        raise PeerFault(fault("not_yet_valid"))
    if expires_at < now - SKEW:
        raise PeerFault(fault("expired"))


def _verified(unopened: Unopened, claims: Claims[Any]) -> Verified[Message]:
    return Verified(
        message=claims.body,
        raw=unopened.raw,
        kid=unopened.kid,
        issuer=claims.iss,
        audience=claims.aud,
        message_id=claims.jti,
        answers=claims.ans,
        issued_at=claims.iat,
        expires_at=claims.exp,
    )
