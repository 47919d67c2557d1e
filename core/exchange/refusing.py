"""How a message is refused: signed where its sender is known, as a problem (RFC 9457) otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from core.exchange.turn import subject_of
from core.protocol.canonical import canonical, digest
from core.protocol.control import Refusal
from core.protocol.envelope import peek_id, unwrap
from core.protocol.faults import SuretyError
from core.protocol.names import as_text

if TYPE_CHECKING:
    from core.protocol.envelope import Verified
    from core.protocol.faults import PeerFault


def refusal(received: Verified[Any], error: PeerFault) -> Refusal:
    """What is signed and sent to whoever is refused."""
    return Refusal(
        code=error.fault.code, detail=as_text(error.detail), subject=subject_of(received.message)
    )


def problem(error: SuretyError, line: bytes) -> bytes:
    """What goes back for a line that nobody signs an answer to; `message`: the line's digest."""
    return canonical({**error.problem(), "message": digest(line)})


def digest_in(problem_line: bytes) -> str:
    """The digest of the line that a problem is about."""
    return str(msgspec.json.decode(problem_line).get("message"))


def claimed_id(line: bytes) -> list[str]:
    """The identifier that an unreadable message claims; none where even that is unreadable."""
    try:
        return [peek_id(unwrap(line))]
    except SuretyError:
        return []
