"""The merchant's node, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from core.exchange.directory import Contact, Directory, Trust
from core.exchange.door import Request, Response
from core.exchange.health import add_health
from core.exchange.node import Node
from core.exchange.peers import LINES
from core.exchange.receiving import Handler, by
from core.licensee.licensee import Licensee
from core.merchant.books import IDEMPOTENCY, METADATA, OFFERS, idempotency
from core.merchant.discovery import pull, push
from core.merchant.orders import Orders, Wishes
from core.merchant.sales import AT_ONCE, Sales
from core.protocol.control import Refusal
from core.protocol.discovery import AgencyFound, AnonymousIdIntroduction, AnonymousIdPresented
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import kind_of
from core.protocol.purchase import (
    CompletionReport,
    StateQuery,
    Verification,
    VerificationFailed,
    VerificationPending,
)
from core.protocol.standing import DirectoryPush, InformationChange, InformationChanged

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.exchange.peers import Caller
    from core.exchange.tables import Waiting
    from core.exchange.turn import Turn
    from core.licensee.licensee import Profile
    from core.protocol.envelope import Unopened, Verified
    from core.protocol.message import Message
    from core.storage.engine import Database
    from core.storage.unit import Unit
    from core.vault.port import Vault

log = logging.getLogger(__name__)
TICK_SECONDS: Final = 1.0
PURGE_SECONDS: Final = 600.0
KEY_SECONDS: Final = 7 * 86_400
"""How long an Idempotency-Key is remembered."""

_OLD_KEYS = (
    sa.select(idempotency.c.key).where(idempotency.c.created_at < sa.bindparam("old")).limit(1000)
)
PULL_SECONDS: Final = 60.0


class MerchantServer:
    """What a merchant does with each message, who may send it, and what happens by time."""

    schema = METADATA

    def __init__(  # noqa: PLR0913, PLR0917 - a node's ports, and what its operator chose
        self,
        database: Database,
        clock: Clock,
        caller: Caller,
        vault: Vault,
        trust: Trust,
        wishes: Wishes,
        *,
        proxies: tuple[str, ...] = (),
    ) -> None:
        self.node = Node(database, clock, caller, Directory(), proxies=proxies)
        self.licensee = Licensee(self.node, vault, "merchant", trust)
        self.wishes = wishes
        self.orders = Orders(self.node.directory, trust.principal, wishes)
        self.sales = Sales(self.orders, trust.principal)
        self._trust = trust
        approval = by("approval")
        self.handlers: dict[type[Message], Handler] = {
            **self.licensee.handlers(),
            DirectoryPush: Handler(
                lambda turn, got: push.pushed(turn, self.node.directory, got), approval
            ),
            AnonymousIdIntroduction: Handler(self.orders.introduced, by("agency")),
            AnonymousIdPresented: Handler(self.orders.presented, by("order-key")),
            AgencyFound: Handler(self.orders.found, approval, asked=True),
            CompletionReport: Handler(self.sales.completed, by("agency")),
            Verification: Handler(self.sales.verified, approval),
            VerificationPending: Handler(self.sales.pending, approval, asked=True),
            VerificationFailed: Handler(self.sales.failed, approval),
            StateQuery: Handler(self.sales.state, by("agency", "approval")),
            Refusal: Handler(self.sales.refused, by("agency", "approval"), asked=True),
        }
        self.node.serve(self)

    async def start(self) -> None:
        """Open the books, be who this installation is, begin to serve."""
        self.node.open()
        await self.node.writer.submit(self.licensee.load)
        self.node.door.add("GET", "/offers/", self._offer)
        add_health(self.node, self.wrong)
        await self.node.start()
        self.licensee.start()
        self.node.every(TICK_SECONDS, self._tick)
        self.node.every(PURGE_SECONDS, lambda: self.node.writer.submit(forget_keys))
        if self.wishes.discovery == "pull":
            # Often enough that what is kept does not go stale between two rounds.
            self.node.every(min(PULL_SECONDS, self.wishes.fresh_seconds / 2), self.refresh)

    def wrong(self) -> list[str]:
        """What keeps this merchant from selling, in words that say what to do."""
        wrong = self.licensee.wrong()
        if (
            not wrong
            and self.wishes.discovery != "lookup"
            and not self.node.directory.knows("agency")
        ):
            wrong.append(
                "No agency is known yet: the directory has not come; "
                "check that approval can be reached."
            )
        return wrong

    async def register(self, serial: str, profile: Profile) -> str:
        """Exchange a serial number for a license."""
        party = await self.licensee.register(serial, profile, discovery=self.wishes.discovery)
        if self.wishes.discovery == "pull":
            await self.refresh()
        return party

    async def change(self, change: InformationChange) -> InformationChanged:
        """Report a change of this merchant's information (claim 6)."""
        return await self.licensee.change(change)

    async def refresh(self) -> None:
        """Pull the directory now (claim 19)."""
        if self.licensee.party is not None:
            pulled = await pull.pull(self.node, self._trust)
            if pulled.missing:
                log.warning("agencies not fetched", extra={"missing": pulled.missing})

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:
        """A sender's key: known, or asked at approval."""
        return await self.licensee.find(kid, unopened)

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        """An agency must call from its registered address (claim 9). Buyers come from anywhere."""
        if kind_of(received.issuer) == "agency":
            self.licensee.check_address(turn, received)

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        """Nothing hangs on a receipt here."""

    async def _tick(self) -> None:
        while self.licensee.party and await self.node.work(self.sales.expire) == AT_ONCE:
            continue

    async def _offer(self, request: Request) -> Response:
        def read(turn: Turn) -> bytes:
            row = turn.unit.get(OFFERS, request.rest)
            if row is None:
                raise PeerFault(fault("offer_unknown"))
            return row.raw + b"\n" + (turn.setting("guarantee") or "").encode("ascii")

        return Response(200, await self.node.work(read), LINES)


def forget_keys(unit: Unit) -> None:
    """Forget Idempotency-Keys that are older than a week."""
    for (key,) in unit.query(_OLD_KEYS, old=unit.now // 1000 - KEY_SECONDS):
        unit.remove(IDEMPOTENCY, key)
