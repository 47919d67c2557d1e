"""A network in memory: real nodes on real files, our own ports (caller, clock) faked."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.exchange.directory import Contact, Directory, Trust
from core.exchange.door import Door
from core.exchange.node import Node
from core.exchange.peers import LINES, Answer
from core.exchange.receiving import Handler, by
from core.exchange.tables import Waiting
from core.exchange.turn import Identity, Turn
from core.protocol.control import Refusal
from core.protocol.envelope import Unopened, Verified
from core.protocol.faults import OurFault, PeerFault, fault
from core.protocol.keys import SigningKey
from core.protocol.membership import EnrolmentGranted, EnrolmentRequest
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.purchase import StateAnswer, StateQuery
from core.protocol.standing import LeaseRenewal, StandingQuery
from core.storage.engine import open_database
from core.storage.schema import NODE
from tests.world.keys import APPROVAL, key
from tests.world.messages import NOW

HASTE = 50
"""How many times faster than ours the clock of the network runs while somebody sleeps."""


class WorldClock:
    """Starts at `NOW`; chance is the same in every run."""

    def __init__(self, name: str = "") -> None:
        self.at = NOW * 1000
        self.naps: list[float] = []
        self._name = name
        self._drawn = 0

    def milliseconds(self) -> int:
        return self.at

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(f"{self._name} {self._drawn}".encode()).digest(size)

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await asyncio.sleep(seconds / HASTE)


@dataclass(frozen=True)
class Call:
    """One request that went over the wire."""

    url: str
    lines: tuple[bytes, ...]
    headers: dict[str, str]


async def knock(
    door: Door,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.9",
) -> Answer:
    """One request to a door, whole and at once."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await converse(door, method, path, receive, headers, address)


async def converse(
    door: Door,
    method: str,
    path: str,
    receive: Callable[[], Any],
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.9",
) -> Answer:
    """One request to a door, its body as `receive` gives it."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    listed = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": listed,
        "client": (address, 40_000),
    }
    await door(scope, receive, send)
    start, end = sent
    answered = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], end["body"], answered)


class Wire:
    """The `Caller` of all nodes.

    `down`: hosts that cannot be reached; `deaf`: whose answers are lost.
    """

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}
        self.down: set[str] = set()
        self.deaf: set[str] = set()
        self.calls: list[Call] = []
        self.answers: list[Answer] = []

    async def call(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        wait: bool = False,
    ) -> Answer:
        """See `core.exchange.peers.Caller`."""
        assert not wait
        await asyncio.sleep(0)
        host, path = url.removeprefix("http://").split("/", 1)
        self.calls.append(Call(url, tuple(body.split(b"\n")), dict(headers or {})))
        if host in self.down or host not in self.doors:
            raise OurFault(fault("peer_unreachable"), host)
        answer = await knock(self.doors[host], method, f"/{path}", body, headers)
        self.answers.append(answer)
        if host in self.deaf:
            raise OurFault(fault("peer_unreachable"), "the answer was lost")
        return answer


@dataclass
class TestParty:
    """Answers state queries, receipts lease renewals, refuses standing queries."""

    __test__ = False

    directory: Directory
    handled: list[Verified[Any]] = field(default_factory=list[Verified[Any]])
    receipts: list[str] = field(default_factory=list[str])
    admitted: list[str | None] = field(default_factory=list[str | None])
    refuse: PeerFault | None = None
    shut: PeerFault | None = None

    @property
    def handlers(self) -> dict[type[Message], Handler]:
        parties = by("agency", "merchant", "device")
        return {
            StateQuery: Handler(self._state, parties),
            StateAnswer: Handler(self._note, parties, asked=True),
            LeaseRenewal: Handler(self._note, by("agency", "merchant")),
            StandingQuery: Handler(self._unknown, parties),
            EnrolmentRequest: Handler(self._enrol, by("device")),
            Refusal: Handler(self._note, parties, asked=True),
        }

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:
        assert unopened.kid == kid
        await asyncio.sleep(0)
        return self.directory.by_kid(kid)

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        assert received.raw
        self.admitted.append(turn.arrival.address)
        if self.shut is not None:
            raise self.shut

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        assert turn.identity.principal
        self.receipts.append(waiting.message_id)

    def _note(self, turn: Turn, received: Verified[Any]) -> None:
        self.handled.append(received)
        turn.put_setting(f"seen {received.message_id}"[:40], received.message.name)
        if self.refuse is not None:
            raise self.refuse

    def _state(self, turn: Turn, received: Verified[StateQuery]) -> StateAnswer:
        self._note(turn, received)
        turn.reply_headers["Surety-Test"] = "yes"
        return StateAnswer(offer_hash=received.message.offer_hash, order=None, state="DRAFT")

    def _unknown(self, turn: Turn, received: Verified[StandingQuery]) -> None:
        self._note(turn, received)
        raise PeerFault(fault("party_unknown"), "nobody\nof this name" + "!" * 600)

    def _enrol(self, turn: Turn, received: Verified[EnrolmentRequest]) -> EnrolmentGranted:
        self._note(turn, received)
        return EnrolmentGranted(
            agency=turn.identity.principal,
            guarantee="a.b.c",
            limit=Money(currency="GBP", minor=1),
            payment_methods=("account",),
        )


@dataclass
class Place:
    """A node and where it lives."""

    principal: str
    host: str
    path: Path
    wire: Wire
    node: Node
    party: TestParty
    clock: WorldClock
    signer: SigningKey

    def count(self, table: str) -> int:
        """How many rows a table has, by an independent reader."""
        engine = open_database(f"sqlite:///{self.path}", exclusive=False).reader()
        with engine.connect() as connection:
            found = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()  # noqa: S608
        engine.dispose()
        return int(found)

    async def stop(self) -> None:
        """Stop the node; nobody reaches it any more."""
        self.wire.doors.pop(self.host, None)
        await self.node.stop()

    async def quiet(self, seconds: float = 5) -> None:
        """Wait until nothing of this node is unanswered."""
        async with asyncio.timeout(seconds):
            while self.count("outbox"):
                await asyncio.sleep(0.005)

    def knows(self, *others: "Place", endpoint: bool = True) -> None:
        """Hear and reach these from now on."""
        for other in others:
            where = f"http://{other.host}" if endpoint else ""
            self.node.directory.add(
                Contact(other.principal, other.signer.public, where, ("127.0.0.0/8",), 2**53)
            )


async def place(principal: str, owner: str, path: Path, wire: Wire) -> Place:
    """A running node for this principal, known to nobody yet. `owner`: whose key it has."""
    database = open_database(f"sqlite:///{path}")
    engine = database.schema_engine()
    NODE.create_all(engine)
    engine.dispose()
    clock = WorldClock(f"{owner} {len(wire.calls)}")
    directory = Directory(Trust(APPROVAL, key("approval").public, "http://approval"))
    node = Node(database, clock, wire, directory)
    node.identity = Identity(principal, key(owner))
    party = TestParty(directory)
    node.serve(party)
    node.open()
    wire.doors[owner] = node.door
    return Place(principal, owner, path, wire, node, party, clock, key(owner))


@asynccontextmanager
async def two(tmp_path: Path, first: str, second: str) -> AsyncGenerator[tuple[Place, Place]]:
    """Two nodes that know each other: the first named "agency", the second "merchant"."""
    wire = Wire()
    one = await place(first, "agency", tmp_path / "agency.db", wire)
    other = await place(second, "merchant", tmp_path / "merchant.db", wire)
    one.knows(other)
    other.knows(one)
    await one.node.start()
    await other.node.start()
    try:
        yield one, other
    finally:
        for each in (one, other):
            if each.node.writer._thread is not None:
                await each.stop()


async def post(place_: Place, *lines: bytes, **headers: str) -> Answer:
    """Bring lines to a node's door."""
    sent = {"Content-Type": LINES, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await knock(place_.node.door, "POST", "/messages", b"\n".join(lines), sent)
