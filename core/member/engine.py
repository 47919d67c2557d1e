"""One membership at work: logs in, looks, buys, collects what waits at the agency, answers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import msgspec

from core.exchange.peers import Answer, post_lines
from core.exchange.turn import Identity, Turn
from core.member.links import read_pay
from core.member.rows import PurchaseRow, PurchaseState
from core.protocol.control import Refusal
from core.protocol.envelope import Verified, unwrap, verify, verify_for_anyone
from core.protocol.faults import OurFault, PeerFault, SuretyError, fault
from core.protocol.identifiers import device
from core.protocol.keys import SigningKey
from core.protocol.membership import SessionChallenge, SessionGranted, SessionRequest
from core.protocol.message import Message
from core.protocol.standing import MerchantGuarantee
from core.protocol.terms import Offer

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.exchange.node import Node
    from core.member.purchases import Purchases
    from core.member.rows import MembershipRow
    from core.storage.unit import Unit

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)
WAIT_SECONDS: Final = 20
PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE: Final = 30.0
ENDED: Final = frozenset(
    {
        PurchaseState.RECORDED,
        PurchaseState.DECLINED,
        PurchaseState.EXPIRED,
        PurchaseState.REFUSED,
        PurchaseState.FAILED,
    }
)


class MemberEngine:
    """What a member does with one agency.

    `row`: the membership; `session`: the log-in's token, in memory only.
    """

    def __init__(self, node: Node, row: MembershipRow, seed: bytes, purchases: Purchases) -> None:
        key = SigningKey(seed)
        self.row = row
        self.identity = Identity(device(key.kid), key)
        self.session: str | None = None
        self._node = node
        self._purchases = purchases
        self._following: asyncio.Task[None] | None = None
        self._received: list[str] = []

    async def log_in(self) -> SessionGranted:
        """Answer the agency's challenge with the device key (row 1).

        Raises `PeerFault` with the agency's refusal.
        """
        answer = await self._node.caller.call("GET", f"{self.row.endpoint}/challenge")
        challenge = self._opened(answer, "anyone", SessionChallenge)
        request = SessionRequest(nonce=challenge.message.nonce)
        raw = await self._node.writer.submit(
            lambda unit: self._turn(unit).seal(request, self.row.agency, unit.now // 1000 + 60).raw
        )
        answer = await post_lines(self._node.caller, self.row.endpoint, [raw])
        granted = self._opened(answer, self.identity.principal, SessionGranted)
        self.session = answer.headers.get("surety-session")
        return granted.message

    async def look(self, link: str) -> PurchaseRow:
        """Fetch an offer and its merchant's guarantee; nothing happens yet.

        Raises what is wrong with either.
        """
        place = read_pay(link)
        answer = await self._node.caller.call("GET", f"{place.endpoint}/offers/{place.offer_id}")
        if answer.status != 200 or len(answer.lines) != 2:  # noqa: PLR2004
            raise _problem(answer)
        now = self._node.clock.milliseconds() // 1000
        guarantee: Any = self._node.directory.open(answer.lines[1], now)
        if not isinstance(guarantee.message, MerchantGuarantee):
            raise PeerFault(fault("guarantee_invalid"), "not a merchant's")
        contact = self._node.directory.by_name(guarantee.message.party)
        if contact is None or contact.key.x != guarantee.message.key:
            raw = guarantee.raw
            await self._node.writer.submit(lambda unit: self._node.directory.learn(unit, raw, now))
            contact = self._node.directory.by_name(guarantee.message.party)
        if contact is None:
            raise OurFault(fault("internal"))
        offer: Any = verify_for_anyone(unwrap(answer.lines[0]), contact.key, now=now)
        if not isinstance(offer.message, Offer) or offer.message.offer_id != place.offer_id:
            raise PeerFault(fault("offer_unknown"), "the link leads to something else")
        return await self._do(
            lambda turn: self._purchases.seen(turn, self.row.kid, offer, guarantee)
        )

    async def buy(self, purchase: PurchaseRow) -> PurchaseRow:
        """Ask for it: through the agency or with an anonymous ID, as the merchant takes it."""
        if self.session is None:
            await self.log_in()
        return await self._do(
            lambda turn: self._purchases.buy(turn, self.row.kid, purchase.offer_hash)
        )

    async def answer(
        self, purchase: PurchaseRow, decision: Literal["confirm", "decline"]
    ) -> PurchaseRow:
        """Confirm or decline what is shown."""
        return await self._do(
            lambda turn: self._purchases.answer(turn, self.row.kid, purchase.offer_hash, decision)
        )

    async def purchase(self, offer_hash: str) -> PurchaseRow:
        """How a purchase stands. Raises `order_unknown`."""
        return await self._do(lambda turn: self._purchases.get(turn, self.row.kid, offer_hash))

    async def until(self, purchase: PurchaseRow, *states: PurchaseState) -> PurchaseRow:
        """Wait until the purchase is in one of these states, or has ended."""
        wanted = ENDED | set(states)
        while True:
            change = self._purchases.changed(self.row.kid, purchase.offer_hash)
            purchase = await self.purchase(purchase.offer_hash)
            if purchase.state in wanted:
                change.cancel()
                return purchase
            purchase = await change
            if purchase.state in wanted:
                return purchase

    def follow(self) -> None:
        """Collect what waits at the agency, again and again, until `stop`."""
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Collect no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    async def collect(self, wait: float) -> int:
        """One visit to the mailbox, after logging in where that is needed.

        Returns how many messages there were.
        """
        if self.session is None:
            await self.log_in()
        body = msgspec.json.encode({"received": self._received, "wait": wait})
        headers = {"Surety-Session": self.session or "", "Content-Type": "application/json"}
        answer = await self._node.caller.call(
            "POST", f"{self.row.endpoint}/mailbox", body, headers, wait=True
        )
        if answer.status == 401:  # noqa: PLR2004 - the session is over
            self.session = None
            return 0
        if answer.status != 200:  # noqa: PLR2004
            raise _problem(answer)
        self._received = []
        if answer.lines:
            self._received = await self._node.receiving.collected(answer.lines)
        return len(answer.lines)

    async def _follow(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            try:
                await self.collect(WAIT_SECONDS)
                pause = PAUSE_SECONDS
            except SuretyError as error:
                log.info("not collected", extra={"code": error.fault.code})
                await self._node.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _do(self, do: Callable[[Turn], PurchaseRow]) -> PurchaseRow:
        return await self._node.writer.submit(lambda unit: do(self._turn(unit)))

    def _turn(self, unit: Unit) -> Turn:
        return Turn(unit, self.identity, self._node.clock, self._node.outbox.dispatch)

    def _opened(self, answer: Answer, audience: str, kind: type[M]) -> Verified[M]:
        if answer.status != 200 or not answer.lines:  # noqa: PLR2004
            raise _problem(answer)
        line = answer.lines[0]
        if line.startswith(b"{"):
            raise PeerFault(fault(str(msgspec.json.decode(line).get("code"))))
        agency = self._node.directory.by_name(self.row.agency)
        if agency is None:
            raise PeerFault(fault("party_unknown"), self.row.agency)
        now = self._node.clock.milliseconds() // 1000
        found = verify(unwrap(line), agency.key, audience=audience, now=now)
        if isinstance(found.message, Refusal):
            raise PeerFault(fault(found.message.code), found.message.detail)
        if not isinstance(found.message, kind):
            raise PeerFault(fault("unknown_type"), found.message.name)
        return cast("Verified[M]", found)


def _problem(answer: Answer) -> SuretyError:
    try:
        code = str(msgspec.json.decode(answer.body)["code"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return OurFault(fault("peer_unreachable"), f"status {answer.status}")
    return PeerFault(fault(code))
