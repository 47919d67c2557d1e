import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.exchange import door as doors
from core.exchange.door import MAX_BODY, MAX_MESSAGES, Door, Request, Response, caller_address
from core.exchange.peers import LINES, Answer
from core.protocol.canonical import b64url
from core.protocol.faults import CATALOGUE, OurFault, PeerFault, fault
from core.protocol.standing import LeaseRenewal
from tests.world.keys import AGENCY, MERCHANT, key
from tests.world.messages import sealed
from tests.world.network import Place, converse, knock, post, two

pytestmark = pytest.mark.anyio
_MEMBERS = {"type", "title", "status", "detail", "code", "whose", "advice", "again"}


@pytest.fixture
async def merchant(tmp_path: Path) -> AsyncIterator[Place]:
    async with two(tmp_path, AGENCY, MERCHANT) as (_, second):
        yield second


def _seen() -> tuple[Door, list[Request]]:
    door = Door(("10.0.0.0/8",))
    seen: list[Request] = []

    async def route(request: Request) -> Response:
        seen.append(request)
        if request.body == b"ours":
            raise OurFault(fault("storage_unavailable"), "disk")
        if request.body == b"bug":
            raise ZeroDivisionError("secret")
        return Response(200, request.body, headers={"X-Route": "café"})

    for method, path in (("GET", "/a"), ("POST", "/a"), ("PUT", "/deep/"), ("GET", "/deep/")):
        door.add(method, path, route)
    return door, seen


def _problem(answer: Answer, code: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert set(body) == _MEMBERS
    assert body["type"] == f"urn:surety:fault:{code}"
    assert (body["code"], body["status"]) == (code, answer.status)
    assert answer.status == CATALOGUE[code].status
    assert ("retry-after" in answer.headers) == CATALOGUE[code].again
    return body


async def test_routes_and_prefixes() -> None:
    door, seen = _seen()
    answers = [
        await knock(door, "GET", "/a"),
        await knock(door, "POST", "/a", b"body"),
        await knock(door, "PUT", "/deep/down/there", b"x"),
        await knock(door, "GET", "/deep/"),
    ]

    assert [each.status for each in answers] == [200] * 4
    assert [(each.method, each.rest, each.body) for each in seen] == [
        ("GET", "", b""),
        ("POST", "", b"body"),
        ("PUT", "down/there", b"x"),
        ("GET", "", b""),
    ]
    assert answers[1].body == b"body"
    assert answers[1].headers["x-route"] == "café"
    assert door.requests == 4


@pytest.mark.parametrize("path", ["/", "/b", "/a/", "/A", "/deep", "/messages", "", "/a%2f", "*"])
async def test_there_is_nothing_elsewhere(path: str) -> None:
    _problem(await knock(_seen()[0], "GET", path), "not_found")


@pytest.mark.parametrize("method", ["DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "get", "PATCH"])
async def test_other_methods_are_told_which_are_allowed(method: str) -> None:
    answer = await knock(_seen()[0], method, "/a")

    _problem(answer, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


async def test_our_faults_and_bugs_are_problems_that_tell_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door, _ = _seen()
    assert _problem(await knock(door, "POST", "/a", b"ours"), "storage_unavailable")["again"]
    answer = await knock(door, "POST", "/a", b"bug")

    assert _problem(answer, "internal")["detail"] == ""
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text
    assert door._under_way == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": ""},
        {"Content-Type": LINES + "; charset=utf-8"},
        {"Content-Type": LINES.upper()},
        {"Content-Type": f"{LINES}, application/json"},
    ],
)
async def test_messages_come_as_lines_only(merchant: Place, headers: dict[str, str]) -> None:
    answer = await knock(merchant.node.door, "POST", "/messages", b"a.b.c", headers)

    assert LINES in _problem(answer, "unsupported_media")["detail"]
    _problem(await knock(merchant.node.door, "GET", "/messages"), "method_not_allowed")


async def test_too_many_messages_are_refused_before_any_is_opened(merchant: Place) -> None:
    raw = sealed(LeaseRenewal(counter=1, instance="0" * 32), "agency", issuer=AGENCY,
                 audience=MERCHANT)  # fmt: skip
    _problem(await post(merchant, raw, *[b"a.b.c"] * MAX_MESSAGES), "too_large")

    assert merchant.party.handled == []
    most = await post(merchant, *[b"a.b.c"] * MAX_MESSAGES)
    assert (most.status, len(most.lines)) == (200, MAX_MESSAGES)
    assert (await post(merchant)).body == b""
    assert (await post(merchant, b"", b"", b"")).status == 200


def _chunks(*chunks: bytes | None, more: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(60)
        chunk = left.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or more}

    return receive


async def test_a_body_in_pieces_is_put_together() -> None:
    door, seen = _seen()
    pieces = [bytes([at % 256]) * 1000 for at in range(1000)]
    answer = await converse(door, "POST", "/a", _chunks(*pieces, more=False))

    assert answer.status == 200
    assert seen[0].body == b"".join(pieces)
    assert len(seen[0].body) == MAX_BODY


@pytest.mark.parametrize(
    ("length", "chunks"),
    [
        (str(MAX_BODY + 1), []),
        ("9" * 5000, []),
        ("-1", []),
        ("1e3", []),
        ("", []),
        ("0x10", []),
        ("٣", []),
        (None, [b"x" * (MAX_BODY + 1)]),
        (None, [b"x" * MAX_BODY, b"x"]),
        ("5", [b"x" * MAX_BODY, b"x"]),
    ],
)
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    length: str | None, chunks: list[bytes]
) -> None:
    door, seen = _seen()
    headers = {} if length is None else {"Content-Length": length}
    async with asyncio.timeout(5):
        answer = await converse(door, "POST", "/a", _chunks(*chunks), headers)

    _problem(answer, "too_large")
    assert seen == []


async def test_a_body_of_just_the_limit_is_read() -> None:
    door, seen = _seen()
    answer = await knock(door, "POST", "/a", b"x" * MAX_BODY, {"Content-Length": str(MAX_BODY)})

    assert (answer.status, len(seen[0].body)) == (200, MAX_BODY)


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a", b"b", b"c"]])
async def test_a_slow_body_is_not_waited_for(
    chunks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "BODY_SECONDS", 0.05)
    door, seen = _seen()
    async with asyncio.timeout(5):
        answer = await converse(door, "POST", "/a", _chunks(*chunks))

    _problem(answer, "too_slow")
    assert answer.headers["connection"] == "close"
    assert seen == []


async def test_dripping_does_not_prolong_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "BODY_SECONDS", 0.1)

    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async with asyncio.timeout(2):
        _problem(await converse(_seen()[0], "POST", "/a", drip), "too_slow")


async def test_half_a_body_is_no_body() -> None:
    door, seen = _seen()
    for chunks in ([None], [b"half", None]):
        _problem(await converse(door, "POST", "/a", _chunks(*chunks)), "too_slow")
    assert seen == []


async def test_too_many_requests_at_once_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "MAX_UNDER_WAY", 2)
    door, seen = _seen()
    slow = [asyncio.create_task(converse(door, "POST", "/a", _chunks(b"x"))) for _ in range(2)]
    await asyncio.sleep(0.01)
    _problem(await knock(door, "GET", "/a"), "too_many")
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)

    assert (await knock(door, "GET", "/a")).status == 200
    assert len(seen) == 1


async def test_headers_reach_the_route_and_proxies_are_believed() -> None:
    door, seen = _seen()
    await knock(door, "GET", "/a", b"", {"X-Forwarded-For": "192.0.2.7"}, "10.0.0.1")
    await knock(door, "GET", "/a", b"", {"X-Forwarded-For": "192.0.2.7"}, "192.0.2.1")

    assert [each.address for each in seen] == ["192.0.2.7", "192.0.2.1"]
    assert seen[0].header(b"x-forwarded-for") == "192.0.2.7"
    assert seen[0].header(b"nothing") is None


async def test_several_forwarded_lines_are_one_list() -> None:
    door, seen = _seen()
    lines = [b"198.51.100.66", b"192.0.2.7", b"10.0.0.2, 10.0.0.3"]
    scope = {
        "type": "http", "method": "GET", "path": "/a", "client": ("10.0.0.1", 1),
        "headers": [(b"x-forwarded-for", line) for line in lines],
    }  # fmt: skip

    async def send(_event: Any) -> None:
        return

    await door(scope, _chunks(), send)
    await door({**scope, "client": None}, _chunks(), send)

    assert [each.address for each in seen] == ["192.0.2.7", ""]


async def test_other_protocols_and_the_lifespan() -> None:
    door, _ = _seen()
    sent: list[Any] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(event: Any) -> None:
        sent.append(event["type"])

    await door({"type": "lifespan"}, receive, send)
    await door({"type": "websocket"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_keys_are_published(merchant: Place) -> None:
    answer = await knock(merchant.node.door, "GET", "/.well-known/jwks.json")

    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert json.loads(answer.body) == {"keys": [key("merchant").public.jwk()]}
    merchant.node.identity = None
    _problem(await knock(merchant.node.door, "GET", "/.well-known/jwks.json"), "not_registered")


async def test_bytes_of_any_kind_are_answered_with_problems(merchant: Place) -> None:
    body = b"\n".join(
        [b"\xff\xfe", b"{}", b"a.b", b"GET / HTTP/1.1\r", b"." * 5000, b64url(b"{}").encode()]
    )
    answer = await knock(merchant.node.door, "POST", "/messages", body, {"Content-Type": LINES})

    assert [json.loads(line)["code"] for line in answer.lines] == ["malformed"] * 6
    assert all(set(json.loads(line)) == _MEMBERS | {"message"} for line in answer.lines)


_PROXIES = ("10.0.0.0/8", "127.0.0.1/32", "2001:db8:1::/48")
_ADDRESSES: tuple[tuple[str, str, str], ...] = (
    # No proxy between: what the caller says of itself counts for nothing.
    ("192.0.2.1", "", "192.0.2.1"),
    ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
    ("192.0.2.1", "10.0.0.1", "192.0.2.1"),
    ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
    ("192.0.2.1", "198.51.100.1, 10.0.0.1", "192.0.2.1"),
    ("192.0.2.1", "192.0.2.1, 192.0.2.1", "192.0.2.1"),
    ("192.0.2.1", "::1", "192.0.2.1"),
    ("2001:db8:2::1", "198.51.100.1", "2001:db8:2::1"),
    ("127.0.0.2", "198.51.100.1", "127.0.0.2"),
    ("11.0.0.1", "198.51.100.1", "11.0.0.1"),
    ("9.255.255.255", "198.51.100.1", "9.255.255.255"),
    ("", "198.51.100.1", ""),
    ("unix:", "198.51.100.1", "unix:"),
    # One proxy: what it wrote, at the right, counts; what stood there before does not.
    ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("10.255.255.255", "198.51.100.1", "198.51.100.1"),
    ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", " 198.51.100.1 ", "198.51.100.1"),
    ("10.0.0.1", "203.0.113.5, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "203.0.113.5,198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "10.9.9.9, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "garbage, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", ", , 198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "198.51.100.1, 2001:db8:2::7", "2001:db8:2::7"),
    ("2001:db8:1::1", "198.51.100.1", "198.51.100.1"),
    ("2001:db8:1::1", "2001:db8:2::7", "2001:db8:2::7"),
    ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("::ffff:192.0.2.1", "198.51.100.1", "::ffff:192.0.2.1"),
    # Several proxies: the first from the right that is none.
    ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
    ("10.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.3, 10.0.0.2", "198.51.100.1"),
    ("127.0.0.1", "203.0.113.5, 198.51.100.1, 2001:db8:1::9, 10.0.0.2", "198.51.100.1"),
    ("10.0.0.1", "198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
    # A proxy that calls for itself, or that says nothing.
    ("10.0.0.1", "", "10.0.0.1"),
    ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
    ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    # What a proxy could not name is no address, and so lies in nobody's network.
    ("10.0.0.1", "garbage", "garbage"),
    ("10.0.0.1", "198.51.100.1, garbage", "garbage"),
    ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "unknown"),
    ("10.0.0.1", "198.51.100.1,", ""),
    ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1:4711"),
    ("10.0.0.1", "[2001:db8:2::7]", "[2001:db8:2::7]"),
    ("10.0.0.1", "198.51.100.1;by=x", "198.51.100.1;by=x"),
    ("10.0.0.1", "010.0.0.2", "010.0.0.2"),
    ("10.0.0.1", "0x0a.0.0.2", "0x0a.0.0.2"),
    ("10.0.0.1", "167772162", "167772162"),
    ("10.0.0.1", "1０.0.0.2", "1０.0.0.2"),
    ("10.0.0.1", "127.0.0.1\x00", "127.0.0.1\x00"),
)  # fmt: skip


@pytest.mark.parametrize(("peer", "forwarded", "address"), _ADDRESSES)
def test_the_callers_address(peer: str, forwarded: str, address: str) -> None:
    assert len(_ADDRESSES) >= 40
    assert caller_address(peer, forwarded or None, _PROXIES) == address


@pytest.mark.parametrize(("peer", "forwarded"), [row[:2] for row in _ADDRESSES])
def test_without_proxies_only_the_connection_counts(peer: str, forwarded: str) -> None:
    assert caller_address(peer, forwarded, ()) == peer


def test_a_problem_keeps_the_headers_that_it_is_given() -> None:
    response = doors.problem(PeerFault(fault("too_many")), {"Retry-After": "30"})

    assert response.headers == {"Retry-After": "30"}
    assert response.status == 429
