"""Lookup (claim 1): approval is asked, for each anonymous ID, which agency stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.merchant.discovery.known import KnownAgency, by_party
from core.protocol.discovery import AgencyFound, AgencySearch
from core.protocol.faults import PeerFault, fault

if TYPE_CHECKING:
    from core.exchange.directory import Directory
    from core.exchange.turn import Turn
    from core.merchant.rows import OrderRow
    from core.protocol.envelope import Verified


def search(turn: Turn, order: OrderRow, approval: str) -> None:
    """Ask approval (row 3)."""
    message = AgencySearch(anonymous_id=order.anonymous_id or "", offer_hash=order.offer_hash)
    turn.send(message, approval, order.deadline or turn.now)


def found(
    turn: Turn, directory: Directory, order: OrderRow, received: Verified[AgencyFound]
) -> KnownAgency:
    """Approval's answer: the agency, which must be the one that introduced the buyer.

    Raises `guarantee_invalid`.
    """
    message = received.message
    directory.learn(turn.unit, message.guarantee, turn.now)
    if message.anonymous_id_digest != order.anonymous_id_digest or message.agency != order.agency:
        raise PeerFault(
            fault("guarantee_invalid"), "another agency than the one that introduced the buyer"
        )
    return by_party(turn, directory, message.agency)
