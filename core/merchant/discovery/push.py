"""Push (claim 10): approval sends agency guarantees unasked, and again whenever one changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.merchant.discovery.known import withdraw

if TYPE_CHECKING:
    from core.exchange.directory import Directory
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified
    from core.protocol.standing import DirectoryPush


def pushed(turn: Turn, directory: Directory, received: Verified[DirectoryPush]) -> None:
    """Keep what approval sent; the receipt that goes back is the acknowledgement.

    Raises `guarantee_invalid`.
    """
    for guarantee in received.message.guarantees:
        directory.learn(turn.unit, guarantee, turn.now)
    for party in received.message.withdrawn:
        withdraw(turn, directory, party, received.message.epoch)
