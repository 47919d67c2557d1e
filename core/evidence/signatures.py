"""Bytes to messages: every key is a real one, every signature is its key's over these bytes."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, get_args, get_type_hints

from core.evidence.trust import open_key
from core.evidence.unproved import Unproved, at, named
from core.protocol import catalogue
from core.protocol.envelope import check_time, unwrap, verify_as_evidence
from core.protocol.message import Message
from core.protocol.names import CompactJws

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.evidence.form import Jwk
    from core.protocol.envelope import Verified
    from core.protocol.keys import PublicKey


def open_keys(keys: Sequence[Jwk]) -> dict[str, PublicKey]:
    """The keys by kid. Raises `Unproved` for a weak or misnamed key, a double, a wrong order."""
    opened = {jwk.kid: open_key(jwk) for jwk in keys}
    for before, after in pairwise(keys):
        if before.kid >= after.kid:
            what = "is there twice" if before.kid == after.kid else "is not in order of kid"
            raise Unproved(f"key {after.kid}", what)
    return opened


def open_message(raw: bytes, keys: Mapping[str, PublicKey], where: str) -> Verified[Message]:
    """One message, signature first.

    Raises `Unproved`; `where` names it until its own name can be believed.
    """
    with at(where):
        unopened = unwrap(raw)
    where = f"{where} ({unopened.kind.name})"
    key = keys.get(unopened.kid)
    if key is None:
        raise Unproved(where, f"signed with key {unopened.kid}, which is not in the bundle")
    with at(where):
        found = verify_as_evidence(unopened, key)
    with at(named(found)):
        check_time(found.issued_at, found.expires_at, unopened.kind, found.issued_at)
    return found


def open_messages(
    raws: Sequence[str], keys: Mapping[str, PublicKey]
) -> tuple[Verified[Message], ...]:
    """All messages.

    Raises `Unproved` for a double, for one identifier on two messages, for a wrong order.
    """
    found = tuple(
        open_message(raw.encode("ascii"), keys, f"messages[{number}]")
        for number, raw in enumerate(raws)
    )
    seen: dict[tuple[str, str], Verified[Message]] = {}
    for one in found:
        before = seen.setdefault((one.issuer, one.message_id), one)
        if before is not one:
            twice = before.raw == one.raw
            raise Unproved(
                named(one), "is there twice" if twice else "two messages have this identifier"
            )
    for left, right in pairwise(found):
        if rank(left) > rank(right):
            raise Unproved(named(right), "not in order of issue time and identifier")
    return found


def rank(found: Verified[Message]) -> tuple[int, str, bytes]:
    """What messages are sorted by."""
    return found.issued_at, found.message_id, found.raw


def carried(found: Verified[Message]) -> tuple[tuple[str, bytes], ...]:
    """Whole signed messages inside this one: the field's name and the exact bytes."""
    values = ((field, getattr(found.message, field)) for field in _carrying(type(found.message)))
    return tuple((field, value.encode("ascii")) for field, value in values if value is not None)


@cache
def _carrying(kind: type[Message]) -> tuple[str, ...]:
    # By declared type: a text that only looks like a message must not be taken for one.
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        field for field, hint in hints.items() if hint == CompactJws or CompactJws in get_args(hint)
    )


PROVES: dict[str, catalogue.Entry] = catalogue.BY_NAME
"""Every message type: importing the catalogue is what makes `unwrap` know them."""
