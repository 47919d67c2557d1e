"""The replay itself: every invoice is an order by its customer's own wallet, through real nodes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from core.exchange.peers import HttpCaller, Reach
from core.member.engine import MemberEngine
from core.member.rows import PurchaseState
from core.protocol.faults import OurFault, PeerFault, fault
from core.sandbox.books import Comparison, compare
from core.sandbox.members import Members
from core.sandbox.network import Discovery, Maker, Network, Plan
from core.sandbox.replay.invoices import Invoice, Reading
from core.sandbox.replay.leaks import needles, search
from core.sandbox.shop import Shop, patiently

log = logging.getLogger(__name__)
PARTIES: Final = ("approval", "agency", "merchant")
ENROLLING: Final = 16


@dataclass(slots=True)
class Outcome:
    """What a replay came to.

    `seconds`: from the first order to the last verified one, enrolment not counted.
    """

    purchase_invoices: int = 0
    cancellation_invoices: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    unreadable: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    comparison: Comparison = field(default_factory=Comparison)
    leaks: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    enrolment_seconds: float = 0.0
    restarts: int = 0
    failed: list[str] = field(default_factory=list[str])
    sample_order: str = ""

    def as_json(self) -> dict[str, Any]:
        """The figures, for a program."""
        found = self.comparison
        return {
            "purchase_invoices": self.purchase_invoices,
            "cancellation_invoices": self.cancellation_invoices,
            "verified": found.verified,
            "verified_minor": found.verified_minor,
            "refused": dict(sorted(self.refused.items())),
            "unreadable_rows": len(self.unreadable),
            "books_agree": found.agree,
            "identity_leaks": len(self.leaks),
            "seconds": round(self.seconds, 3),
            "purchases_per_second": round(found.verified / self.seconds, 1)
            if self.seconds
            else 0.0,
            "enrolment_seconds": round(self.enrolment_seconds, 3),
            "node_restarts": self.restarts,
            "sample_order": self.sample_order,
        }


class Replay:
    """Runs the purchase invoices of a file.

    `tick`: called after each of them, for a progress bar.
    """

    def __init__(
        self, plan: Plan, reading: Reading, concurrency: int, tick: Callable[[str], None]
    ) -> None:
        self.network = Network(plan)
        self._purchases = [invoice for invoice in reading.invoices if not invoice.cancels]
        self._concurrency = concurrency
        self._tick = tick
        self.outcome = Outcome(
            purchase_invoices=len(self._purchases),
            cancellation_invoices=len(reading.invoices) - len(self._purchases),
            unreadable=reading.refused,
        )

    async def run(self, started: Callable[[Network], None]) -> Outcome:
        """The whole of it. `started`: called once the network is up."""
        async with self.network as network:
            network.watch()
            started(network)
            shop_caller = HttpCaller(Reach())
            members = Members(network)
            try:
                async with members:
                    await self._enrol(members, shop_caller)
                    shop = Shop(
                        shop_caller, network.operators["merchant"], network.bearer("merchant")
                    )
                    begun = time.perf_counter()
                    await self._orders(members, shop)
                    self.outcome.seconds = time.perf_counter() - begun
                    await network.settle()
            finally:
                await shop_caller.close()
            self.outcome.restarts = sum(node.restarts for node in network.nodes.values())
        self._judge(members)
        return self.outcome

    async def _enrol(self, members: Members, caller: HttpCaller) -> None:
        begun = time.perf_counter()
        gate = asyncio.Semaphore(ENROLLING)
        customers = dict.fromkeys(
            invoice.customer for invoice in self._purchases if invoice.customer
        )

        async def one(customer: str) -> None:
            async with gate:
                await patiently(lambda: members.enrol(customer, caller))
            self._tick("enrolled")

        await asyncio.gather(*(one(customer) for customer in customers))
        self.outcome.enrolment_seconds = time.perf_counter() - begun

    async def _orders(self, members: Members, shop: Shop) -> None:
        if self._concurrency == 1:
            for invoice in self._purchases:
                await self._order(members, shop, invoice)
            return
        gate = asyncio.Semaphore(self._concurrency)
        last: dict[str | None, asyncio.Task[None]] = {}

        async def after(before: asyncio.Task[None] | None, invoice: Invoice) -> None:
            if before is not None:
                await before
            async with gate:
                await self._order(members, shop, invoice)

        async with asyncio.TaskGroup() as tasks:
            for invoice in self._purchases:
                # Nobody waits for the unknown customer; each known one's orders come in file order.
                before = last.get(invoice.customer) if invoice.customer else None
                last[invoice.customer] = tasks.create_task(after(before, invoice))

    async def _order(self, members: Members, shop: Shop, invoice: Invoice) -> None:
        try:
            await self._purchase(members, shop, invoice)
        except PeerFault as error:
            self.outcome.refused[error.fault.code] += 1
        except OurFault as error:
            self.outcome.failed.append(f"{invoice.number}: {error}")
            self.outcome.refused[error.fault.code] += 1
        self._tick("ordered")

    async def _purchase(self, members: Members, shop: Shop, invoice: Invoice) -> None:
        made = await shop.offer(order_of(invoice, self.network.plan.currency), invoice.number)
        if invoice.customer is None:
            stranger: MemberEngine = await patiently(members.stranger)
            await patiently(stranger.log_in)
            raise OurFault(fault("internal"), "the agency took a stranger for a member")
        engine = members.engines[invoice.customer]
        engine.follow()
        purchase = await patiently(lambda: engine.look(made.link))
        purchase = await patiently(lambda: engine.buy(purchase))
        purchase = await engine.until(purchase, PurchaseState.AWAIT_CONSENT)
        if purchase.state is PurchaseState.AWAIT_CONSENT:
            await engine.answer(purchase, "confirm")
            purchase = await engine.until(purchase)
        if purchase.state is not PurchaseState.RECORDED:
            raise PeerFault(fault(purchase.reason), invoice.number)
        self.outcome.sample_order = self.outcome.sample_order or purchase.order_number or ""

    def _judge(self, members: Members) -> None:
        network = self.network
        databases = {party: network.database(party) for party in PARTIES}
        self.outcome.comparison = compare(databases, network.parties)
        kids = [engine.row.kid for engine in members.engines.values()]
        sought = needles(members.identities.values(), kids, members.numbers.values())
        outside = ("merchant", "approval")
        self.outcome.leaks = search(
            [network.folder(party) for party in outside],
            [databases[party] for party in outside],
            sought,
        )


def order_of(invoice: Invoice, currency: str) -> dict[str, Any]:
    """The offer that the shop makes of an invoice."""
    return {
        "currency": currency,
        "reference": invoice.number,
        "lines": [
            {
                "sku": line.sku,
                "description": line.description,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
            }
            for line in invoice.lines
        ],
    }


def plan_for(folder: Path, discovery: Discovery, order_numbers: Maker) -> Plan:
    """The network that a replay runs on: the data set's currency, and ample caps."""
    return Plan(folder=folder, discovery=discovery, order_numbers=order_numbers)
