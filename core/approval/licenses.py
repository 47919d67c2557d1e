"""Serial numbers, registration, licenses, leases, changes, suspension (claims 4 to 9)."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import sqlalchemy as sa

from core.approval import rules
from core.approval.books import LEDGERS, PARTIES, SERIALS, parties
from core.approval.guarantees import current, issue, next_epoch, push_all, push_change
from core.approval.rows import LedgerRow, PartyRow, SerialRow, SerialState, Standing
from core.protocol.canonical import b64url, digest
from core.protocol.control import Refusal
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import (
    SERIAL_BYTES,
    is_serial_number,
    party_id,
    routing_code,
    serial_number,
)
from core.protocol.keys import seal_to
from core.protocol.money import Money, exponent
from core.protocol.standing import (
    InformationChange,
    InformationChanged,
    LeaseRenewal,
    LeaseRenewed,
    Limits,
    RegistrationGranted,
    RegistrationRequest,
    StandingAnswer,
    StandingQuery,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified

T = TypeVar("T")
LEASE_SECONDS: Final = 86_400
SEEN_EVERY: Final = 60
_BY_KID = sa.select(parties.c.party).where(parties.c.kid == sa.bindparam("kid"))


class Licenses:
    """Who may take part.

    `license_secret`: the 32 bytes that license keys are derived from, so that a registration whose
    answer was lost can be answered again although only the key's hash is kept.
    """

    def __init__(self, license_secret: bytes, known: Callable[[PartyRow], None]) -> None:
        self._secret = license_secret
        self._known = known

    def issue_serial(self, turn: Turn, kind: str, legal_name: str, caps: tuple[Money, ...]) -> str:
        """A new serial number, bound to a contract; only its hash is kept.

        Raises `unsupported_currency`.
        """
        for cap in caps:
            exponent(cap.currency)
        serial = serial_number(turn.clock.entropy(SERIAL_BYTES))
        held = msgspec.json.encode(caps).decode()
        turn.unit.add(
            SERIALS,
            SerialRow(
                digest(serial.encode()),
                kind,
                legal_name,
                held,
                SerialState.ISSUED,
                None,
                None,
                turn.now,
                None,
            ),
        )
        return serial

    def withdraw_serial(self, turn: Turn, serial: str) -> None:
        """Make a serial number that was not used yet unusable. Raises `serial_refused`."""
        row = turn.unit.get(SERIALS, digest(serial.encode()))
        if row is None or row.state is not SerialState.ISSUED:
            raise PeerFault(fault("serial_refused"))
        turn.unit.put(SERIALS, msgspec.structs.replace(row, state=SerialState.WITHDRAWN))

    def register(self, turn: Turn, received: Verified[RegistrationRequest]) -> RegistrationGranted:
        """A newly installed program gets its license (claims 4, 5)."""
        request = received.message
        if not is_serial_number(request.serial):
            raise PeerFault(fault("serial_refused"))
        serial = rules.check_serial(
            turn.unit.get(SERIALS, digest(request.serial.encode())), request, received.kid
        )
        rules.check_networks(request.source_networks)
        if request.sealing_key is not None:
            seal_to(request.sealing_key, b"")  # a key that nothing can be sealed to is refused here
        known = turn.unit.get(PARTIES, serial.party) if serial.party else None
        row = known or self._admit(turn, serial, received)
        turn.reply_headers["Surety-License"] = self.license_key(row.party, row.kid)
        caps = tuple(msgspec.json.decode(row.caps, type=list[Money]))
        return RegistrationGranted(
            caps=caps, guarantee=current(turn, row), lease_until=row.lease_until, party=row.party
        )

    def license_key(self, party: str, kid: str) -> str:
        """The unique license key of a party's installation."""
        return b64url(hmac.digest(self._secret, f"license {party} {kid}".encode(), "sha256"))

    def _admit(
        self, turn: Turn, serial: SerialRow, received: Verified[RegistrationRequest]
    ) -> PartyRow:
        request = received.message
        if turn.unit.query(_BY_KID, kid=received.kid):
            raise PeerFault(fault("already_registered"))
        party = party_id(request.kind, turn.clock.entropy(10))
        code = routing_code(turn.clock.entropy(5)) if request.kind == "agency" else None
        row = issue(
            turn,
            PartyRow(
                party=party,
                kind=request.kind,
                legal_name=request.legal_name,
                kid=received.kid,
                key=request.key,
                sealing_key=request.sealing_key,
                routing_code=code,
                discovery=request.discovery,
                instance=request.instance,
                license_hash=digest(self.license_key(party, received.kid).encode()),
                caps=serial.caps,
                currencies=_listed(request.currencies),
                payment_methods=_listed(request.payment_methods),
                payout_account=request.payout_account,
                endpoint=request.endpoint,
                source_networks=_listed(request.source_networks),
                state=Standing.ACTIVE,
                reason="",
                epoch=next_epoch(turn),
                counter=0,
                lease_until=turn.now + LEASE_SECONDS,
                last_seen=turn.now,
                registered_at=turn.now,
                guarantee=b"",
                guarantee_until=0,
            ),
        )
        turn.unit.put(
            SERIALS,
            msgspec.structs.replace(
                serial, state=SerialState.USED, party=party, kid=received.kid, used_at=turn.now
            ),
        )
        if row.kind == "agency":
            for currency in request.currencies:
                turn.unit.add(LEDGERS, LedgerRow(party, currency, 0, 0, 0))
        self._announce(turn, row)
        push_all(turn, row)
        return row

    def renew(self, turn: Turn, received: Verified[LeaseRenewal]) -> LeaseRenewed | Refusal:
        """A sign of life: the lease moves on.

        A counter that falls back, or another instance, betrays a clone.
        """
        row = self._row(turn, received.issuer)
        message = received.message
        if message.instance != row.instance or message.counter <= row.counter:
            self.set_standing(
                turn, row.party, Standing.SUSPENDED, "two installations use this license"
            )
            return Refusal(code="clone_detected", detail="suspended", subject=None)
        row = msgspec.structs.replace(
            row, counter=message.counter, lease_until=turn.now + LEASE_SECONDS, last_seen=turn.now
        )
        turn.unit.put(PARTIES, row)
        guarantee = current(turn, row)
        return LeaseRenewed(epoch=row.epoch, guarantee=guarantee, lease_until=row.lease_until)

    def change(self, turn: Turn, received: Verified[InformationChange]) -> InformationChanged:
        """A party's own information changes (claims 6, 7).

        The directory moves on, and everybody who keeps it hears of it. Raises `change_refused`.
        """
        row = self._row(turn, received.issuer)
        message = received.message
        if message.discovery is not None and row.kind != "merchant":
            raise PeerFault(fault("change_refused"), "only merchants choose a discovery mode")
        rules.check_networks(message.source_networks)
        rules.check_reachable(message.source_networks, turn.arrival.address)
        before = row.discovery
        row = msgspec.structs.replace(
            row,
            discovery=_or(message.discovery, row.discovery),
            endpoint=_or(message.endpoint, row.endpoint),
            payout_account=_or(message.payout_account, row.payout_account),
            payment_methods=_listed(message.payment_methods)
            if message.payment_methods
            else row.payment_methods,
            source_networks=_listed(message.source_networks)
            if message.source_networks
            else row.source_networks,
            epoch=next_epoch(turn),
        )
        row = issue(turn, row)
        self._announce(turn, row)
        if row.discovery != before:
            push_all(turn, row)
        return InformationChanged(epoch=row.epoch, guarantee=row.guarantee.decode("ascii"))

    def query(self, turn: Turn, received: Verified[StandingQuery]) -> StandingAnswer:
        """Who a party is, and for the entitled how it is paid and limited (row 1b; claims 8, 9)."""
        row = turn.unit.get(PARTIES, received.message.party)
        if row is None:
            raise PeerFault(fault("party_unknown"))
        if row.state is Standing.REVOKED:
            raise PeerFault(fault("party_revoked"))
        if row.state is Standing.SUSPENDED:
            raise PeerFault(fault("party_suspended"))
        itself = received.issuer == row.party
        pays = received.issuer.startswith("agency-") and row.kind == "merchant"
        return StandingAnswer(
            guarantee=current(turn, row),
            limits=self._limits(turn, row) if itself else None,
            party=row.party,
            payout_account=row.payout_account if itself or pays else None,
        )

    def set_standing(self, turn: Turn, party: str, state: Standing, reason: str) -> PartyRow:
        """Suspend, reinstate or revoke; counts from this commit on.

        Raises `party_unknown`, `party_revoked`.
        """
        row = self._row(turn, party)
        if row.state is Standing.REVOKED and state is not Standing.REVOKED:
            raise PeerFault(fault("party_revoked"), "a revoked party needs a new contract")
        row = msgspec.structs.replace(row, state=state, reason=reason, epoch=next_epoch(turn))
        row = issue(turn, row) if state is Standing.ACTIVE else row
        turn.unit.put(PARTIES, row)
        push_change(turn, row)
        return row

    def seen(self, turn: Turn, row: PartyRow) -> None:
        """The license was used now; kept to the minute."""
        if turn.now - row.last_seen >= SEEN_EVERY:
            turn.unit.put(PARTIES, msgspec.structs.replace(row, last_seen=turn.now))

    def check_license(self, row: PartyRow, shown: str | None) -> None:
        """Raises `license_invalid` unless the license key that came along is the party's."""
        if shown is None or not hmac.compare_digest(
            digest(shown.encode("utf-8", "replace")), row.license_hash
        ):
            raise PeerFault(fault("license_invalid"))

    def _announce(self, turn: Turn, row: PartyRow) -> None:
        known = self._known
        turn.unit.after(lambda: known(row))
        push_change(turn, row)

    def _limits(self, turn: Turn, row: PartyRow) -> tuple[Limits, ...]:
        found: list[Limits] = []
        for cap in msgspec.json.decode(row.caps, type=list[Money]):
            ledger = turn.unit.get(LEDGERS, row.party, cap.currency)
            used = ledger.reserved + ledger.committed if ledger else 0
            found.append(Limits(cap=cap, used=used))
        return tuple(found)

    def _row(self, turn: Turn, party: str) -> PartyRow:
        row = turn.unit.get(PARTIES, party)
        if row is None:
            raise PeerFault(fault("party_unknown"), party)
        return row


def _listed(values: tuple[str, ...]) -> str:
    return json.dumps(values)


def _or(new: T | None, old: T) -> T:
    return old if new is None else new
