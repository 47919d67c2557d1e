"""Calls to other nodes over HTTP.

One client a node; redirects are never followed; endpoints are checked before they are called.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from socket import AddressFamily
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from core.protocol.faults import OurFault, PeerFault, fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LINES: Final = "application/surety-jws-lines"
"""Content type of requests and answers between nodes: compact JWS, one a line."""

MAX_REPLY: Final = 8 * 1024 * 1024
MAX_CHECKED: Final = 10_000
TIMEOUT_SECONDS: Final = 30.0
LONG_POLL_SECONDS: Final = 60.0

# Scheme, host and port, no user, in one spelling: two parsers that disagree are a way past a check.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
    r"(:[0-9]{1,5})?(/[!-\[\]-~]*)?\Z"
)
_NAME: Final = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}\Z")
_NUMERIC: Final = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)\Z")
# IPv6 forms of IPv4 addresses (NAT64, compatible, 6to4) would lead around the rules for those.
_UNICAST: Final = IPv6Network("2000::/3")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers`: names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def lines(self) -> list[bytes]:
        """The body's non-empty lines."""
        return [line for line in self.body.split(b"\n") if line]


class Caller(Protocol):
    """The port through which a node reaches others; tests and simulations hand in their own."""

    async def call(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        wait: bool = False,
    ) -> Answer:
        """One request.

        `wait`: a long poll. Raises `OurFault("peer_unreachable")`, `PeerFault("endpoint_refused")`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where this node may go.

    `allowed`: private networks that the operator opened, in CIDR notation.
    """

    allowed: tuple[str, ...] = ()
    loopback: bool = True
    source: str | None = None
    ca_file: Path | None = None

    def permits(self, address: str, *, secure: bool) -> bool:
        """Whether an address may be called.

        Plain HTTP reaches loopback only; private networks only where opened.
        """
        ip = ip_address(address.split("%", 1)[0])
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        opened = any(ip in ip_network(network, strict=False) for network in self.allowed)
        if ip.is_loopback:
            return self.loopback or opened
        if not secure:
            return False
        if opened:
            return True
        if isinstance(ip, IPv6Address) and (ip not in _UNICAST or ip in _SIX_TO_FOUR):
            return False
        return ip.is_global and not ip.is_multicast


class _Pinned(AbstractResolver):
    """Resolves once a connection, hands on what may be called: no second look-up to rebind."""

    def __init__(self, reach: Reach) -> None:
        self._inner = ThreadedResolver()
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        # Plain HTTP was held to loopback before; what is resolved here is called over TLS.
        may = [entry for entry in found if self._reach.permits(entry["host"], secure=True)]
        if not may:
            raise OSError(f"{host} stands for no address that may be called")
        return may

    async def close(self) -> None:
        await self._inner.close()


def check_endpoint(url: str, reach: Reach) -> None:
    """Raises `PeerFault("endpoint_refused")` for a URL that this node must not call."""
    if not _may_call(url, reach):
        raise PeerFault(fault("endpoint_refused"), url[:80] if url.isprintable() else "")


def _may_call(url: str, reach: Reach) -> bool:
    form = _URL.match(url)
    if form is None:
        return False
    secure = form["scheme"] == "https"
    host = form["host"].lower()
    try:
        return reach.permits(host.strip("[]"), secure=secure)
    except ValueError:
        if host == "localhost":
            return reach.loopback
        # The resolver checks what a name stands for; 0x7f.1 and 2130706433 are no names.
        return secure and _NAME.match(host) is not None and _NUMERIC.search(host) is None


class HttpCaller:
    """`Caller` over aiohttp. `reach.source`: the local address to call from."""

    def __init__(self, reach: Reach, *, connections: int = 100) -> None:
        self._reach = reach
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._checked: set[str] = set()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            secure: ssl.SSLContext | bool = True
            if self._reach.ca_file is not None:
                secure = ssl.create_default_context(cafile=str(self._reach.ca_file))
            connector = aiohttp.TCPConnector(
                limit=self._connections,
                resolver=_Pinned(self._reach),
                ssl=secure,
                local_addr=(self._reach.source, 0) if self._reach.source else None,
                keepalive_timeout=50,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    async def call(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        wait: bool = False,
    ) -> Answer:
        """One request; see `Caller.call`."""
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._checked:
            check_endpoint(url, self._reach)
            if len(self._checked) >= MAX_CHECKED:
                self._checked.clear()
            self._checked.add(origin)
        timeout = aiohttp.ClientTimeout(
            total=LONG_POLL_SECONDS if wait else TIMEOUT_SECONDS, connect=5
        )
        try:
            async with self._open().request(
                method,
                url,
                data=body or None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                content = await _all(response)
                return Answer(
                    response.status, content, {k.lower(): v for k, v in response.headers.items()}
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise OurFault(fault("peer_unreachable"), type(error).__name__) from error

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _all(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_REPLY:
            raise PeerFault(fault("too_large"), "the answer")
        parts.append(part)
    return b"".join(parts)


async def post_lines(
    caller: Caller, endpoint: str, lines: Sequence[bytes], headers: Mapping[str, str] | None = None
) -> Answer:
    """Bring signed messages to a node's `/messages`."""
    sent: dict[str, Any] = {"Content-Type": LINES, **(headers or {})}
    return await caller.call("POST", f"{endpoint}/messages", b"\n".join(lines), sent)
