"""Guarantees and the directory: approval's signed word on who a party is (rows 3, 3', 3'', 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import sqlalchemy as sa

from core.approval.books import PARTIES, parties
from core.approval.rows import PartyRow, Standing
from core.protocol.canonical import digest
from core.protocol.standing import (
    AgencyGuarantee,
    DirectoryEntry,
    DirectoryIndex,
    DirectoryPush,
    Guarantee,
    MerchantGuarantee,
)

if TYPE_CHECKING:
    from core.exchange.turn import Turn

GUARANTEE_SECONDS: Final = 86_400
INDEX_SECONDS: Final = 3600
PUSH_AT_ONCE: Final = 64
_ACTIVE_AGENCIES = sa.select(parties).where(
    parties.c.kind == "agency", parties.c.state == Standing.ACTIVE.value
)
_PUSHED_TO = sa.select(parties.c.party).where(
    parties.c.kind == "merchant",
    parties.c.discovery == "push",
    parties.c.state == Standing.ACTIVE.value,
)


def next_epoch(turn: Turn) -> int:
    """The directory moves on: every change of a party has an epoch of its own."""
    epoch = int(turn.setting("epoch") or "0") + 1
    turn.put_setting("epoch", str(epoch))
    return epoch


def statement(row: PartyRow) -> Guarantee:
    """What approval guarantees of a party: nothing that is private."""
    networks = tuple(msgspec.json.decode(row.source_networks))
    methods = tuple(msgspec.json.decode(row.payment_methods))
    currencies = tuple(msgspec.json.decode(row.currencies))
    if row.kind == "agency":
        return AgencyGuarantee(
            currencies=currencies,
            endpoint=row.endpoint,
            epoch=row.epoch,
            key=row.key,
            legal_name=row.legal_name,
            party=row.party,
            payment_methods=methods,
            routing_code=row.routing_code or "",
            sealing_key=row.sealing_key or "",
            source_networks=networks,
        )
    return MerchantGuarantee(
        currencies=currencies,
        endpoint=row.endpoint,
        epoch=row.epoch,
        key=row.key,
        legal_name=row.legal_name,
        party=row.party,
        payment_methods=methods,
        source_networks=networks,
    )


def issue(turn: Turn, row: PartyRow) -> PartyRow:
    """Sign the party's guarantee anew; returns the row that holds it."""
    until = turn.now + GUARANTEE_SECONDS
    sealed = turn.state(statement(row), until)
    row = msgspec.structs.replace(row, guarantee=sealed.raw, guarantee_until=until)
    turn.unit.put(PARTIES, row)
    return row


def current(turn: Turn, row: PartyRow) -> str:
    """The party's guarantee with at least half of its life before it.

    Signed anew, and pushed, where needed.
    """
    if row.guarantee_until < turn.now + GUARANTEE_SECONDS // 2:
        row = issue(turn, row)
        push_change(turn, row)
    return row.guarantee.decode("ascii")


def push_change(turn: Turn, row: PartyRow) -> None:
    """Tell every merchant that wants pushes what became of an agency (claim 10).

    And the agency, which hands its guarantee out itself.
    """
    if row.kind != "agency":
        return
    active = row.state is Standing.ACTIVE
    message = DirectoryPush(
        epoch=row.epoch,
        guarantees=(row.guarantee.decode("ascii"),) if active else (),
        withdrawn=() if active else (row.party,),
    )
    told = [merchant for (merchant,) in turn.unit.query(_PUSHED_TO)]
    for party in [*told, row.party] if active else told:
        turn.send(message, party, turn.now + DirectoryPush.lifetime)


def push_all(turn: Turn, merchant: PartyRow) -> None:
    """Give a merchant that has just asked for pushes the agencies that there are."""
    if merchant.discovery != "push" or merchant.state is not Standing.ACTIVE:
        return
    rows = [PARTIES.load(values) for values in turn.unit.query(_ACTIVE_AGENCIES)]
    epoch = int(turn.setting("epoch") or "0")
    for at in range(0, len(rows), PUSH_AT_ONCE):
        held = tuple(current(turn, row) for row in rows[at : at + PUSH_AT_ONCE])
        message = DirectoryPush(epoch=epoch, guarantees=held, withdrawn=())
        turn.send(message, merchant.party, turn.now + DirectoryPush.lifetime)


def index(turn: Turn) -> bytes:
    """The signed index of all active agencies (claim 19). Exact bytes."""
    entries: list[DirectoryEntry] = []
    for values in turn.unit.query(_ACTIVE_AGENCIES.order_by(parties.c.party)):
        row = PARTIES.load(values)
        held = current(turn, row)
        entries.append(
            DirectoryEntry(
                agency=row.party,
                endpoint=row.endpoint,
                epoch=row.epoch,
                guarantee_digest=digest(held.encode("ascii")),
                routing_code=row.routing_code or "",
            )
        )
    message = DirectoryIndex(agencies=tuple(entries), epoch=int(turn.setting("epoch") or "0"))
    return turn.state(message, turn.now + INDEX_SECONDS).raw
