"""The demonstration: a network, a member, one purchase.

Each message as it passes, and the three books at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from core.exchange.peers import HttpCaller, Reach
from core.member.rows import PurchaseRow, PurchaseState
from core.protocol.faults import OurFault, fault
from core.sandbox.books import order_at
from core.sandbox.members import Members
from core.sandbox.network import Network, Plan
from core.sandbox.shop import Made, Shop
from core.sandbox.tail import Passed, Tail

WAIT_SECONDS: Final = 30.0
ORDER: Final[dict[str, Any]] = {
    "currency": "GBP",
    "reference": "demo-1",
    "lines": [
        {
            "sku": "LANTERN-W",
            "description": "White metal lantern",
            "quantity": 6,
            "unit_price": "3.39",
        },
        {
            "sku": "HEART-C",
            "description": "Cream heart coat hanger",
            "quantity": 8,
            "unit_price": "2.75",
        },
        {
            "sku": "CARD",
            "description": "Gift card, free of charge",
            "quantity": 1,
            "unit_price": "0",
        },
    ],
}


@dataclass(slots=True)
class Story:
    """What the demonstration came to. `books`: each party's own row of the order."""

    plan: Plan
    order_number: str = ""
    terms_hash: dict[str, str | None] = field(default_factory=dict[str, str | None])
    states: dict[str, str] = field(default_factory=dict[str, str])
    messages: list[Passed] = field(default_factory=list[Passed])
    books: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    evidence: str = ""

    def as_json(self) -> dict[str, Any]:
        """The figures, for a program."""
        return {
            "discovery": self.plan.discovery,
            "order_numbers": self.plan.order_numbers,
            "order_number": self.order_number,
            "terms_hash": self.terms_hash,
            "merchant_state": self.states.get("merchant"),
            "agency_state": self.states.get("agency"),
            "approval_state": self.states.get("approval"),
            "messages": [
                {"name": passed.name, "from": passed.sender, "to": passed.receiver}
                for passed in self.messages
            ],
            "evidence": self.evidence,
        }


class Demo:
    """Runs the story.

    `say`: called with a line for people; `saw`: with each message that passes.
    """

    def __init__(
        self, plan: Plan, say: Callable[[str], None], saw: Callable[[Passed], None]
    ) -> None:
        self.story = Story(plan)
        self._say = say
        self._saw = saw

    async def run(self) -> Story:
        """The whole of it. Raises `OurFault` where the purchase does not become a sale."""
        async with Network(self.story.plan) as network:
            self._say(f"Three nodes run and are registered; files in {self.story.plan.folder}")
            caller = HttpCaller(Reach())
            members = Members(network)
            databases = {
                party: network.database(party) for party in ("approval", "agency", "merchant")
            }
            tail = Tail(
                {**databases, "member": f"sqlite:///{members.folder / 'wallet.db'}"}, self._saw
            )
            following = asyncio.get_running_loop().create_task(tail.follow())
            try:
                async with members:
                    await self._purchase(network, members, caller)
                    await network.settle()
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                tail.read()  # what came since it looked last, in this order or in none
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                tail.close()
                await caller.close()
            self.story.messages = sorted(tail.passed)
            await self._read_books(network)
        return self.story

    async def _purchase(self, network: Network, members: Members, caller: HttpCaller) -> None:
        engine = await members.enrol("demo", caller, limit_minor=100_000)
        self._say("A member has joined the agency; the shop will not learn who it is.")
        shop = Shop(caller, network.operators["merchant"], network.bearer("merchant"))
        made: Made = await shop.offer(ORDER, "demo-1")
        self._say(f"The shop offers: {made.link}")
        engine.follow()
        purchase = await engine.look(made.link)
        self._say(
            f"The wallet shows: {purchase.merchant_name}, "
            f"{purchase.minor / 100:.2f} {purchase.currency}"
        )
        purchase = await engine.buy(purchase)
        purchase = await self._until(
            engine.until(purchase, PurchaseState.AWAIT_CONSENT), PurchaseState.AWAIT_CONSENT
        )
        self._say("The member confirms what is shown.")
        await engine.answer(purchase, "confirm")
        purchase = await self._until(engine.until(purchase), PurchaseState.RECORDED)
        self.story.order_number = purchase.order_number or ""

    async def _until(self, waiting: Awaitable[PurchaseRow], wanted: PurchaseState) -> PurchaseRow:
        purchase = await asyncio.wait_for(waiting, WAIT_SECONDS)
        if purchase.state is not wanted:
            raise OurFault(
                fault("internal"), f"the purchase is {purchase.state}: {purchase.reason}"
            )
        return purchase

    async def _read_books(self, network: Network) -> None:
        for party in ("merchant", "agency", "approval"):
            row = await asyncio.to_thread(
                order_at, party, network.database(party), self.story.order_number
            )
            self.story.books[party] = row
            self.story.states[party] = row["state"]
            self.story.terms_hash[party] = row["terms_hash"]
