"""The agency's node, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from core.agency.anonymous_ids import AnonymousIds
from core.agency.billing import AT_ONCE, Billing
from core.agency.books import DEVICES, MERCHANTS, METADATA, SESSIONS, sessions
from core.agency.membership import Membership, device_contact, session_row
from core.agency.rows import MerchantRow
from core.exchange.directory import Contact, Directory, Trust
from core.exchange.door import Request, Response
from core.exchange.health import add_health
from core.exchange.node import Node
from core.exchange.operator import SEALING, kept
from core.exchange.peers import LINES
from core.exchange.receiving import Handler, by
from core.licensee.licensee import Licensee
from core.protocol.control import Refusal
from core.protocol.discovery import AnonymousIdRegistration, AnonymousIdRequest
from core.protocol.envelope import peek_issuer
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import device, kind_of
from core.protocol.keys import derive_seed, sealing_public
from core.protocol.membership import EnrolmentRequest, SessionRequest
from core.protocol.names import MessageId
from core.protocol.purchase import (
    BillingRequest,
    Consent,
    MerchantFound,
    RecordedNotice,
    StateQuery,
    VerificationFailed,
)
from core.protocol.standing import (
    AgencyGuarantee,
    DirectoryPush,
    Guarantee,
    InformationChange,
    InformationChanged,
    StandingAnswer,
)

if TYPE_CHECKING:
    from core.exchange.clock import Clock
    from core.exchange.peers import Caller
    from core.exchange.tables import Waiting
    from core.exchange.turn import Turn
    from core.licensee.licensee import Profile
    from core.protocol.envelope import Unopened, Verified
    from core.protocol.message import Message
    from core.storage.engine import Database
    from core.storage.unit import Unit
    from core.vault.port import Vault

log = logging.getLogger(__name__)
TICK_SECONDS: Final = 1.0
MOST_SESSIONS: Final = 50_000
SESSIONLESS: Final = (EnrolmentRequest, SessionRequest)


class Collect(msgspec.Struct, forbid_unknown_fields=True):
    """What a wallet asks its mailbox.

    `received`: what it has; `wait`: seconds it would wait for something new.
    """

    received: Annotated[tuple[MessageId, ...], Meta(max_length=64)] = ()
    wait: Annotated[float, Meta(ge=0, le=30)] = 0.0


class AgencyServer:
    """What an agency does with each message, who may send it, and what happens by time."""

    schema = METADATA

    def __init__(  # noqa: PLR0913, PLR0917 - a node's ports, and what its operator chose
        self,
        database: Database,
        clock: Clock,
        caller: Caller,
        vault: Vault,
        trust: Trust,
        methods: tuple[str, ...],
        *,
        proxies: tuple[str, ...] = (),
    ) -> None:
        self.node = Node(database, clock, caller, Directory(), proxies=proxies)
        self.licensee = Licensee(self.node, vault, "agency", trust)
        self.licensee.told = _keep_merchant
        sealing_seed = kept(vault, SEALING, clock.entropy(32))
        self._sealing_key = sealing_public(sealing_seed)
        secret = derive_seed(sealing_seed, "surety session", "")
        self.membership = Membership(secret, self.node.directory.add, methods)
        self.ids = AnonymousIds(sealing_seed, self.membership, trust.principal)
        self.billing = Billing(self.ids, self.node.directory, trust.principal, methods)
        self._sessions: dict[str, tuple[str, int]] = {}
        approval, members = by("approval"), by("device")
        self.handlers: dict[type[Message], Handler] = {
            **self.licensee.handlers(),
            EnrolmentRequest: Handler(self.membership.enrol, members),
            SessionRequest: Handler(self.membership.log_in, members),
            AnonymousIdRequest: Handler(self.ids.requested, members),
            BillingRequest: Handler(self.billing.asked, by("merchant")),
            MerchantFound: Handler(self.billing.vouched, approval, asked=True),
            Consent: Handler(self.billing.consented, members),
            RecordedNotice: Handler(self.billing.recorded, approval),
            VerificationFailed: Handler(self.billing.failed, approval),
            DirectoryPush: Handler(self._own_guarantee, approval),
            StateQuery: Handler(self.billing.state, by("device", "merchant", "approval")),
            Refusal: Handler(self.billing.refused, by("approval", "merchant"), asked=True),
        }
        self.node.serve(self)

    async def start(self) -> None:
        """Open the books, be who this installation is, begin to serve."""
        self.node.open()
        await self.node.writer.submit(self.licensee.load)
        door = self.node.door
        door.add("GET", "/guarantee", self._guarantee)
        door.add("GET", "/challenge", self._challenge)
        door.add("POST", "/mailbox", self._mailbox, patient=True)
        add_health(self.node, self.licensee.wrong)
        await self.node.start()
        self.licensee.start()
        self.node.every(TICK_SECONDS, self._tick)
        self.node.every(600, self._purge)

    async def register(self, serial: str, profile: Profile) -> str:
        """Exchange a serial number for a license."""
        party = await self.licensee.register(serial, profile, sealing_key=self._sealing_key)
        await self.node.work(self._keep_routing_code)
        return party

    async def change(self, change: InformationChange) -> InformationChanged:
        """Report a change of this agency's information (claim 7)."""
        return await self.licensee.change(change)

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:
        """A device's key from the members, a party's from the directory or from approval."""
        contact = self.node.directory.by_kid(kid)
        if contact is None and kind_of(peek_issuer(unopened)) == "device":
            row = await self.node.writer.submit(lambda unit: unit.get(DEVICES, kid))
            if row is None:
                raise PeerFault(fault("no_member"))
            contact = device_contact(row.key)
            self.node.directory.add(contact)
        if contact is not None and kind_of(contact.principal) == "device":
            return contact
        return await self.licensee.find(kid, unopened)

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        """A member needs a session; a merchant must call from its registered address (claim 8)."""
        kind = kind_of(received.issuer)
        if kind == "device" and not isinstance(received.message, SESSIONLESS):
            self.membership.check_session(turn, received.kid)
        elif kind == "merchant":
            self.licensee.check_address(turn, received)

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        """Approval has an anonymous ID's digest: now the merchant may have the ID."""
        if waiting.name == AnonymousIdRegistration.name:
            self.ids.registered(turn, waiting)

    def _own_guarantee(self, turn: Turn, received: Verified[DirectoryPush]) -> None:
        for raw in received.message.guarantees:
            found = self.node.directory.learn(turn.unit, raw, turn.now)
            if found.message.party == turn.identity.principal:
                turn.put_setting("guarantee", raw)

    def _keep_routing_code(self, turn: Turn) -> None:
        found = self.node.directory.learn(turn.unit, turn.setting("guarantee") or "", turn.now)
        if isinstance(found.message, AgencyGuarantee):
            turn.put_setting("routing_code", found.message.routing_code)

    async def _tick(self) -> None:
        while self.licensee.party and await self.node.work(self.billing.expire) == AT_ONCE:
            continue

    async def _purge(self) -> None:
        def purge(unit: Unit) -> None:
            old = (
                sa.select(sessions.c.token_hash)
                .where(sessions.c.expires_at < sa.bindparam("now"))
                .limit(1000)
            )
            for (token_hash,) in unit.query(old, now=unit.now // 1000):
                unit.remove(SESSIONS, token_hash)

        await self.node.writer.submit(purge)

    async def _session(self, token: str | None) -> str:
        """Whose session it is.

        Kept in memory, so that a wallet that waits costs no look into the database.
        """
        held = self._sessions.get(token or "")
        if held is not None and held[1] * 1000 > self.node.clock.milliseconds():
            return held[0]
        row = await self.node.writer.submit(lambda unit: session_row(unit, token))
        if row is None:
            raise PeerFault(fault("session_required"))
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.clear()
        self._sessions[token or ""] = (row.kid, row.expires_at)
        return row.kid

    async def _guarantee(self, _request: Request) -> Response:
        held = await self.node.work(lambda turn: turn.setting("guarantee"))
        return Response(200, (held or "").encode("ascii"), LINES)

    async def _challenge(self, _request: Request) -> Response:
        def make(turn: Turn) -> bytes:
            challenge = self.membership.challenge(turn.now)
            return turn.seal(challenge, "anyone", turn.now + challenge.lifetime).raw

        return Response(200, await self.node.work(make), LINES)

    async def _mailbox(self, request: Request) -> Response:
        try:
            wish = msgspec.json.decode(request.body or b"{}", type=Collect)
        except msgspec.MsgspecError as error:
            raise PeerFault(fault("malformed"), "the mailbox request") from error
        token = request.header(b"surety-session")
        kid = await self._session(token)
        lines = await self.node.mailbox.collect(device(kid), wish.received, wish.wait)
        return Response(200, b"\n".join(lines), LINES)


def _keep_merchant(turn: Turn, answer: StandingAnswer, guarantee: Guarantee) -> None:
    if answer.payout_account is not None:
        row = MerchantRow(answer.party, guarantee.legal_name, answer.payout_account, turn.now)
        turn.unit.put(MERCHANTS, row)
