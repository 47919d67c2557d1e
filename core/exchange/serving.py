"""Runs a node's doors: TLS from files, plain HTTP on loopback only, a graceful stop on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import uvicorn

from core.protocol.faults import OurFault, fault

KEEP_ALIVE_SECONDS: Final = 75
STOP_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a node runs.

    Addresses are `(host, port)`; `vault`: "keyring" or "file:/path", never chosen silently.
    """

    party: str
    database: str
    listen: tuple[str, int]
    operator: tuple[str, int]
    vault: str
    profile: str
    endpoint: str = ""
    source: str | None = None
    trust_file: Path | None = None
    proxies: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    ca_file: Path | None = None
    follow_stdin: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


class _Server(uvicorn.Server):
    """A server that leaves signals to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def check_listen(settings: Settings) -> None:
    """Raises `OurFault` for a plain-HTTP door that others than this machine could reach."""
    loopback = [ip_address(host).is_loopback for host, _ in (settings.listen, settings.operator)]
    if not loopback[1]:
        raise OurFault(
            fault("insecure_door"), "the operator's door opens on a loopback address only"
        )
    if not loopback[0] and settings.certificate is None:
        raise OurFault(
            fault("insecure_door"),
            "plain HTTP opens on a loopback address only; give --certificate and --private-key",
        )


def bind(address: tuple[str, int]) -> socket.socket:
    """A listening socket. Raises `OurFault` naming the address that is taken."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OurFault(
            fault("internal"), f"cannot listen on {address[0]}:{address[1]}: {error.strerror}"
        ) from error
    sock.set_inheritable(True)
    return sock


async def serve(
    settings: Settings,
    door: Any,  # noqa: ANN401 - an ASGI application
    operator: Any,  # noqa: ANN401 - another
    before_stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve both doors until SIGTERM or SIGINT.

    With `follow_stdin` also until standard input closes.
    """
    check_listen(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = await _when_stdin_closes(stop) if settings.follow_stdin else None
    servers = [
        _Server(_config(settings, door, settings.listen, secure=settings.certificate is not None)),
        _Server(_config(settings, operator, settings.operator, secure=False)),
    ]
    sockets = [bind(settings.listen), bind(settings.operator)]
    running = [
        asyncio.create_task(server.serve(sockets=[sock]))
        for server, sock in zip(servers, sockets, strict=True)
    ]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
    await before_stop()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)
    stopped.cancel()
    if watching is not None:
        watching.cancel()


def _config(
    settings: Settings,
    app: Any,  # noqa: ANN401 - an ASGI application
    address: tuple[str, int],
    *,
    secure: bool,
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=address[0],
        port=address[1],
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=1024,
        ssl_certfile=str(settings.certificate) if secure else None,
        ssl_keyfile=str(settings.private_key) if secure and settings.private_key else None,
    )


async def _when_stdin_closes(stop: asyncio.Event) -> asyncio.Task[None]:
    # Whoever started this node keeps its standard input open: the node ends with it, even if it
    # is killed.
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def wait() -> None:
        while await reader.read(1024):
            pass
        stop.set()

    return loop.create_task(wait())
