"""Pull (claim 19): the merchant fetches each agency's guarantee from the agency, on a schedule.

Approval's signed index says which agencies exist and what the digest of each guarantee is: an
agency can neither be hidden nor hand out an old guarantee, and one that approval lists no longer is
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from core.exchange.tables import GUARANTEES
from core.merchant.discovery.known import known_agencies, withdraw
from core.protocol.canonical import digest
from core.protocol.envelope import Verified, unwrap, verify_for_anyone
from core.protocol.faults import OurFault, PeerFault, SuretyError, fault
from core.protocol.standing import DirectoryEntry, DirectoryIndex

if TYPE_CHECKING:
    from core.exchange.directory import Trust
    from core.exchange.node import Node
    from core.exchange.turn import Turn


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a round brought.

    `missing`: agencies that are listed and could not be fetched, with the fault's code.
    """

    epoch: int
    agencies: int
    missing: dict[str, str]


async def pull(node: Node, trust: Trust) -> Pulled:
    """One round: index, then what is new in it.

    Raises `OurFault`, `PeerFault` where there is no good index; what is known already is kept.
    """
    index = await _index(node, trust)
    known = await node.work(_digests)
    missing: dict[str, str] = {}
    fetched: dict[str, bytes] = {}
    for entry in index.message.agencies:
        if known.get(entry.agency) == entry.guarantee_digest:
            continue
        try:
            fetched[entry.agency] = await _guarantee(node, entry)
        except SuretyError as error:
            missing[entry.agency] = error.fault.code
    await node.work(lambda turn: _keep(turn, node, index.message, fetched, missing))
    return Pulled(index.message.epoch, len(index.message.agencies), missing)


async def _index(node: Node, trust: Trust) -> Verified[DirectoryIndex]:
    answer = await node.caller.call("GET", f"{trust.endpoint}/directory")
    if answer.status != 200 or not answer.lines:  # noqa: PLR2004
        raise OurFault(fault("peer_unreachable"), f"approval's directory answered {answer.status}")
    now = node.clock.milliseconds() // 1000
    found = verify_for_anyone(unwrap(answer.lines[0]), trust.key, now=now)
    if not isinstance(found.message, DirectoryIndex) or found.issuer != trust.principal:
        raise PeerFault(fault("guarantee_invalid"), "not a directory index")
    last = await node.work(lambda turn: int(turn.setting("directory_epoch") or "0"))
    if found.message.epoch < last:
        raise PeerFault(fault("guarantee_invalid"), "the index is older than one seen before")
    return cast("Verified[DirectoryIndex]", found)


async def _guarantee(node: Node, entry: DirectoryEntry) -> bytes:
    answer = await node.caller.call("GET", f"{entry.endpoint}/guarantee")
    if answer.status != 200 or not answer.lines:  # noqa: PLR2004
        raise OurFault(fault("peer_unreachable"), f"the agency answered {answer.status}")
    if digest(answer.lines[0]) != entry.guarantee_digest:
        raise PeerFault(fault("guarantee_stale"), "not the guarantee that approval's index lists")
    return answer.lines[0]


def _digests(turn: Turn) -> dict[str, str]:
    return {row.party: digest(row.raw) for row in known_agencies(turn)}


def _keep(
    turn: Turn,
    node: Node,
    index: DirectoryIndex,
    fetched: dict[str, bytes],
    missing: dict[str, str],
) -> None:
    for raw in fetched.values():
        node.directory.learn(turn.unit, raw, turn.now)
    listed = {entry.agency for entry in index.agencies}
    for row in known_agencies(turn):
        if row.party not in listed:
            withdraw(turn, node.directory, row.party, index.epoch)
        elif row.party not in missing and row.party not in fetched:
            turn.unit.put(GUARANTEES, msgspec.structs.replace(row, confirmed_at=turn.now))
    turn.put_setting("directory_epoch", str(index.epoch))
