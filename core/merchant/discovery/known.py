"""The merchant's own database of agency guarantees, and how fresh they must be (claim 19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from core.exchange.directory import Directory
from core.exchange.tables import GUARANTEES, KnownGuarantee, guarantees
from core.protocol.faults import PeerFault, fault
from core.protocol.standing import AgencyGuarantee

if TYPE_CHECKING:
    from core.exchange.turn import Turn

_BY_CODE = sa.select(guarantees).where(guarantees.c.routing_code == sa.bindparam("code"))
_AGENCIES = sa.select(guarantees).where(guarantees.c.kind == "agency", guarantees.c.withdrawn == 0)


@dataclass(frozen=True, slots=True)
class KnownAgency:
    """An agency that this merchant may send a billing request to.

    `digest`: of the guarantee's exact bytes.
    """

    guarantee: AgencyGuarantee
    digest: str


def by_routing_code(turn: Turn, directory: Directory, code: str, fresh_seconds: int) -> KnownAgency:
    """The agency that an anonymous ID's routing code names.

    Raises `agency_unknown`; `guarantee_stale` where the entry was last confirmed longer ago than
    `fresh_seconds`: an old directory is not trusted, it is refreshed.
    """
    rows = [GUARANTEES.load(values) for values in turn.unit.query(_BY_CODE, code=code)]
    usable = [row for row in rows if not row.withdrawn]
    if not usable:
        raise PeerFault(fault("agency_unknown"))
    return opened(turn, directory, usable[0], fresh_seconds)


def by_party(turn: Turn, directory: Directory, party: str) -> KnownAgency:
    """The agency of this name, as it was learned in this very turn or before.

    Raises `agency_unknown`.
    """
    row = turn.unit.get(GUARANTEES, party)
    if row is None or row.withdrawn:
        raise PeerFault(fault("agency_unknown"))
    return opened(turn, directory, row, None)


def opened(
    turn: Turn, directory: Directory, row: KnownGuarantee, fresh_seconds: int | None
) -> KnownAgency:
    """Check a kept guarantee again: signature, expiry, freshness."""
    if fresh_seconds is not None and row.confirmed_at + fresh_seconds < turn.now:
        raise PeerFault(fault("guarantee_stale"), row.party)
    found = directory.open(row.raw, turn.now)
    if not isinstance(found.message, AgencyGuarantee):
        raise PeerFault(fault("guarantee_invalid"), "not an agency's")
    return KnownAgency(found.message, found.digest)


def withdraw(turn: Turn, directory: Directory, party: str, epoch: int) -> None:
    """Hold an agency for guaranteed no longer since `epoch`.

    An older word than the known one is ignored.
    """
    row = turn.unit.get(GUARANTEES, party)
    if row is not None and not row.withdrawn and row.epoch < epoch:
        turn.unit.put(GUARANTEES, msgspec.structs.replace(row, withdrawn=1, epoch=epoch - 1))
        turn.unit.after(lambda: directory.forget(party))


def known_agencies(turn: Turn) -> list[KnownGuarantee]:
    """Every agency that is in the database and not withdrawn."""
    return [GUARANTEES.load(values) for values in turn.unit.query(_AGENCIES)]
