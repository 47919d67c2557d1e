"""Starts a node: migrate, open, serve, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

import sqlalchemy as sa
from pythonjsonlogger.json import JsonFormatter

from core.exchange.clock import SystemClock
from core.exchange.node import Node
from core.exchange.operator import TOKEN, kept
from core.exchange.peers import HttpCaller, Reach
from core.exchange.serving import Settings, serve
from core.storage.engine import Database, open_database
from core.storage.migrate import migrate
from core.vault.port import Vault

SWITCH_SECONDS = 0.001


class Server(Protocol):
    """What this module has to know of a party's server."""

    node: Node

    async def start(self) -> None:
        """Begin to serve."""
        ...


Build = Callable[[Database, SystemClock, HttpCaller, Vault], Server]
Operator = Callable[[Any, bytes, str], Any]


def log_to_stderr(level: str) -> None:
    """Structured logs, one JSON object a line. Nothing that is logged names a member."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "at", "levelname": "level"},
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def run(
    settings: Settings, vault: Vault, schema: sa.MetaData, build: Build, operator: Operator
) -> None:
    """Run a node until it is told to stop."""
    database = open_database(settings.database)
    migrate(database, settings.party, schema)
    # Two threads share the interpreter, the event loop and the writer: neither should wait 5 ms for
    # the other.
    sys.setswitchinterval(SWITCH_SECONDS)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    with runner:
        runner.run(_run(settings, vault, database, build, operator))


def reach_of(settings: Settings) -> Reach:
    """Where a node with these settings may call.

    Loopback only where the node itself is reached on loopback: else a party could register an
    address that makes every node call itself. A node behind a proxy on its own machine listens on
    loopback and is reached elsewhere.
    """
    reached = urlsplit(settings.endpoint).hostname or settings.listen[0]
    try:
        loopback = ip_address(reached).is_loopback
    except ValueError:
        loopback = reached == "localhost"
    return Reach(
        allowed=settings.allowed,
        loopback=loopback,
        source=settings.source,
        ca_file=settings.ca_file,
    )


async def _run(
    settings: Settings, vault: Vault, database: Database, build: Build, operator: Operator
) -> None:
    clock = SystemClock()
    caller = HttpCaller(reach_of(settings))
    server = build(database, clock, caller, vault)
    token = kept(vault, TOKEN, clock.entropy(32))
    await server.start()
    gc.collect()
    gc.freeze()
    try:
        await serve(
            settings,
            server.node.door,
            operator(server, token, settings.endpoint),
            server.node.drain,
        )
    finally:
        await server.node.stop()
        await caller.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop
