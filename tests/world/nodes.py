"""Real nodes: processes on loopback addresses of their own, driven from tests over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from core.exchange.operator_client import OperatorClient, bearer
from core.protocol.keys import PublicKey
from core.sandbox.network import Discovery, Maker, Network, Plan, free_port
from core.sandbox.process import NodeProcess
from core.vault.choose import open_vault
from tests.world.written import Written


def _run(work: Coroutine[Any, Any, object]) -> None:
    # In a thread: a test may have an event loop of its own running.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


FRESH = {"lookup": 86_400, "push": 86_400, "pull": 4}
"""Seconds after which a guarantee is stale; who pulls does so twice as often."""

LINES = [{"sku": "T-1", "description": "Tea", "quantity": 2, "unit_price": "6.25"}]
TOTAL = 1250
"""What `LINES` cost, in pence."""


@dataclass(frozen=True, slots=True)
class Place:
    """A party as others see it: its name, its public door, its key."""

    principal: str
    url: str
    key: PublicKey


class NodeUnderTest:
    """One node process. `folder`: its database, log and key file."""

    def __init__(self, party: str, process: NodeProcess, operator: str, folder: Path) -> None:
        self.party = party
        self.process = process
        self.folder = folder
        self.written = Written(party, folder / "node.db")
        self.operator = operator

    @property
    def url(self) -> str:
        return self.process.public

    @property
    def vault(self) -> Any:
        return open_vault(f"file:{self.folder / 'secrets.json'}", self.party)

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """What the operator asks; raises the node's fault."""
        client = OperatorClient(self.operator, bearer(self.vault))
        try:
            return client.call(method, path, content)
        finally:
            client.close()

    def get(self, path: str) -> httpx.Response:
        """What anybody may read at the public door."""
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=30)

    def start(self) -> None:
        self.process.start()
        _run(self.process.ready())

    def kill(self) -> None:
        """Kill -9, by its own process ID; what is left of it is cleared away."""
        os.kill(self.process.pid, signal.SIGKILL)
        held: Any = self.process
        held._process.wait(10)
        held._close()

    def stop(self) -> None:
        _run(self.process.stop())

    def change_while_stopped(self, sql: str, *values: object) -> None:
        """What no message could do, such as let hours pass for a row; the node must be down."""
        with closing(sqlite3.connect(self.folder / "node.db")) as connection, connection:
            assert connection.execute(sql, values).rowcount > 0, sql


class Running:
    """A whole network that runs: approval, an agency, a merchant."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes = {
            party: NodeUnderTest(
                party, process, network.operators[party], network.plan.folder / party
            )
            for party, process in network.nodes.items()
        }
        self.approval = self.nodes["approval"]
        self.agency = self.nodes["agency"]
        self.merchant = self.nodes["merchant"]
        self.more: list[NodeUnderTest] = []

    @property
    def parties(self) -> dict[str, str]:
        return self.network.parties

    @property
    def trust(self) -> dict[str, Any]:
        return self.network.trust

    def place(self, party: str) -> Place:
        """A node as attackers and tests address it."""
        keys = self.nodes[party].get("/.well-known/jwks.json").json()["keys"]
        return Place(self.parties[party], self.nodes[party].url, PublicKey(keys[0]["x"]))

    def serial(self, kind: str, legal_name: str, minor: int = 10**9, currency: str = "GBP") -> str:
        """A serial number from the institution's operator."""
        caps = [{"currency": currency, "minor": minor}]
        contract = {"kind": kind, "legal_name": legal_name, "caps": caps}
        return str(self.approval.ask("POST", "/serials", contract)["serial"])

    def offer(self, lines: Any = None, **more: Any) -> dict[str, Any]:
        """An offer of the merchant's, as its shop makes it."""
        wish = {"currency": "GBP", "lines": lines or LINES, **more}
        return dict(self.merchant.ask("POST", "/offers", wish))

    def invite(self, minor: int = 10**7, **identity: str) -> dict[str, str]:
        """A new member of the agency and an invitation for a wallet."""
        wish = {
            "identity": identity or {"name": "A. Member"},
            "limit": {"currency": "GBP", "minor": minor},
        }
        return dict(self.agency.ask("POST", "/invitations", wish))

    def install(self, kind: str, host: str, *more: str, approval: str | None = None) -> Installed:
        """One more program, installed and not registered. `approval`: where it believes it is."""
        folder = self.network.plan.folder / f"{kind} {host}"
        folder.mkdir()
        trust = folder / "trust.json"
        told = self.trust if approval is None else {**self.trust, "endpoint": approval}
        trust.write_text(json.dumps(told))
        node = start_node(kind, folder, host, "--trust", str(trust), *more)
        installed = Installed(self, node, host)
        self.more.append(node)
        return installed


class Installed:
    """A program beside the network's own."""

    def __init__(self, running: Running, node: NodeUnderTest, host: str) -> None:
        self.node = node
        self.host = host
        self.legal_name = f"Installed at {host}"
        self.party = ""
        self.serial = ""
        self._running = running

    def register(self) -> str:
        """Exchange a fresh serial number for a license."""
        self.serial = self._running.serial(self.node.party, self.legal_name)
        self.party = self.node.ask(
            "POST", "/registration", {"serial": self.serial, **self.profile}
        )["party"]
        return self.party

    @property
    def profile(self) -> dict[str, Any]:
        return {
            "legal_name": self.legal_name,
            "currencies": ["GBP"],
            "endpoint": self.node.url,
            "payment_methods": ["monthly account"],
            "payout_account": f"GB11 TEST {self.host}",
            "source_networks": [f"{self.host}/32"],
        }


def start_node(kind: str, folder: Path, host: str, *more: str) -> NodeUnderTest:
    """A node process; it answers when this returns."""
    port, operator = free_port(host), free_port("127.0.0.1")
    arguments = [
        *(kind, "serve", "--database", f"sqlite:///{folder / 'node.db'}"),
        *("--listen", f"{host}:{port}", "--operator", f"127.0.0.1:{operator}", "--source", host),
        *("--vault", f"file:{folder / 'secrets.json'}", "--profile", kind),
        *(("--method", "monthly account") if kind == "agency" else ()),
        *more,
    ]
    process = NodeProcess(kind, arguments, f"http://{host}:{port}", folder / "node.log")
    node = NodeUnderTest(kind, process, f"http://127.0.0.1:{operator}", folder)
    try:
        node.start()
    except BaseException:
        node.stop()
        raise
    return node


@contextmanager
def running(folder: Path, **plan: Any) -> Generator[Running]:
    """A network of its own, for a test that breaks things."""
    network = Network(Plan(folder=folder, **plan))
    _run(network.__aenter__())
    held = Running(network)
    try:
        yield held
    finally:
        for node in held.more:
            node.stop()
        _run(network.__aexit__())


class Networks:
    """Networks that many tests share, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, str], tuple[Any, Running]] = {}

    def __call__(self, discovery: Discovery, maker: Maker = "merchant") -> Running:
        """The network of this discovery mode whose order numbers this party makes."""
        found = self._open.get((discovery, maker))
        if found is None:
            folder = self._folder / f"{discovery} {maker}"
            folder.mkdir()
            context = running(
                folder, discovery=discovery, order_numbers=maker, fresh_seconds=FRESH[discovery]
            )
            found = self._open[discovery, maker] = (context, context.__enter__())
        return found[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for context, _ in self._open.values():
            context.__exit__(None, None, None)
