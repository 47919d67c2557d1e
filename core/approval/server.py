"""The approval server: the institution's node, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from core.approval import guarantees, matching, rules
from core.approval.books import METADATA, PARTIES, parties
from core.approval.licenses import Licenses
from core.approval.rows import PartyRow
from core.exchange.directory import Contact, Directory, Trust
from core.exchange.door import Request, Response
from core.exchange.health import add_health
from core.exchange.node import Node
from core.exchange.operator import SEED, check_same_key, kept
from core.exchange.peers import LINES
from core.exchange.receiving import Handler, by
from core.exchange.tables import SETTINGS, Setting
from core.exchange.throttle import Throttle
from core.exchange.turn import Identity, Turn
from core.protocol.control import Refusal
from core.protocol.discovery import AgencySearch, AnonymousIdRegistration
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import party_id
from core.protocol.keys import PublicKey, SigningKey, derive_seed
from core.protocol.purchase import (
    MerchantSearch,
    StateQuery,
    TransactionReport,
    VerificationRequest,
    VouchRelease,
)
from core.protocol.standing import (
    InformationChange,
    LeaseRenewal,
    RegistrationRequest,
    StandingQuery,
)

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.exchange.peers import Caller
    from core.exchange.tables import Waiting
    from core.protocol.envelope import Unopened, Verified
    from core.protocol.message import Message
    from core.storage.engine import Database
    from core.storage.unit import Unit
    from core.vault.port import Vault

log = logging.getLogger(__name__)
TICK_SECONDS: Final = 1.0
PURGE_SECONDS: Final = 60.0
INDEX_FRESH_SECONDS: Final = 300


class ApprovalServer:
    """What approval does with each message, who may send it, and what happens by time."""

    schema = METADATA

    def __init__(
        self,
        database: Database,
        clock: Clock,
        caller: Caller,
        vault: Vault,
        *,
        proxies: tuple[str, ...] = (),
    ) -> None:
        seed = kept(vault, SEED, clock.entropy(32))
        self._key = SigningKey(seed)
        self.node = Node(database, clock, caller, Directory(), proxies=proxies)
        self.licenses = Licenses(derive_seed(seed, "surety license", ""), self._know)
        self._guesses = Throttle(burst=10, seconds=6)
        self._index: tuple[int, int, bytes] | None = None
        both = by("agency", "merchant")
        self.handlers: dict[type[Message], Handler] = {
            RegistrationRequest: Handler(self._register, by("unregistered")),
            LeaseRenewal: Handler(self.licenses.renew, both),
            InformationChange: Handler(self.licenses.change, both),
            StandingQuery: Handler(self.licenses.query, both),
            AnonymousIdRegistration: Handler(matching.register_id, by("agency")),
            AgencySearch: Handler(matching.search_agency, by("merchant")),
            MerchantSearch: Handler(matching.vouch, by("agency")),
            TransactionReport: Handler(matching.report, by("agency")),
            VerificationRequest: Handler(matching.verify, by("merchant")),
            VouchRelease: Handler(matching.give_up, by("agency")),
            StateQuery: Handler(matching.state, both),
            Refusal: Handler(_refused, both, asked=True),
        }
        self.node.serve(self)

    async def start(self) -> None:
        """Open the books, know the registered parties, begin to serve."""
        self.node.open()
        await self.node.writer.submit(self._load)
        self.node.door.add("GET", "/directory", self._directory)
        add_health(self.node, list)
        await self.node.start()
        self.node.every(TICK_SECONDS, self._tick)
        self.node.every(PURGE_SECONDS, lambda: self.node.work(matching.forget_ids))

    def trust(self, endpoint: str) -> dict[str, Any]:
        """Who approval is: what others have to be told once, by a way that they trust."""
        if self.node.identity is None:
            raise PeerFault(fault("not_registered"))
        return {
            "approval": self.node.identity.principal,
            "endpoint": endpoint,
            "keys": [self._key.public.jwk()],
        }

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:  # noqa: ARG002 - the port's signature
        """A registered party's key. Approval asks nobody."""
        return self.node.directory.by_kid(kid)

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        """Standing now, the license key, the registered address; in the commit that decides."""
        if isinstance(received.message, RegistrationRequest):
            return
        row = turn.unit.get(PARTIES, received.issuer)
        if (
            isinstance(received.message, LeaseRenewal)
            and row is not None
            and row.lease_until < turn.now
        ):
            row = msgspec.structs.replace(row, lease_until=turn.now)
        row = rules.check_standing(row, turn.now)
        self.licenses.check_license(row, turn.arrival.license)
        contact = self.node.directory.by_name(row.party)
        address = turn.arrival.address
        if address is not None and (contact is None or not contact.calls_from(address)):
            raise PeerFault(fault("address_mismatch"), address)
        self.licenses.seen(turn, row)

    def _register(self, turn: Turn, received: Verified[RegistrationRequest]) -> Message:
        address = turn.arrival.address or ""
        self._guesses.check(address, turn.unit.now)
        try:
            return self.licenses.register(turn, received)
        except PeerFault:
            self._guesses.failed(address, turn.unit.now)
            raise

    def _know(self, row: PartyRow) -> None:
        networks = tuple(msgspec.json.decode(row.source_networks, type=list[str]))
        self.node.directory.add(
            Contact(row.party, PublicKey(row.key), row.endpoint, networks, 2**53)
        )
        self._index = None

    def _load(self, unit: Unit) -> None:
        name = unit.get(SETTINGS, "approval")
        principal = name.value if name else party_id("approval", self.node.clock.entropy(10))
        check_same_key(unit, "approval_key", self._key.public.x)
        unit.put(SETTINGS, Setting("approval", principal))
        unit.put(SETTINGS, Setting("approval_key", self._key.public.x))
        self.node.identity = Identity(principal, self._key)
        self.node.directory.trust = Trust(principal, self._key.public, "")
        for values in unit.query(sa.select(parties)):
            self._know(PARTIES.load(values))

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        """Nothing hangs on a receipt here."""

    async def _tick(self) -> None:
        while await self.node.work(matching.expire) == matching.AT_ONCE:
            continue

    async def _directory(self, _request: Request) -> Response:
        return Response(200, await self.node.work(self._current_index), LINES)

    def _current_index(self, turn: Turn) -> bytes:
        epoch = int(turn.setting("epoch") or "0")
        held = self._index
        if held is None or held[0] != epoch or held[1] + INDEX_FRESH_SECONDS < turn.now:
            self._index = held = (epoch, turn.now, guarantees.index(turn))
        return held[2]


def _refused(turn: Turn, received: Verified[Refusal]) -> None:
    log.warning(
        "a party refused",
        extra={
            "party": received.issuer,
            "code": received.message.code,
            "asked": turn.asked and turn.asked.name,
        },
    )
