"""The node's public door: an ASGI callable with limits and deadlines, routes, RFC 9457 problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.exchange.directory import within
from core.exchange.peers import LINES
from core.exchange.receiving import Receiving
from core.exchange.turn import Arrival
from core.protocol.canonical import canonical
from core.protocol.faults import OurFault, PeerFault, SuretyError, fault

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY: Final = 1_000_000
MAX_MESSAGES: Final = 64
MAX_DIGITS: Final = 12
BODY_SECONDS: Final = 10.0
MAX_UNDER_WAY: Final = 512
MAX_WAITING: Final = 10_000
PROBLEM: Final = "application/problem+json"
_FORWARDED: Final = b"x-forwarded-for"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body read within limits.

    `rest`: what of the path follows the route's prefix.
    """

    method: str
    rest: str
    headers: dict[bytes, bytes]
    body: bytes
    address: str

    def header(self, name: bytes) -> str | None:
        """A header's value; `name` in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])


Route = Callable[[Request], Awaitable[Response]]


def problem(error: SuretyError, headers: dict[str, str] | None = None) -> Response:
    """The RFC 9457 response for a failure."""
    more = dict(headers or {})
    if error.fault.again:
        more.setdefault("Retry-After", "1")
    return Response(error.fault.status, canonical(error.problem()), PROBLEM, more)


def caller_address(peer: str, forwarded: str | None, proxies: tuple[str, ...]) -> str:
    """The caller's address: the connection's, or behind configured proxies the first before them.

    Behind a proxy it is the rightmost of the forwarded addresses that is not one itself.

    `forwarded`: the value of X-Forwarded-For. What a caller writes there itself counts for nothing.
    """
    address = peer
    hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
    while hops and within(address, proxies):
        address = hops.pop()
    return address


class Door:
    """Routes requests.

    Exact paths, and prefixes that end in a slash; each with the methods that it takes.
    """

    def __init__(self, proxies: tuple[str, ...] = ()) -> None:
        self._routes: dict[str, dict[str, Route]] = {}
        self._prefixes: list[str] = []
        self._proxies = proxies
        self._under_way = 0
        self._waiting = 0
        self._patient: set[Route] = set()
        self.requests = 0

    def add(self, method: str, path: str, route: Route, *, patient: bool = False) -> None:
        """Serve this path; one that ends in a slash takes everything below it.

        `patient`: its callers wait on purpose (long polls), and are limited by themselves.
        """
        if patient:
            self._patient.add(route)
        self._routes.setdefault(path, {})[method] = route
        if path.endswith("/") and path not in self._prefixes:
            self._prefixes.append(path)

    def add_messages(self, receiving: Receiving) -> None:
        """Serve `POST /messages`."""
        self.add("POST", "/messages", _messages(receiving))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application (HTTP only)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        self._under_way += 1
        self.requests += 1
        try:
            response = await self._respond(scope, receive)
        except SuretyError as error:
            response = problem(error)
        except Exception:
            log.exception("a request failed")
            response = problem(OurFault(fault("internal")))
        finally:
            self._under_way -= 1
        await _send(send, response)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        if self._under_way > MAX_UNDER_WAY or self._waiting > MAX_WAITING:
            raise PeerFault(fault("too_many"))
        path: str = scope["path"]
        rest = ""
        methods = self._routes.get(path)
        if methods is None:
            prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
            if prefix is None:
                raise PeerFault(fault("not_found"))
            methods, rest = self._routes[prefix], path[len(prefix) :]
        method: str = scope["method"]
        route = methods.get(method)
        if route is None:
            return problem(
                PeerFault(fault("method_not_allowed")), {"Allow": ", ".join(sorted(methods))}
            )
        headers = dict(scope["headers"])
        body = await _body(headers, receive) if method != "GET" else b""
        peer = scope["client"][0] if scope.get("client") else ""
        # Each proxy may write a line of its own: they are one list (RFC 9110, section 5.3).
        forwarded = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
        address = caller_address(peer, forwarded.decode("latin-1"), self._proxies)
        request = Request(method, rest, headers, body, address)
        if route not in self._patient:
            return await route(request)
        self._under_way -= 1
        self._waiting += 1
        try:
            return await route(request)
        finally:
            self._under_way += 1
            self._waiting -= 1


def _messages(receiving: Receiving) -> Route:
    async def route(request: Request) -> Response:
        if request.header(b"content-type") != LINES:
            raise PeerFault(fault("unsupported_media"), f"send {LINES}")
        lines = [line for line in request.body.split(b"\n") if line]
        if len(lines) > MAX_MESSAGES:
            raise PeerFault(fault("too_large"), f"at most {MAX_MESSAGES} messages in one request")
        arrival = Arrival(
            request.address, request.header(b"surety-license"), request.header(b"surety-session")
        )
        reply = await receiving.request(lines, arrival)
        return Response(200, b"\n".join(reply.lines), LINES, reply.headers)

    return route


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > MAX_DIGITS or int(declared) > MAX_BODY:
        raise PeerFault(fault("too_large"), f"at most {MAX_BODY} bytes")
    parts: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise PeerFault(fault("too_slow"), "the caller hung up")
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    raise PeerFault(fault("too_large"), f"at most {MAX_BODY} bytes")
                more = event.get("more_body", False)
    except TimeoutError as error:
        raise PeerFault(fault("too_slow")) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _send(send: Send, response: Response) -> None:
    headers = [
        (b"content-type", response.content_type.encode("ascii")),
        (b"content-length", str(len(response.body)).encode("ascii")),
    ]
    headers += [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.headers.items()
    ]
    if response.status == 408:  # noqa: PLR2004 - RFC 9110: the rest of a late body must not pass as a request
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return
