"""The wallet: one store, one outbox, any number of memberships.

It runs no server; it calls out and collects.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import sqlalchemy as sa

from core.exchange.directory import Contact, Directory, Trust, contact_of
from core.exchange.node import Node
from core.exchange.peers import post_lines
from core.exchange.receiving import Handler, by
from core.exchange.tables import SETTINGS, Setting
from core.exchange.turn import Identity, Turn
from core.member.books import MEMBERSHIPS, METADATA, memberships
from core.member.engine import MemberEngine
from core.member.links import JoinLink, read_join
from core.member.purchases import Purchases
from core.member.rows import MembershipRow
from core.protocol.control import Refusal
from core.protocol.envelope import Verified, unwrap, verify
from core.protocol.faults import OurFault, PeerFault, fault
from core.protocol.identifiers import device
from core.protocol.keys import PublicKey, SigningKey
from core.protocol.membership import EnrolmentGranted, EnrolmentRequest
from core.protocol.purchase import CompletionNotice, PurchaseResult, StateAnswer
from core.protocol.standing import AgencyGuarantee

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.exchange.clock import Clock
    from core.exchange.peers import Answer, Caller
    from core.exchange.tables import Waiting
    from core.protocol.envelope import Unopened
    from core.protocol.message import Message
    from core.storage.engine import Database
    from core.storage.unit import Unit
    from core.vault.port import Vault

log = logging.getLogger(__name__)
TICK_SECONDS: Final = 5.0
PURGE_SECONDS: Final = 300.0


class Wallet:
    """A member's wallet. `open` it; `join` an agency; `engines` are its memberships."""

    schema = METADATA

    def __init__(self, database: Database, clock: Clock, caller: Caller, vault: Vault) -> None:
        self.node = Node(database, clock, caller, Directory())
        self.engines: dict[str, MemberEngine] = {}
        self.purchases = Purchases(self.node.directory, self._identities)
        self._vault = vault
        self._identities_by_name: dict[str, Identity] = {}
        self.node.identity_of = self._identity_of  # type: ignore[method-assign]
        self.node.headers_for = self._headers_for  # type: ignore[method-assign]
        agency = by("agency")
        self.handlers: dict[type[Message], Handler] = {
            CompletionNotice: Handler(self.purchases.noticed, agency),
            PurchaseResult: Handler(self.purchases.ended, agency),
            StateAnswer: Handler(_state, agency, asked=True),
            Refusal: Handler(self.purchases.refused, by("agency", "merchant"), asked=True),
        }
        self.node.serve(self)

    async def start(self) -> None:
        """Open the store, know the agencies and purchases in it, go on where it stopped."""
        self.node.open()
        rows = await self.node.writer.submit(self._load)
        for row in rows:
            seed = await asyncio.to_thread(self._vault.get, _seed_name(row.kid))
            if seed is None:
                raise OurFault(
                    fault("internal"),
                    f"the vault has no key for the membership with {row.legal_name}",
                )
            self._add(row, seed)
        await self.node.writer.submit(self.purchases.load)
        await self.node.outbox.resume()
        self.node.every(TICK_SECONDS, self._tick)
        self.node.every(PURGE_SECONDS, self.node.purge)

    async def stop(self) -> None:
        """Stop every engine, commit what was begun, close."""
        for engine in self.engines.values():
            await engine.stop()
        await self.node.stop()

    async def join(self, invitation: str) -> MemberEngine:
        """Join the agency that an invitation link names, with a fresh device key.

        Raises `PeerFault` with the agency's refusal, `OurFault("peer_unreachable")`. Safe to repeat
        with the same link.
        """
        link = read_join(invitation)
        self.trust_in(link.trust.principal, link.trust.key.x)
        name = f"joining-{link.invitation.lower().replace('_', '.')}"[:60].rstrip(".-")
        seed = await asyncio.to_thread(self._kept_seed, name)
        key = SigningKey(seed)
        identity = Identity(device(key.kid), key)
        contact, agency = await self._agency_at(link)
        request = EnrolmentRequest(invitation=link.invitation, key=key.public.x)
        raw = await self.node.writer.submit(
            lambda unit: (
                Turn(unit, identity, self.node.clock, lambda _row: None)
                .seal(request, contact.principal, unit.now // 1000 + 600)
                .raw
            )
        )
        answer = await post_lines(self.node.caller, link.endpoint, [raw])
        granted = self._granted(answer, contact, identity)
        await asyncio.to_thread(self._vault.put, _seed_name(key.kid), seed)
        row = MembershipRow(
            kid=key.kid,
            agency=contact.principal,
            endpoint=contact.endpoint,
            legal_name=agency.legal_name,
            sealing_key=agency.sealing_key,
            routing_code=agency.routing_code,
            currency=granted.message.limit.currency,
            limit_minor=granted.message.limit.minor,
            joined_at=granted.issued_at,
        )
        await self.node.writer.submit(lambda unit: self._keep(unit, row, link, granted))
        await asyncio.to_thread(self._vault.delete, name)
        engine = self._add(row, seed)
        engine.session = answer.headers.get("surety-session")
        return engine

    async def find(self, kid: str, unopened: Unopened) -> Contact | None:  # noqa: ARG002 - the port's signature
        """An agency or merchant that this wallet has a guarantee of; it asks nobody else."""
        return self.node.directory.by_kid(kid)

    def admit(self, turn: Turn, received: Verified[Any]) -> None:
        """Whatever comes was asked for, or collected from an agency that this wallet has joined."""

    def receipted(self, turn: Turn, waiting: Waiting) -> None:
        """Nothing hangs on a receipt here."""

    def trust_in(self, approval: str, x: str) -> None:
        """Take this institution as the one whose word counts.

        Raises `guarantee_invalid` where there is another already.
        """
        held, given = self.node.directory.trust, Trust(approval, PublicKey(x), "")
        if held is None:
            self.node.directory.trust = given
        elif (held.principal, held.key.kid) != (given.principal, given.key.kid):
            raise PeerFault(
                fault("guarantee_invalid"),
                "the invitation rests on another institution than this wallet",
            )

    async def _agency_at(self, link: JoinLink) -> tuple[Contact, AgencyGuarantee]:
        answer = await self.node.caller.call("GET", f"{link.endpoint}/guarantee")
        if answer.status != 200 or not answer.lines:  # noqa: PLR2004
            raise OurFault(fault("peer_unreachable"), f"the agency answered {answer.status}")
        now = self.node.clock.milliseconds() // 1000
        found = self.node.directory.open(answer.lines[0], now)
        if not isinstance(found.message, AgencyGuarantee):
            raise PeerFault(fault("guarantee_invalid"), "not an agency's")
        raw = answer.lines[0]
        await self.node.writer.submit(lambda unit: self.node.directory.learn(unit, raw, now))
        return contact_of(found.message, found.expires_at), found.message

    def _granted(
        self, answer: Answer, agency: Contact, identity: Identity
    ) -> Verified[EnrolmentGranted]:
        now = self.node.clock.milliseconds() // 1000
        for line in answer.lines:
            if line.startswith(b"{"):
                raise PeerFault(fault(str(msgspec.json.decode(line).get("code"))))
            found = verify(unwrap(line), agency.key, audience=identity.principal, now=now)
            if isinstance(found.message, Refusal):
                raise PeerFault(fault(found.message.code), found.message.detail)
            if isinstance(found.message, EnrolmentGranted):
                return cast("Verified[EnrolmentGranted]", found)
        raise OurFault(fault("peer_unreachable"), "the agency's answer grants nothing")

    def _kept_seed(self, name: str) -> bytes:
        seed = self._vault.get(name)
        if seed is None:
            seed = self.node.clock.entropy(32)
            self._vault.put(name, seed)
        return seed

    def _keep(
        self, unit: Unit, row: MembershipRow, link: JoinLink, granted: Verified[EnrolmentGranted]
    ) -> None:
        unit.put(MEMBERSHIPS, row)
        unit.put(SETTINGS, Setting("approval", link.trust.principal))
        unit.put(SETTINGS, Setting("approval_key", link.trust.key.x))
        self.node.directory.learn(unit, granted.message.guarantee, unit.now // 1000)

    def _load(self, unit: Unit) -> list[MembershipRow]:
        approval, key = unit.get(SETTINGS, "approval"), unit.get(SETTINGS, "approval_key")
        if approval is not None and key is not None:
            self.node.directory.trust = Trust(approval.value, PublicKey(key.value), "")
            self.node.directory.load(unit)
        return [MEMBERSHIPS.load(values) for values in unit.query(sa.select(memberships))]

    def _add(self, row: MembershipRow, seed: bytes) -> MemberEngine:
        engine = MemberEngine(self.node, row, seed, self.purchases)
        self.engines[row.kid] = engine
        self._identities_by_name[engine.identity.principal] = engine.identity
        self.purchases.membership(row, seed)
        if self.node.identity is None:
            self.node.identity = engine.identity
        return engine

    def _identities(self, identity: Identity) -> None:
        self._identities_by_name[identity.principal] = identity

    def _identity_of(self, principal: str | None) -> Identity | None:
        return self.node.identity if principal is None else self._identities_by_name.get(principal)

    def _headers_for(self, sender: str, recipient: str) -> Mapping[str, str]:
        engine = self.engines.get(sender.removeprefix("device:"))
        if engine is None or engine.session is None or recipient != engine.row.agency:
            return {}
        return {"Surety-Session": engine.session}

    async def _tick(self) -> None:
        await self.node.writer.submit(self.purchases.expire)


def _seed_name(kid: str) -> str:
    # Vaults take lower-case names; a thumbprint's letters are of both cases.
    return f"device-{kid.encode().hex()[:56]}"


def _state(turn: Turn, received: Verified[StateAnswer]) -> None:
    log.info(
        "state", extra={"state": received.message.state, "asked": turn.asked and turn.asked.name}
    )
