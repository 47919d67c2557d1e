"""What really passed between parties: the same bytes at both ends, signed by whom they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from core.protocol.envelope import Verified, unwrap, verify_as_evidence
from core.protocol.keys import PublicKey
from core.protocol.message import Message
from tests.world.nodes import Running
from tests.world.shopper import Shopper
from tests.world.written import Entry, Written

M = TypeVar("M", bound=Message)


class Trail:
    """One network's evidence. `shopper`: whose wallet is "member"."""

    def __init__(self, running: Running, shopper: Shopper | None = None) -> None:
        self.running = running
        self.shopper = shopper
        self.written: dict[str, Written] = {
            party: node.written for party, node in running.nodes.items()
        }
        if shopper is not None:
            self.written["member"] = shopper.written

    def principal(self, who: str) -> str:
        """A party's name on the wire."""
        if who == "member":
            assert self.shopper is not None
            return self.shopper.principal
        return self.running.parties.get(who, who)

    def key(self, who: str) -> PublicKey:
        """The key that a party signs with, as the others know it."""
        if who == "member":
            assert self.shopper is not None
            return self.shopper.engine.identity.key.public
        return self.running.place(who).key

    def passed(
        self,
        kind: type[M],
        sender: str,
        receiver: str,
        *,
        subject: str | None = None,
        where: Callable[[dict[str, Any]], bool] = lambda _claims: True,
        last: bool = False,
    ) -> Verified[M]:
        """The one message of this type that the sender sent and the receiver received.

        Its bytes are the same at both ends; the sender's key signed them; they name both.
        `where`: what its claims must be; `last`: of several, the latest.
        """
        sent = self._found(kind, sender, "SENT", receiver, subject, where)
        received = self._found(kind, receiver, "RECEIVED", sender, subject, where)
        if not last:
            assert len(sent) == len(received) == 1, f"{len(sent)}, {len(received)} × {kind.name}"
        assert sent, kind.name
        assert received, kind.name
        return self._same(kind, sender, receiver, sent[-1], received[-1])

    def _same(
        self, kind: type[M], sender: str, receiver: str, sent: Entry, received: Entry
    ) -> Verified[M]:
        assert sent.raw == received.raw
        found = verify_as_evidence(unwrap(sent.raw), self.key(sender))
        assert type(found.message) is kind
        assert found.issuer == self.principal(sender)
        assert found.audience == self.principal(receiver)
        return cast("Verified[M]", found)

    def position(self, at: str, found: Verified[Any]) -> int:
        """Where a message stands in a party's chain of evidence."""
        (entry,) = [entry for entry in self.written[at].entries() if entry.raw == found.raw]
        return entry.position

    def _found(
        self,
        kind: type[M],
        at: str,
        direction: str,
        other: str,
        subject: str | None,
        where: Callable[[dict[str, Any]], bool],
    ) -> list[Entry]:
        entries = self.written[at].entries(
            kind, direction=direction, counterpart=self.principal(other), subject=subject
        )
        return [entry for entry in entries if where(entry.claims)]
