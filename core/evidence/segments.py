"""Pieces of chains: each runs from a message of the order to the next signed checkpoint.

Each is proved by that checkpoint alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from core.evidence.chain import Direction, Link, extend, genesis
from core.evidence.signatures import carried, open_message
from core.evidence.unproved import Unproved, named
from core.protocol.canonical import b64url, unb64url
from core.protocol.control import Checkpoint
from core.protocol.envelope import SKEW
from core.protocol.standing import ANYONE, AgencyGuarantee, MerchantGuarantee

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.evidence.form import ChainProof, Entry, Segment
    from core.evidence.roster import Roster
    from core.protocol.envelope import Verified
    from core.protocol.keys import PublicKey
    from core.protocol.message import Message


class Heads:
    """What is known of where chains stood.

    One position has one hash: whoever signs two has forked its history.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], tuple[str, str]] = {}

    def state(self, node: str, chain: str, position: int, head: str, source: str) -> None:
        """The chain had this hash (base64url) after `position` entries, says `source`.

        Raises `Unproved` if another source said otherwise.
        """
        before, said_by = self._known.setdefault((node, chain, position), (head, source))
        if before != head:
            raise Unproved(
                f"chain {node} {chain}",
                f"position {position} has two hashes: {said_by} and {source} contradict each other",
            )

    def state_checkpoint(self, found: Verified[Checkpoint]) -> None:
        """What a node's signed checkpoint says."""
        head = found.message.head
        self.state(
            found.issuer, head.chain, head.position, head.hash, f"checkpoint {found.message_id}"
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment whose checkpoint is open."""

    proof: ChainProof
    segment: Segment
    checkpoint: Verified[Checkpoint]

    @property
    def where(self) -> str:
        """Which links, for people."""
        return f"chain {self.proof.node} {self.proof.chain}, links {self.first} to {self.last}"

    @property
    def first(self) -> int:
        """Position of the first link."""
        return self.segment.start.position

    @property
    def last(self) -> int:
        """Position of the last link."""
        return self.first + len(self.segment.links) - 1


def check_chains(
    proofs: Sequence[ChainProof],
    messages: Sequence[Verified[Message]],
    keys: Mapping[str, PublicKey],
    roster: Roster,
    nodes: frozenset[str],
) -> tuple[Verified[Checkpoint], ...]:
    """The checkpoints that prove these chains.

    Raises `Unproved` unless every chain holds and every message is in one. `nodes`: whose chains
    these may be.
    """
    _check_sorted(proofs)
    pieces = [piece for proof in proofs for piece in _open(proof, keys, roster, nodes)]
    heads = Heads()
    for piece in pieces:
        heads.state_checkpoint(piece.checkpoint)
    by_digest = {unb64url(found.digest): found for found in messages}
    covered: set[bytes] = set()
    for piece in pieces:
        _check_start(piece, heads)
        _recompute(piece)
        covered |= _cover(piece, by_digest)
    _check_disjoint(pieces)
    _check_covered(messages, covered)
    return tuple(piece.checkpoint for piece in pieces)


def _check_sorted(proofs: Sequence[ChainProof]) -> None:
    for left, right in pairwise(proofs):
        if (left.node, left.chain) >= (right.node, right.chain):
            raise Unproved(
                f"chain {right.node} {right.chain}",
                "is there twice or not in order of node and chain",
            )


def _open(
    proof: ChainProof, keys: Mapping[str, PublicKey], roster: Roster, nodes: frozenset[str]
) -> list[Piece]:
    where = f"chain {proof.node} {proof.chain}"
    if proof.node not in nodes:
        raise Unproved(where, f"{proof.node} has no part in this order")
    return [
        _open_piece(proof, segment, keys, roster, f"{where}, checkpoint of segment {number}")
        for number, segment in enumerate(proof.segments)
    ]


def _open_piece(
    proof: ChainProof, segment: Segment, keys: Mapping[str, PublicKey], roster: Roster, where: str
) -> Piece:
    found = open_message(segment.checkpoint.encode("ascii"), keys, where)
    message = found.message
    if not isinstance(message, Checkpoint):
        raise Unproved(where, f"it is a {message.name}")
    roster.check(found)
    if (found.issuer, message.head.chain) != (proof.node, proof.chain):
        raise Unproved(where, f"it is about chain {found.issuer} {message.head.chain}")
    piece = Piece(proof, segment, cast("Verified[Checkpoint]", found))
    if piece.last != message.head.position:
        raise Unproved(
            piece.where, f"the checkpoint {found.message_id} is of position {message.head.position}"
        )
    return piece


def _check_start(piece: Piece, heads: Heads) -> None:
    proof, start = piece.proof, piece.segment.start
    if start.position == 1:
        heads.state(
            proof.node,
            proof.chain,
            0,
            b64url(genesis(proof.chain)),
            "the beginning of every such chain",
        )
    heads.state(
        proof.node,
        proof.chain,
        start.position - 1,
        start.hash,
        f"the start of links {piece.first} to {piece.last}",
    )


def _recompute(piece: Piece) -> None:
    now = unb64url(piece.segment.start.hash)
    for position, entry in enumerate(piece.segment.links, piece.first):
        now = extend(now, position, link_of(entry))
    if b64url(now) != piece.checkpoint.message.head.hash:
        raise Unproved(
            piece.where, f"they do not lead to the checkpoint {piece.checkpoint.message_id}"
        )


def link_of(entry: Entry) -> Link:
    """The chain's own form of a link."""
    return Link(at=entry.at, direction=entry.direction, digest=unb64url(entry.digest))


def _check_disjoint(pieces: Sequence[Piece]) -> None:
    for left, right in pairwise(pieces):
        if left.proof is right.proof and left.last >= right.first:
            raise Unproved(
                right.where, f"overlap with or come before links {left.first} to {left.last}"
            )


def _cover(piece: Piece, by_digest: Mapping[bytes, Verified[Message]]) -> set[bytes]:
    """The digests of the order's messages in this piece."""
    covered: set[bytes] = set()
    for position, entry in enumerate(piece.segment.links, piece.first):
        digest = unb64url(entry.digest)
        found = by_digest.get(digest)
        if found is not None:
            _check_entry(
                entry,
                found,
                piece.proof.node,
                f"chain {piece.proof.node} {piece.proof.chain}, link {position}",
            )
            covered.add(digest)
    if unb64url(piece.segment.links[0].digest) not in covered:
        raise Unproved(piece.where, "they do not begin with a message of this order")
    return covered


def _check_entry(entry: Entry, found: Verified[Message], node: str, where: str) -> None:
    sent = entry.direction is Direction.SENT
    if sent and found.issuer != node:
        raise Unproved(where, f"says that {node} sent {named(found)}, which {found.issuer} issued")
    if not sent and found.audience not in {node, ANYONE}:
        raise Unproved(
            where, f"says that {node} received {named(found)}, which was for {found.audience}"
        )
    seconds = entry.at // 1000
    if seconds < found.issued_at - SKEW or (sent and seconds > found.issued_at + SKEW):
        raise Unproved(where, f"its time does not fit the time of issue of {named(found)}")


def _check_covered(messages: Sequence[Verified[Message]], covered: set[bytes]) -> None:
    # Guarantees are public and the same for every order; what a covered message carries is covered.
    inside = {
        raw for found in messages if unb64url(found.digest) in covered for _, raw in carried(found)
    }
    for found in messages:
        exempt = (
            isinstance(found.message, MerchantGuarantee | AgencyGuarantee) or found.raw in inside
        )
        if not exempt and unb64url(found.digest) not in covered:
            raise Unproved(named(found), "no chain in the bundle holds it")
