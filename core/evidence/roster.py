"""Who may have signed what: from the trusted approval key down to the member's device.

Approval by trust; agency and merchant by approval's guarantees; the device by the agency's notice
to it; the order's own key by the terms. A key that is only in the bundle is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.evidence.unproved import Unproved, at, named
from core.protocol.catalogue import BY_NAME
from core.protocol.identifiers import device, kind_of, order_key
from core.protocol.keys import PublicKey
from core.protocol.purchase import CompletionNotice
from core.protocol.standing import ANYONE, AgencyGuarantee, MerchantGuarantee

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.evidence.trust import Trusted
    from core.protocol.envelope import Verified
    from core.protocol.message import Message
    from core.protocol.terms import Terms

_PARTIES: Final = frozenset({"approval", "agency", "merchant"})
_MEMBER: Final = frozenset({"device", "order-key"})
_WORDS: Final = {
    "approval": frozenset({"approval"}),
    "agency": frozenset({"agency"}),
    "merchant": frozenset({"merchant"}),
    "member": _MEMBER,
    "anyone": frozenset({ANYONE}),
    "any party": _PARTIES | _MEMBER,
    "any node": _PARTIES,
    "receiver": _PARTIES | _MEMBER,
    "sender": _PARTIES | _MEMBER,
}


def kinds(words: str) -> frozenset[str]:
    """The kinds of principal behind the catalogue's words: `merchant or agency`, `any party`."""
    return frozenset[str]().union(
        *(_WORDS[word] for word in words.replace(" and ", " or ").split(" or "))
    )


class Roster:
    """The keys of one order's parties, as far as the messages at hand establish them."""

    def __init__(self, trusted: Trusted) -> None:
        self.trusted = trusted
        self._kids: dict[str, set[str]] = {trusted.principal: set(trusted.kids)}
        self._notified: set[str] = set()
        self._order_key: str | None = None

    def learn(self, messages: Iterable[Verified[Message]]) -> None:
        """Know the parties whose guarantees are among these.

        Raises `Unproved` for a guarantee of anybody else's making.
        """
        for found in messages:
            if isinstance(found.message, MerchantGuarantee | AgencyGuarantee):
                self.check(found)
                with at(named(found), "the guaranteed key: "):
                    key = PublicKey(found.message.key)
                self._kids.setdefault(found.message.party, set()).add(key.kid)

    def bind(self, terms: Terms, messages: Iterable[Verified[Message]]) -> None:
        """Know the order's own key, and the devices to which the agency showed these terms.

        Raises `Unproved` for a notice of anybody else's making.
        """
        self._order_key = terms.order_key
        for found in messages:
            if isinstance(found.message, CompletionNotice) and found.message.terms == terms:
                self.check(found)
                self._notified.add(found.audience)

    def check(self, found: Verified[Message]) -> None:
        """Raises `Unproved` unless its issuer may say this to its audience, with this key."""
        entry = BY_NAME[found.message.name]
        if kind_of(found.issuer) not in kinds(entry.sender):
            raise Unproved(
                named(found), f"issued by {found.issuer}, but only {entry.sender} may say it"
            )
        if kind_of(found.audience) not in kinds(entry.receiver):
            raise Unproved(
                named(found), f"meant for {found.audience}, but it is for {entry.receiver}"
            )
        self.check_key(found)

    def check_key(self, found: Verified[Message]) -> None:
        """Raises `Unproved` unless the issuer signs with this key."""
        issuer, kid = found.issuer, found.kid
        kind = kind_of(issuer)
        trouble = (
            self._party_trouble(issuer, kid)
            if kind in _PARTIES
            else self._member_trouble(issuer, kid)
        )
        if trouble:
            raise Unproved(named(found), trouble)

    def _party_trouble(self, issuer: str, kid: str) -> str | None:
        if kid in self._kids.get(issuer, ()):
            return None
        if kind_of(issuer) != "approval":
            return f"no guarantee in the bundle gives key {kid} to {issuer}"
        if issuer != self.trusted.principal:
            return f"issued by {issuer}, but {self.trusted.principal} is trusted"
        return f"key {kid} is not a trusted key of {issuer}"

    def _member_trouble(self, issuer: str, kid: str) -> str | None:
        if issuer == order_key(kid):
            return (
                None if kid == self._order_key else f"key {kid} is not the order key of the terms"
            )
        if issuer == device(kid):
            known = issuer in self._notified
            return None if known else f"no completion notice of the agency is for {issuer}"
        return f"{issuer} is not who signs with key {kid}"
