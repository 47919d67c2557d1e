"""Checking a bundle of evidence with nothing but the bundle and the institution's public key.

The checks run in a fixed order, and the first thing that is wrong is named: the file's form; keys;
signatures; the terms; who may sign what; what messages say of the order and of each other; the
nodes' chains; what does not belong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.evidence import form
from core.evidence.claims import Findings, derive
from core.evidence.order import check_about, terms_of
from core.evidence.references import check_references
from core.evidence.roster import Roster
from core.evidence.segments import check_chains
from core.evidence.signatures import open_keys, open_messages
from core.evidence.unproved import Unproved
from core.protocol.terms import Terms, terms_hash

if TYPE_CHECKING:
    from core.evidence.trust import Trusted
    from core.protocol.control import Checkpoint
    from core.protocol.envelope import Verified
    from core.protocol.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bundle proves. Only `verify` makes one."""

    terms: Terms
    messages: tuple[Verified[Message], ...]
    checkpoints: tuple[Verified[Checkpoint], ...]
    findings: Findings

    @property
    def proved(self) -> tuple[str, ...]:
        """What is proved, in sentences."""
        return tuple(claim.sentence for claim in self.findings.proved)

    @property
    def not_shown(self) -> tuple[str, ...]:
        """Steps of a sale that this bundle says nothing about; another party's bundle may."""
        return tuple(claim.sentence for claim in self.findings.not_shown)

    def proves(self, code: str) -> bool:
        """Whether a claim is proved, by its code: `recorded`, `consented` and so on."""
        return any(claim.code == code for claim in self.findings.proved)

    def plain(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "order_number": self.terms.order_number,
            "merchant": self.terms.merchant,
            "agency": self.terms.agency,
            "amount": {"currency": self.terms.amount.currency, "minor": self.terms.amount.minor},
            "offer_hash": self.terms.offer_hash,
            "terms_hash": terms_hash(self.terms),
            "proved": {claim.code: claim.sentence for claim in self.findings.proved},
            "not_shown": {claim.code: claim.sentence for claim in self.findings.not_shown},
            "messages": [_summary(found) for found in self.messages],
            "checkpoints": [
                {
                    **_summary(found),
                    "chain": found.message.head.chain,
                    "position": found.message.head.position,
                }
                for found in self.checkpoints
            ],
        }


def _summary(found: Verified[Any]) -> dict[str, Any]:
    return {
        "name": found.message.name,
        "message_id": found.message_id,
        "issuer": found.issuer,
        "audience": found.audience,
        "kid": found.kid,
        "issued_at": found.issued_at,
        "digest": found.digest,
    }


def verify(data: bytes, trusted: Trusted) -> Report:
    """What the bundle proves to whoever trusts this approval server.

    Raises `Unproved` with the first thing wrong.
    """
    bundle = form.read(data)
    keys = open_keys(bundle.keys)
    messages = open_messages(bundle.messages, keys)
    roster = Roster(trusted)
    roster.learn(messages)
    terms = terms_of(bundle, messages)
    roster.bind(terms, messages)
    for found in messages:
        roster.check(found)
        check_about(found, terms, trusted.principal)
    check_references(messages)
    nodes = frozenset({trusted.principal, terms.agency, terms.merchant})
    checkpoints = check_chains(bundle.chains, messages, keys, roster, nodes)
    used = {found.kid for found in messages} | {found.kid for found in checkpoints}
    for kid in keys:
        if kid not in used:
            raise Unproved(f"key {kid}", "nothing in the bundle is signed with it")
    return Report(
        terms=terms, messages=messages, checkpoints=checkpoints, findings=derive(messages)
    )
