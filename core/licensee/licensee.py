"""A licensed program: registers, keeps its lease, reports changes, asks who others are.

Claims 4 to 9.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from core.evidence.chain import Direction
from core.exchange.operator import LICENSE, SEED, check_same_key, kept
from core.exchange.peers import post_lines
from core.exchange.receiving import UNREGISTERED, Handler, by
from core.exchange.tables import GUARANTEES, SETTINGS, Setting
from core.exchange.turn import Identity, Turn
from core.protocol.control import Refusal
from core.protocol.envelope import Verified, peek_issuer, unwrap, verify
from core.protocol.faults import Fault, OurFault, PeerFault, SuretyError, fault
from core.protocol.identifiers import kind_of
from core.protocol.keys import SigningKey
from core.protocol.standing import (
    Discovery,
    Guarantee,
    InformationChange,
    InformationChanged,
    LeaseRenewal,
    LeaseRenewed,
    RegistrationGranted,
    RegistrationRequest,
    StandingAnswer,
    StandingQuery,
)
from core.storage import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.exchange.directory import Contact, Trust
    from core.exchange.node import Node
    from core.protocol.envelope import Unopened
    from core.protocol.message import Message
    from core.storage.unit import Unit
    from core.vault.port import Vault

log = logging.getLogger(__name__)
RENEW_SECONDS: Final = 3600.0
MOST_QUESTIONS: Final = 64
MOST_UNKNOWN: Final = 10_000
UNKNOWN_SECONDS: Final = 10
CONFIRMED_SECONDS: Final = 30


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a program tells approval of itself when it registers."""

    currencies: tuple[str, ...]
    endpoint: str
    legal_name: str
    payment_methods: tuple[str, ...]
    payout_account: str
    source_networks: tuple[str, ...]


class Licensee:
    """The license of one installation.

    `told(turn, answer, guarantee)` is called, within the commit, with every answer about a party.
    """

    def __init__(
        self, node: Node, vault: Vault, kind: Literal["agency", "merchant"], trust: Trust
    ) -> None:
        self.node = node
        self.kind = kind
        self.trust = trust
        self.key = SigningKey(kept(vault, SEED, node.clock.entropy(32)))
        self.told: Callable[[Turn, StandingAnswer, Guarantee], None] = _nobody
        self.lease_until = 0
        self._vault = vault
        self._questions: dict[str, asyncio.Task[Contact | None]] = {}
        self._unknown: dict[str, int] = {}
        self._refused: Fault | None = None
        self._renewing = asyncio.Lock()
        self._refresh_lease: asyncio.Task[None] | None = None
        self._refreshing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        node.directory.trust_in(trust)
        node.outbox.locate = self.ask_about
        stored = vault.get(LICENSE)
        node.license = None if stored is None else stored.decode("ascii")

    def handlers(self) -> dict[type[Message], Handler]:
        """What this part of a party takes from approval."""
        return {
            LeaseRenewed: Handler(self._renewed, by("approval"), asked=True),
            InformationChanged: Handler(self._changed, by("approval"), asked=True),
            StandingAnswer: Handler(self._answered, by("approval"), asked=True),
        }

    @property
    def party(self) -> str | None:
        """The party's identifier, once registered."""
        return None if self.node.identity is None else self.node.identity.principal

    def load(self, unit: Unit) -> None:
        """Be again who this installation was before a restart."""
        unit.put(SETTINGS, Setting("approval", self.trust.principal))
        unit.put(SETTINGS, Setting("approval_key", self.trust.key.x))
        check_same_key(unit, "public_key", self.key.public.x)
        party = unit.get(SETTINGS, "party")
        lease = unit.get(SETTINGS, "lease_until")
        if party is not None and self.node.license is not None:
            self.node.identity = Identity(party.value, self.key)
            self.lease_until = int(lease.value) if lease else 0
        self.node.directory.load(unit)

    def start(self) -> None:
        """Renew the lease now and then."""
        self._loop = asyncio.get_running_loop()
        self.node.every(RENEW_SECONDS, self.renew)
        # A node that was down for long may come back with a lease that has run out meanwhile.
        self._refresh_lease = self._loop.create_task(self._renew_quietly())

    def wrong(self) -> list[str]:
        """What keeps this program from taking part, in words that say what to do."""
        if self.party is None:
            command = f"surety {self.kind} register"
            return [f"Not registered: run `{command}` with a serial number from the institution."]
        if self._refused is not None:
            why = f"{self._refused.title}. {self._refused.advice}"
            return [f"Approval refused the last lease renewal: {why}"]
        if self.lease_until * 1000 < self.node.clock.milliseconds():
            return [
                "The license's lease has run out: check that the approval server can be reached."
            ]
        return []

    async def register(
        self,
        serial: str,
        profile: Profile,
        *,
        sealing_key: str | None = None,
        discovery: Discovery | None = None,
    ) -> str:
        """Exchange a serial number for a license. Returns the party's identifier.

        Raises `PeerFault` with approval's refusal, `OurFault("peer_unreachable")`. Safe to repeat
        with the same serial.
        """
        if self.party is not None:
            raise PeerFault(fault("already_registered"), self.party)
        instance = await self.node.writer.submit(self._instance)
        request = msgspec.convert(
            {
                **msgspec.structs.asdict(profile),
                "discovery": discovery,
                "instance": instance,
                "key": self.key.public.x,
                "kind": self.kind,
                "sealing_key": sealing_key,
                "serial": serial,
            },
            RegistrationRequest,
        )
        identity = Identity(UNREGISTERED, self.key)
        raw = await self.node.writer.submit(lambda unit: self._sealed(unit, identity, request))
        answer = await post_lines(self.node.caller, self.trust.endpoint, [raw])
        granted = self._granted(answer.lines)
        license_key = answer.headers.get("surety-license", "")
        if not license_key:
            raise OurFault(
                fault("peer_unreachable"), "approval's answer came without the license key"
            )
        await asyncio.to_thread(self._vault.put, LICENSE, license_key.encode("ascii"))
        self.node.license = license_key
        await self.node.writer.submit(
            lambda unit: self._keep_grant(unit, granted, profile.currencies)
        )
        self.node.identity = Identity(granted.message.party, self.key)
        self.lease_until = granted.message.lease_until
        return granted.message.party

    async def renew(self) -> None:
        """Show a sign of life; approval answers with a new lease and a fresh guarantee."""
        if self.party is None:
            return
        async with self._renewing:  # two at once could overtake each other and look like a clone
            await self._renew()

    async def _renew_quietly(self) -> None:
        try:
            await self.renew()
        except SuretyError as error:
            log.warning("lease not renewed", extra={"code": error.fault.code})

    async def _renew(self) -> None:
        instance = await self.node.writer.submit(self._instance)

        def count(unit: Unit) -> int:
            row = unit.get(SETTINGS, "counter")
            counter = int(row.value) + 1 if row else 1
            unit.put(SETTINGS, Setting("counter", str(counter)))
            return counter

        counter = await self.node.writer.submit(count)
        message = LeaseRenewal(counter=counter, instance=instance)
        try:
            await self.node.ask(message, self.trust.principal)
        except PeerFault as error:
            self._refused = error.fault
            raise
        self._refused = None

    async def change(self, change: InformationChange) -> InformationChanged:
        """Report a change of this party's information; in force when this returns."""
        answer = await self.node.ask(change, self.trust.principal)
        message: InformationChanged = answer.message
        return message

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:
        """Whose key it is: known, or asked at approval by the name that the message claims.

        Raises `OurFault` where approval cannot be reached.
        """
        contact = self.node.directory.by_kid(kid)
        if contact is not None and contact.expires_at * 1000 > self.node.clock.milliseconds():
            return contact
        party = peek_issuer(unopened)
        if kind_of(party) not in {"agency", "merchant"}:
            return None
        found = await self.ask_about(party)
        return found if found is not None and found.key.kid == kid else None

    async def ask_about(self, party: str) -> Contact | None:
        """Ask approval who this is.

        One question at a time about the same party. Raises `PeerFault("too_many")` where there are
        too many at once, `OurFault` where approval cannot be reached.
        """
        task = self._questions.get(party)
        if task is None:
            # Anybody can claim any name: what approval did not know just now is not asked again.
            now = self.node.clock.milliseconds()
            if self._unknown.get(party, 0) > now:
                return None
            if len(self._questions) >= MOST_QUESTIONS:
                raise PeerFault(fault("too_many"), "too many unknown senders at once")
            task = self._questions[party] = asyncio.create_task(self._ask_about(party))
            task.add_done_callback(lambda _done: self._questions.pop(party, None))
        return await asyncio.shield(task)

    async def _ask_about(self, party: str) -> Contact | None:
        try:
            await self.node.ask(StandingQuery(party=party), self.trust.principal)
        except PeerFault as error:
            log.warning(
                "approval does not know a sender", extra={"party": party, "code": error.fault.code}
            )
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[party] = self.node.clock.milliseconds() + UNKNOWN_SECONDS * 1000
            return None
        return self.node.directory.by_name(party)

    def check_address(self, turn: Turn, received: Verified[Any]) -> None:
        """Compare the caller's address with the registered one (claims 8, 9).

        Before anything is acknowledged. Raises `address_mismatch`. What is kept may be older than a
        change: then approval is asked again first, and the sender is told to try again
        (`unknown_key`).
        """
        address = turn.arrival.address
        contact = self.node.directory.by_name(received.issuer)
        if address is None or (contact is not None and contact.calls_from(address)):
            return
        row = turn.unit.get(GUARANTEES, received.issuer)
        if row is not None and row.confirmed_at + CONFIRMED_SECONDS < turn.now:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._refresh, received.issuer)
            raise PeerFault(fault("unknown_key"), "the registered address is being looked up")
        raise PeerFault(fault("address_mismatch"), address)

    def _refresh(self, party: str) -> None:
        task = asyncio.create_task(self._quietly(party))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _quietly(self, party: str) -> None:
        try:
            await self.ask_about(party)
        except SuretyError as error:
            log.warning("not refreshed", extra={"party": party, "code": error.fault.code})

    def _instance(self, unit: Unit) -> str:
        row = unit.get(SETTINGS, "instance")
        if row is None:
            row = Setting("instance", self.node.clock.entropy(16).hex())
            unit.put(SETTINGS, row)
        return row.value

    def _sealed(self, unit: Unit, identity: Identity, request: RegistrationRequest) -> bytes:
        turn = Turn(unit, identity, self.node.clock, lambda _row: None)
        sealed = turn.seal(request, self.trust.principal, turn.now + 3600)
        turn.keep_sent(request, sealed, self.trust.principal, None)
        return sealed.raw

    def _granted(self, lines: list[bytes]) -> Verified[RegistrationGranted]:
        now = self.node.clock.milliseconds() // 1000
        for line in lines:
            if line.startswith(b"{"):
                raise PeerFault(fault(str(msgspec.json.decode(line).get("code"))))
            found = verify(unwrap(line), self.trust.key, audience=UNREGISTERED, now=now)
            if isinstance(found.message, Refusal):
                raise PeerFault(fault(found.message.code), found.message.detail)
            if isinstance(found.message, RegistrationGranted):
                return cast("Verified[RegistrationGranted]", found)
        raise OurFault(fault("peer_unreachable"), "approval's answer holds no license")

    def _keep_grant(
        self, unit: Unit, granted: Verified[RegistrationGranted], currencies: tuple[str, ...]
    ) -> None:
        message = granted.message
        journal.record(
            unit,
            granted.raw,
            Direction.RECEIVED,
            name=message.name,
            message_id=granted.message_id,
            counterpart=self.trust.principal,
            subject=None,
        )
        unit.put(SETTINGS, Setting("party", message.party))
        unit.put(SETTINGS, Setting("public_key", self.key.public.x))
        unit.put(SETTINGS, Setting("currencies", msgspec.json.encode(currencies).decode()))
        unit.put(SETTINGS, Setting("lease_until", str(message.lease_until)))
        unit.put(SETTINGS, Setting("guarantee", message.guarantee))
        unit.put(SETTINGS, Setting("caps", msgspec.json.encode(message.caps).decode()))

    def _renewed(self, turn: Turn, received: Verified[LeaseRenewed]) -> None:
        turn.put_setting("lease_until", str(received.message.lease_until))
        turn.put_setting("guarantee", received.message.guarantee)
        self.lease_until = received.message.lease_until

    def _changed(self, turn: Turn, received: Verified[InformationChanged]) -> None:
        turn.put_setting("guarantee", received.message.guarantee)

    def _answered(self, turn: Turn, received: Verified[StandingAnswer]) -> None:
        found = self.node.directory.learn(turn.unit, received.message.guarantee, turn.now)
        if found.message.party != received.message.party:
            raise PeerFault(fault("guarantee_invalid"), "the answer names another party")
        self.told(turn, received.message, found.message)


def _nobody(_turn: Turn, _answer: StandingAnswer, _guarantee: Guarantee) -> None:
    return None
