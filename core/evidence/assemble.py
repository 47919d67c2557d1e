"""Making a bundle: out of all that nodes hold about an offer, what belongs to one order of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from core.evidence import form
from core.evidence.order import check_about, stated_terms
from core.evidence.roster import Roster
from core.evidence.signatures import carried, open_message, rank
from core.evidence.unproved import Unproved, at, named
from core.protocol.control import Refusal
from core.protocol.discovery import AnonymousIdRequest
from core.protocol.envelope import unwrap
from core.protocol.keys import PublicKey
from core.protocol.purchase import StateAnswer, StateQuery
from core.protocol.standing import AgencyGuarantee, MerchantGuarantee
from core.protocol.terms import Terms, terms_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.evidence.trust import Trusted
    from core.protocol.envelope import Unopened, Verified
    from core.protocol.message import Message

_SILENT: Final = (StateQuery, StateAnswer)
"""Asking how things stand proves nothing, and is done often."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What belongs to one order. `left_out`: what does not, and why, in words."""

    terms: Terms
    messages: tuple[Verified[Message], ...]
    left_out: tuple[str, ...]
    keys: Mapping[str, PublicKey]

    @property
    def digests(self) -> frozenset[str]:
        """SHA-256 of each message's exact bytes."""
        return frozenset(found.digest for found in self.messages)


class Pool:
    """Messages and keys that nodes hold. `xs`: public keys (base64url); they prove nothing yet."""

    def __init__(self, trusted: Trusted, xs: Iterable[str] = ()) -> None:
        self._trusted = trusted
        self._keys = {key.kid: key for key in trusted.keys}
        self._keys |= {key.kid: key for key in map(PublicKey, xs)}
        self._found: dict[bytes, Verified[Message]] = {}
        self._shut: dict[bytes, str] = {}

    def add(self, raws: Iterable[bytes]) -> None:
        """Open these messages and those that they carry, as far as the keys in them reach."""
        todo = [*self._shut, *raws]
        self._shut.clear()
        while todo:
            opened = [found for raw in todo if (found := self._open(raw)) is not None]
            inside = [raw for found in opened for _, raw in carried(found)]
            # A key may stand in a message that came later: try again while that helps.
            again = [raw for raw in (*self._shut, *inside) if raw not in self._found]
            if not opened:
                return
            todo = again

    def terms(self, order_number: str, merchant: str) -> Terms:
        """The order's terms, as approval states them or else as the first message does.

        Raises `Unproved` where no message does.
        """
        stated = [
            (found.kid not in self._trusted.kids, rank(found), terms)
            for found in self._found.values()
            if (terms := stated_terms(found, order_number)) is not None
            and (terms.order_number, terms.merchant) == (order_number, merchant)
        ]
        if not stated:
            raise Unproved("order", f"no message here states the terms of {order_number}")
        return min(stated, key=lambda one: one[:2])[2]

    def choose(self, terms: Terms) -> Choice:
        """Keep what is about the order of these terms and was signed by those who may."""
        left_out = list(self._shut.values())
        fitting: list[Verified[Message]] = []
        roster = self._roster(terms)
        for found in sorted(self._found.values(), key=rank):
            trouble = self._trouble(found, terms, roster)
            if trouble is None:
                fitting.append(found)
            elif not isinstance(found.message, (*_SILENT, MerchantGuarantee, AgencyGuarantee)):
                left_out.append(trouble)
        kept = _with_guarantees(_whole(fitting, left_out), terms)
        return Choice(terms, kept, tuple(left_out), self._keys)

    def _trouble(self, found: Verified[Message], terms: Terms, roster: Roster) -> str | None:
        if isinstance(found.message, _SILENT):
            return "says nothing"
        try:
            roster.check(found)
            check_about(found, terms, self._trusted.principal)
        except Unproved as error:
            return str(error)
        return None

    def _roster(self, terms: Terms) -> Roster:
        roster = Roster(self._trusted)
        for found in self._found.values():
            # One that nobody may have signed is left out like any other message.
            try:
                roster.learn((found,))
            except Unproved:
                continue
        for found in self._found.values():
            try:
                roster.bind(terms, (found,))
            except Unproved:
                continue
        return roster

    def _open(self, raw: bytes) -> Verified[Message] | None:
        try:
            self._learn_own_key(raw)
            found = open_message(raw, self._keys, "message")
        except Unproved as error:
            self._shut[raw] = str(error)
            return None
        self._shut.pop(raw, None)
        self._found[raw] = found
        message = found.message
        if isinstance(message, MerchantGuarantee | AgencyGuarantee):
            self._know(message.key)
        if isinstance(message, AnonymousIdRequest):
            self._know(message.order_key)
        return found

    def _learn_own_key(self, raw: bytes) -> None:
        with at("message"):
            unopened = unwrap(raw)
            if unopened.kind.self_signed:
                self._know(_own_key(unopened))

    def _know(self, x: str) -> None:
        key = PublicKey(x)
        self._keys[key.kid] = key


def _own_key(unopened: Unopened) -> str:
    try:
        payload: Any = msgspec.json.decode(unopened.payload)
        return str(payload["body"]["key"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError) as error:
        raise Unproved("message", "a self-signed message without its key") from error


def _whole(fitting: Sequence[Verified[Message]], left_out: list[str]) -> list[Verified[Message]]:
    """Without what rests on messages that are not here."""
    kept = list(fitting)
    while True:
        here = {found.raw for found in kept}
        asked = {(found.issuer, found.message_id) for found in kept}
        loose = [found for found in kept if not _rests(found, here, asked)]
        if not loose:
            return kept
        left_out += [f"{named(found)}: rests on a message that is left out" for found in loose]
        kept = [found for found in kept if found not in loose]


def _rests(found: Verified[Message], here: set[bytes], asked: set[tuple[str, str]]) -> bool:
    if isinstance(found.message, Refusal) and (found.audience, found.answers) not in asked:
        return False
    return all(raw in here for _, raw in carried(found))


def _with_guarantees(kept: list[Verified[Message]], terms: Terms) -> tuple[Verified[Message], ...]:
    """Of the guarantees, those that messages carry, or else the newest of a party."""
    inside = {raw for found in kept for _, raw in carried(found)}
    guarantees = [found for found in kept if _is_guarantee(found)]
    chosen = {found.raw for found in guarantees if found.raw in inside}
    for party in (terms.agency, terms.merchant):
        its_own = [found.raw for found in guarantees if _guaranteed(found) == party]
        if its_own and chosen.isdisjoint(its_own):
            chosen.add(its_own[-1])
    return tuple(found for found in kept if not _is_guarantee(found) or found.raw in chosen)


def _is_guarantee(found: Verified[Message]) -> bool:
    return isinstance(found.message, MerchantGuarantee | AgencyGuarantee)


def _guaranteed(found: Verified[Message]) -> str:
    return cast("MerchantGuarantee | AgencyGuarantee", found.message).party


def build(choice: Choice, chains: Sequence[form.ChainProof]) -> bytes:
    """The bundle's bytes. Raises `Unproved` where a signer's key is unknown."""
    checkpoints = [segment.checkpoint for proof in chains for segment in proof.segments]
    kids = {unwrap(raw.encode("ascii")).kid for raw in checkpoints}
    kids |= {found.kid for found in choice.messages}
    unknown = kids - choice.keys.keys()
    if unknown:
        raise Unproved(
            f"key {min(unknown)}", "signed a checkpoint, but nothing here says whose it is"
        )
    return form.write(
        form.Bundle(
            chains=tuple(sorted(chains, key=lambda proof: (proof.node, proof.chain))),
            keys=tuple(form.jwk_of(choice.keys[kid]) for kid in sorted(kids)),
            messages=tuple(found.raw.decode("ascii") for found in choice.messages),
            offer_hash=choice.terms.offer_hash,
            order_number=choice.terms.order_number,
            terms_hash=terms_hash(choice.terms),
        )
    )
