import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from core.exchange import peers
from core.exchange.peers import Answer, HttpCaller, Reach, check_endpoint, post_lines
from core.protocol.faults import OurFault, PeerFault

OPEN = Reach()
CLOSED = Reach(loopback=False)
INSIDE = Reach(allowed=("10.0.0.0/8", "192.168.7.5/24", "fd00::/8"), loopback=False)

_GOOD = (
    "https://approval.example",
    "https://approval.example:8443/messages",
    "https://a-b.c1.example.co",
    "https://xn--caf-dma.example",
    "HTTPS://EXAMPLE.COM".replace("HTTPS", "https"),
    "https://8.8.8.8",
    "https://8.8.8.8:1/x?y=z#w",
    "https://[2606:4700:4700::1111]/",
    "https://[2606:4700:4700::1111]:8443",
)
_LOOPBACK = (
    "http://127.0.0.1",
    "http://127.0.0.2:8080/messages",
    "http://127.255.255.254",
    "https://127.0.0.1",
    "http://localhost:80",
    "https://localhost",
    "http://LOCALHOST",
    "http://[::1]:8080",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[0:0:0:0:0:0:0:1]",
)
_INSIDE = (
    "https://10.0.0.1",
    "https://10.255.255.255:1",
    "https://192.168.7.200",
    "https://[fd00::1]",
    "https://[::ffff:10.1.2.3]",
)
_BAD = (
    # Not a URL of ours at all.
    "", "/", "//", "a", "https://", "https:///x", "https:", "https:example.com", "//example.com",
    "ftp://example.com", "file:///etc/passwd", "gopher://127.0.0.1", "ftp://localhost",
    "unix://localhost", "ws://127.0.0.1", "javascript:alert(1)", " https://example.com",
    "https://example.com ", "https://exa mple.com", "https://example.com\n", "\thttps://example.com",
    "https://example.com/\r\nHost: x", "https://example.com:abc", "https://example.com:",
    "https://[::1", "https://::1]", "https://[]", "https://[::1]x", "https://[:::]", "https://[1.1]",
    # Plain HTTP leaves the machine.
    "http://example.com", "http://8.8.8.8", "http://10.0.0.1", "http://[2606:4700:4700::1111]",
    "http://localhost.example.com", "http://127.0.0.1.nip.io",
    # Somebody before the at sign, a second reading of the host.
    "https://user@example.com", "https://user:pw@example.com", "https://example.com@127.0.0.1",
    "https://127.0.0.1@example.com", "http://localhost@8.8.8.8", "https://example.com\\@127.0.0.1",
    "https://example.com\\.evil.com", "https://example.com%2f@127.0.0.1", "https://ex%61mple.com",
    "https://127.0.0.1%00.example.com", "https://example.com?@127.0.0.1", "https://a.com#@b.com",
    # Other spellings of addresses.
    "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1", "https://0177.0.0.1",
    "https://127.1", "https://127.0.1", "https://10.1", "https://0", "https://0x0", "https://1",
    "https://169.254.43518", "https://0xa9.0xfe.0xa9.0xfe", "https://0251.0376.0251.0376",
    "https://2852039166", "https://127.0.0.1.", "https://8.8.8.8.", "https://1.2.3.4.5",
    "https://example.1", "https://example.0x10", "https://１２７.0.0.1", "https://127。0。0。1",
    "https://①②⑦.0.0.1", "https://ⓛocalhost",
    # Addresses that are nobody's, or the network's own.
    "https://0.0.0.0", "http://0.0.0.0", "https://169.254.169.254", "https://169.254.0.1",
    "https://100.64.0.1", "https://192.0.2.1", "https://198.18.0.1", "https://203.0.113.9",
    "https://224.0.0.1", "https://239.255.255.250", "https://240.0.0.1", "https://255.255.255.255",
    "https://[::]", "https://[fe80::1]", "https://[fec0::1]", "https://[ff02::1]",
    "https://[2001:db8::1]", "https://[100::1]", "https://[4000::1]",
    # IPv4 inside IPv6: mapped, compatible, NAT64, 6to4.
    "https://[::ffff:169.254.169.254]", "https://[::ffff:a9fe:a9fe]", "https://[::ffff:172.16.0.1]",
    "https://[::127.0.0.1]", "https://[::7f00:1]", "https://[64:ff9b::a9fe:a9fe]",
    "https://[64:ff9b::127.0.0.1]", "https://[2002:7f00:1::]", "https://[2002:a9fe:a9fe::1]",
    "https://[fe80::1%25eth0]", "https://[::1%25lo]",
    # Private networks that nobody opened.
    "https://172.16.0.1", "https://172.31.255.255", "https://192.168.0.1", "https://192.168.8.1",
    "https://[fc00::1]",
    # Names without a dot, or that are no names.
    "https://intranet", "https://com", "https://-a.example.com", "https://a-.example.com",
    "https://a..example.com", "https://.example.com", "https://example.com.",
    "https://" + "a" * 64 + ".example.com", "https://" + "a." * 150 + "com", "https://ä.example",
    "https://a_b.example.com",
)  # fmt: skip


def _goes(url: str, reach: Reach) -> bool:
    try:
        check_endpoint(url, reach)
    except PeerFault:
        return False
    return True


def test_there_are_enough_cases() -> None:
    assert len(set(_GOOD + _LOOPBACK + _INSIDE + _BAD)) > 130


@pytest.mark.parametrize("url", _GOOD)
def test_public_addresses_may_be_called(url: str) -> None:
    assert [_goes(url, reach) for reach in (OPEN, CLOSED, INSIDE)] == [True] * 3


@pytest.mark.parametrize("url", _LOOPBACK)
def test_loopback_may_be_called_where_it_is_open(url: str) -> None:
    assert [_goes(url, reach) for reach in (OPEN, CLOSED, INSIDE)] == [True, False, False]


@pytest.mark.parametrize("url", _INSIDE)
def test_private_networks_may_be_called_where_they_are_opened(url: str) -> None:
    assert [_goes(url, reach) for reach in (OPEN, CLOSED, INSIDE)] == [False, False, True]
    assert not _goes(url.replace("https", "http"), INSIDE)


@pytest.mark.parametrize("url", _BAD)
def test_everything_else_may_not(url: str) -> None:
    assert [_goes(url, reach) for reach in (OPEN, CLOSED, INSIDE)] == [False] * 3


def test_a_refusal_has_its_code() -> None:
    for url in ("ftp://x", "https://10.0.0.1", "\n"):
        with pytest.raises(PeerFault) as caught:
            check_endpoint(url, OPEN)
        assert caught.value.fault.code == "endpoint_refused"
        assert caught.value.detail == url.strip()


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "2606:4700::1%eth0"])
def test_addresses_that_are_resolved_may_be_public(address: str) -> None:
    assert CLOSED.permits(address, secure=True)
    assert not CLOSED.permits(address, secure=False)


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _nothing(_request: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def _server(handler: _Handler) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _caller(reach: Reach = OPEN) -> AsyncGenerator[HttpCaller]:
    caller = HttpCaller(reach)
    try:
        yield caller
    finally:
        await caller.close()


@pytest.mark.anyio
async def test_lines_go_there_and_back() -> None:
    async def echo(request: web.Request) -> web.Response:
        assert request.content_type == peers.LINES
        assert request.headers["Surety-License"] == "key"
        body = await request.read()
        return web.Response(body=body + b"\n\n" + (request.remote or "").encode(),
                            headers={"Surety-Session": "Token"})  # fmt: skip

    source = Reach(source="127.0.0.5")
    async with _server(echo) as url, _caller(source) as caller:
        answer = await post_lines(caller, url, [b"a", b"b"], {"Surety-License": "key"})

    assert answer.lines == [b"a", b"b", b"127.0.0.5"]
    assert (answer.status, answer.headers["surety-session"]) == (200, "Token")
    assert Answer(200, b"\n\n").lines == []


@pytest.mark.anyio
async def test_redirects_cookies_and_compression_are_not_followed() -> None:
    calls: list[str] = []

    async def away(request: web.Request) -> web.Response:
        calls.append(request.path)
        assert "Cookie" not in request.headers
        answer = web.Response(status=302, headers={"Location": "/inside"}, body=b"moved")
        answer.set_cookie("follow", "me")
        return answer

    async with _server(away) as url, _caller() as caller:
        answers = [await caller.call("GET", f"{url}/a") for _ in range(2)]

    assert [each.status for each in answers] == [302, 302]
    assert calls == ["/a", "/a"]


@pytest.mark.anyio
async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_REPLY", 100_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(10_000):
                await response.write(b"x" * 10_000)
        except ConnectionError:
            return response
        raise AssertionError("nobody hung up")

    async with _server(endless) as url, _caller() as caller:
        with pytest.raises(PeerFault) as caught:
            await caller.call("GET", url + "/")
    assert caught.value.fault.code == "too_large"


@pytest.mark.anyio
async def test_a_slow_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "TIMEOUT_SECONDS", 0.1)

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response(text="late")

    async with _server(slow) as url, _caller() as caller:
        with pytest.raises(OurFault) as caught:
            await caller.call("GET", url + "/")
        assert caught.value.fault.code == "peer_unreachable"
        assert (await caller.call("GET", url + "/", wait=True)).body == b"late"


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://10.0.0.1/x", "https://10.1/x", "https://169.254.169.254/"])
async def test_where_it_may_not_go_no_connection_is_made(url: str) -> None:
    async with _caller() as caller:
        for _ in range(2):
            with pytest.raises(PeerFault) as caught:
                await caller.call("GET", url)
            assert caught.value.fault.code == "endpoint_refused"
        assert caller._session is None


@pytest.mark.anyio
async def test_what_is_checked_with_https_is_checked_again_with_http() -> None:
    async with _caller(Reach(loopback=False)) as caller:
        caller._checked.add("https://example.com")
        with pytest.raises(PeerFault, match="endpoint_refused"):
            await caller.call("GET", "http://example.com/messages")


@pytest.mark.anyio
async def test_nobody_there_is_our_fault_to_try_again() -> None:
    async with _server(_nothing) as url:
        pass
    async with _caller() as caller:
        for where in (url, "http://127.0.0.1:1", "http://127.0.0.1:99999"):
            with pytest.raises(OurFault) as caught:
                await caller.call("GET", f"{where}/")
            assert caught.value.fault.again


@pytest.mark.anyio
async def test_a_name_that_leads_inside_is_not_called() -> None:
    # localhost is a name like any other to the resolver: what it stands for decides.
    async with _caller(CLOSED) as caller:
        caller._checked.add("https://localhost:1")
        with pytest.raises(OurFault) as caught:
            await caller.call("GET", "https://localhost:1/")
    assert caught.value.detail == "ClientConnectorDNSError"


@pytest.mark.anyio
async def test_a_name_is_resolved_once_and_what_is_left_is_what_may_be_called() -> None:
    class Rebinding:
        """Says one thing first and another later, as a hostile name server does."""

        def __init__(self) -> None:
            self.asked = 0

        async def resolve(self, host: str, port: int, _family: object) -> list[dict[str, object]]:
            self.asked += 1
            await asyncio.sleep(0)
            hosts = ["169.254.169.254", "8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "fe80::1"]
            return [{"hostname": host, "host": each, "port": port} for each in hosts]

    resolver = peers._Pinned(CLOSED)
    inner = Rebinding()
    swapped: Any = inner
    resolver._inner = swapped
    found = await resolver.resolve("name.example", 443)

    assert [each["host"] for each in found] == ["8.8.8.8"]
    assert inner.asked == 1
