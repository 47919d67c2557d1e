"""A buyer: a real wallet in the test's own process, which calls from the members' address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from core.exchange.clock import SystemClock
from core.exchange.peers import HttpCaller, Reach
from core.member.engine import MemberEngine
from core.member.rows import PurchaseRow, PurchaseState
from core.member.wallet import Wallet
from core.storage.engine import open_database
from core.storage.migrate import migrate
from core.vault.choose import open_vault
from tests.world.puppet import MEMBER
from tests.world.written import Written

SECONDS = 30.0


class Shopper:
    """One membership of a wallet, and what is done with it."""

    def __init__(self, wallet: Wallet, engine: MemberEngine, folder: Path) -> None:
        self.wallet = wallet
        self.engine = engine
        self.folder = folder
        self.written = Written("member", folder / "wallet.db")

    @property
    def principal(self) -> str:
        return self.engine.identity.principal

    @property
    def session(self) -> dict[str, str]:
        return {"Surety-Session": self.engine.session or ""}

    async def ask_for(self, link: str) -> PurchaseRow:
        """Look at an offer and ask to buy it."""
        return await self.engine.buy(await self.engine.look(link))

    async def shown(self, link: str) -> PurchaseRow:
        """Ask to buy, and wait until the agency shows what is to be confirmed, or it has ended."""
        return await self.until(await self.ask_for(link), PurchaseState.AWAIT_CONSENT)

    async def until(self, purchase: PurchaseRow, *states: PurchaseState) -> PurchaseRow:
        async with asyncio.timeout(SECONDS):
            return await self.engine.until(purchase, *states)

    async def confirm(self, purchase: PurchaseRow) -> PurchaseRow:
        """Confirm what is shown, and wait for the end."""
        return await self.until(await self.engine.answer(purchase, "confirm"))

    async def whole(self, link: str) -> PurchaseRow:
        """A whole purchase."""
        shown = await self.shown(link)
        assert shown.state is PurchaseState.AWAIT_CONSENT, shown
        return await self.confirm(shown)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Wallet]:
    """The wallet of this folder, as its program opens it."""
    database = open_database(f"sqlite:///{folder / 'wallet.db'}")
    migrate(database, "member", Wallet.schema)
    caller = HttpCaller(Reach(source=MEMBER))
    vault = open_vault(f"file:{folder / 'wallet-secrets.json'}", "wallet")
    wallet = Wallet(database, SystemClock(), caller, vault)
    await wallet.start()
    try:
        yield wallet
    finally:
        await wallet.stop()
        await caller.close()


@asynccontextmanager
async def shopper(invitation: str, folder: Path) -> AsyncGenerator[Shopper]:
    """A new wallet that has joined an agency and collects what waits there."""
    async with opened(folder) as wallet:
        engine = await wallet.join(invitation)
        engine.follow()
        yield Shopper(wallet, engine, folder)


@asynccontextmanager
async def again(folder: Path) -> AsyncGenerator[Shopper]:
    """The same wallet, opened again."""
    async with opened(folder) as wallet:
        (engine,) = wallet.engines.values()
        engine.follow()
        yield Shopper(wallet, engine, folder)
