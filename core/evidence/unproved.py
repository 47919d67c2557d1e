"""Why a bundle proves nothing: the first thing that is wrong with it, by name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.protocol.faults import PeerFault

if TYPE_CHECKING:
    from collections.abc import Generator

    from core.protocol.envelope import Verified
    from core.protocol.message import Message


class Unproved(Exception):
    """The bundle does not prove what it says.

    `where`: which message, key or link; `what`: what is wrong with it.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


def named(found: Verified[Message]) -> str:
    """A message as people find it again: its type and its identifier."""
    return f"{found.message.name} {found.message_id}"


@contextmanager
def at(where: str, prefix: str = "") -> Generator[None]:
    """A fault that the protocol finds in here is this part of the bundle's."""
    try:
        yield
    except PeerFault as error:
        detail = f" ({error.detail})" if error.detail else ""
        raise Unproved(where, f"{prefix}{error.fault.title}{detail}") from error
