"""A whole network on one machine: approval, one agency, one merchant.

Each is a process on a loopback address of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from core.exchange.operator_client import OperatorClient, bearer
from core.sandbox.process import NodeProcess
from core.vault.choose import open_vault

APPROVAL, AGENCY, MERCHANT, WALLET = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
_HOSTS: Final = {"approval": APPROVAL, "agency": AGENCY, "merchant": MERCHANT}
Discovery = Literal["lookup", "push", "pull"]
Maker = Literal["merchant", "agency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the network is to be like.

    `folder`: where databases, logs and keys go; `cap_minor`: the agency's cap, in minor units;
    `databases`: URLs by party, where they are not to be SQLite files in the folder.
    """

    folder: Path
    discovery: Discovery = "lookup"
    order_numbers: Maker = "merchant"
    currency: str = "GBP"
    cap_minor: int = 10**12
    fresh_seconds: int = 86_400
    databases: dict[str, str] | None = None


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


class Network:
    """Three node processes.

    Use as an asynchronous context manager; all of them are registered and ready inside.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parties: dict[str, str] = {}
        self.nodes: dict[str, NodeProcess] = {}
        self.operators: dict[str, str] = {}
        self.trust: dict[str, Any] = {}

    @property
    def trust_file(self) -> Path:
        """The trust file of this network."""
        return self.plan.folder / "trust.json"

    def database(self, party: str) -> str:
        """The URL of a node's database."""
        given = (self.plan.databases or {}).get(party)
        return given or f"sqlite:///{self.plan.folder / party / 'node.db'}"

    def folder(self, party: str) -> Path:
        """Where a node keeps its files."""
        return self.plan.folder / party

    def client(self, party: str) -> OperatorClient:
        """A client of a node's operator API."""
        return OperatorClient(self.operators[party], self.bearer(party))

    def bearer(self, party: str) -> dict[str, str]:
        """The authorization header of a node's operator."""
        return bearer(open_vault(self._vault(party), party))

    async def __aenter__(self) -> Self:
        """Start and register everything."""
        try:
            await self._start_approval()
            await asyncio.gather(self._start("agency"), self._start("merchant"))
            await self._register()
            await asyncio.gather(*(node.serving() for node in self.nodes.values()))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_details: object) -> None:
        """Stop everything."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))

    def watch(self) -> None:
        """Start again whichever node dies."""
        for node in self.nodes.values():
            node.watch()

    async def settle(self, seconds: float = 30.0) -> None:
        """Wait until no node has anything left to send."""
        quiet = 0
        deadline = asyncio.get_running_loop().time() + seconds
        while quiet < 2 and asyncio.get_running_loop().time() < deadline:  # noqa: PLR2004 - twice, to be sure
            queued = await asyncio.to_thread(self._queued)
            quiet = quiet + 1 if queued == 0 else 0
            await asyncio.sleep(0.2)

    def _queued(self) -> int:
        total = 0
        for party in _HOSTS:
            client = self.client(party)
            try:
                total += int(client.call("GET", "/status")["queued"])
            finally:
                client.close()
        return total

    def _vault(self, party: str) -> str:
        return f"file:{self.folder(party) / 'secrets.json'}"

    async def _start_approval(self) -> None:
        await self._start("approval")
        client = self.client("approval")
        try:
            self.trust = await asyncio.to_thread(client.call, "GET", "/trust")
        finally:
            client.close()
        self.parties["approval"] = self.trust["approval"]
        self.trust_file.write_text(json.dumps(self.trust, indent=2) + "\n")

    async def _start(self, party: str) -> None:
        host = _HOSTS[party]
        self.folder(party).mkdir(parents=True, exist_ok=True)
        port, operator = free_port(host), free_port("127.0.0.1")
        public = f"http://{host}:{port}"
        arguments = [
            *(party, "serve", "--database", self.database(party), "--listen", f"{host}:{port}"),
            *("--operator", f"127.0.0.1:{operator}", "--source", host),
            *("--vault", self._vault(party), "--profile", party),
            *self._more(party),
        ]
        node = NodeProcess(party, arguments, public, self.folder(party) / "node.log")
        self.nodes[party] = node
        self.operators[party] = f"http://127.0.0.1:{operator}"
        node.start()
        await node.ready()

    def _more(self, party: str) -> list[str]:
        if party == "approval":
            return []
        trust = ["--trust", str(self.trust_file)]
        if party == "agency":
            return [*trust, "--method", "monthly account"]
        plan = self.plan
        return [
            *trust,
            *("--discovery", plan.discovery, "--order-numbers", plan.order_numbers),
            *("--fresh-seconds", str(plan.fresh_seconds)),
        ]

    async def _register(self) -> None:
        names = {"agency": "Beacon Settlement Ltd", "merchant": "Lantern & Heart Gifts Ltd"}
        for party, name in names.items():
            self.parties[party] = await asyncio.to_thread(self._register_one, party, name)

    def _register_one(self, party: str, name: str) -> str:
        plan = self.plan
        approval, client = self.client("approval"), self.client(party)
        try:
            caps = [{"currency": plan.currency, "minor": plan.cap_minor}]
            contract = {"kind": party, "legal_name": name, "caps": caps}
            serial = approval.call("POST", "/serials", contract)["serial"]
            answer = client.call(
                "POST",
                "/registration",
                {
                    "serial": serial,
                    "legal_name": name,
                    "currencies": [plan.currency],
                    "endpoint": self.nodes[party].public,
                    "payment_methods": ["monthly account"],
                    "payout_account": f"GB00 SAND BOX0 0000 {party}",
                    "source_networks": [f"{_HOSTS[party]}/32"],
                },
            )
            return str(answer["party"])
        finally:
            approval.close()
            client.close()
