"""Members of the sandbox's agency: invited by its operator, each with a wallet engine."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from core.exchange.clock import SystemClock
from core.exchange.peers import HttpCaller, Reach
from core.member.engine import MemberEngine
from core.member.rows import MembershipRow
from core.member.wallet import Wallet
from core.protocol.keys import SigningKey
from core.sandbox.network import WALLET, Network
from core.storage.engine import open_database
from core.storage.migrate import migrate
from core.vault.choose import open_vault

if TYPE_CHECKING:
    from core.exchange.peers import Caller

MARK: Final = "Zephyrine"
"""Stands in every name and address that the sandbox makes up, and nowhere else in the world."""
LIMIT_MINOR: Final = 10**12
_SPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def identity_of(customer: str) -> dict[str, str]:
    """An identity made from a customer's number: UUID, name and address.

    Unmistakable in any file.
    """
    number = str(uuid.uuid5(_SPACE, f"surety sandbox customer {customer}"))
    return {
        "uuid": number,
        "name": f"{MARK} Q. Member-{number[:8]}",
        "address": f"{int(number[:4], 16)} {MARK} Lane, Testerton {number[9:13].upper()}",
    }


class Members:
    """All members' wallet engines, in one wallet store. Use as an asynchronous context manager."""

    def __init__(self, network: Network) -> None:
        folder = network.plan.folder / "wallets"
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.identities: dict[str, dict[str, str]] = {}
        self.numbers: dict[str, str] = {}
        self.engines: dict[str, MemberEngine] = {}
        self.caller = HttpCaller(Reach(source=WALLET), connections=0)
        self._network = network
        database = open_database(f"sqlite:///{folder / 'wallet.db'}")
        migrate(database, "member", Wallet.schema)
        vault = open_vault(f"file:{folder / 'secrets.json'}", "wallets")
        self.wallet = Wallet(database, SystemClock(), self.caller, vault)

    async def __aenter__(self) -> Self:
        """Open the store."""
        await self.wallet.start()
        return self

    async def __aexit__(self, *_details: object) -> None:
        """Stop every engine, close the store."""
        await self.wallet.stop()
        await self.caller.close()

    async def enrol(
        self, customer: str, operator: Caller, limit_minor: int = LIMIT_MINOR
    ) -> MemberEngine:
        """Invite this customer, and let his wallet join."""
        identity = identity_of(customer)
        network = self._network
        answer = await operator.call(
            "POST",
            f"{network.operators['agency']}/invitations",
            msgspec.json.encode(
                {
                    "identity": identity,
                    "limit": {"currency": network.plan.currency, "minor": limit_minor},
                }
            ),
            {**network.bearer("agency"), "Content-Type": "application/json"},
        )
        made = msgspec.json.decode(answer.body)
        engine = await self.wallet.join(made["invitation"])
        self.identities[customer] = identity
        self.numbers[customer] = made["member"]
        self.engines[customer] = engine
        return engine

    async def stranger(self) -> MemberEngine:
        """Somebody who has a wallet and has joined no agency, which has to tell him so."""
        agency = self._network.nodes["agency"].public
        answer = await self.caller.call("GET", f"{agency}/guarantee")
        wallet = self.wallet
        trust = self._network.trust
        wallet.trust_in(trust["approval"], trust["keys"][0]["x"])
        now = wallet.node.clock.milliseconds() // 1000
        raw = answer.lines[0]
        found: Any = await wallet.node.writer.submit(
            lambda unit: wallet.node.directory.learn(unit, raw, now)
        )
        seed = wallet.node.clock.entropy(32)
        row = MembershipRow(
            kid=SigningKey(seed).kid,
            agency=found.message.party,
            endpoint=agency,
            legal_name=found.message.legal_name,
            sealing_key=found.message.sealing_key,
            routing_code=found.message.routing_code,
            currency=self._network.plan.currency,
            limit_minor=0,
            joined_at=now,
        )
        return MemberEngine(wallet.node, row, seed, wallet.purchases)


def new_folder(path: Path) -> Path:
    """An empty folder of this name; what an earlier run left there is gone."""
    import shutil  # noqa: PLC0415

    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
