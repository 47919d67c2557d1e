"""Approval's rules: the cross-check of an order as one table, and when to guarantee. Pure."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from core.approval.rows import (
    DigestRow,
    LedgerRow,
    OrderRow,
    PartyRow,
    SerialRow,
    SerialState,
    Standing,
)
from core.approval.rows import OrderState as S
from core.protocol.faults import PeerFault, fault
from core.protocol.money import Money
from core.protocol.standing import RegistrationRequest
from core.protocol.terms import OrderRef, Terms, reference, terms_hash
from core.protocol.transitions import Row, Table

WIDEST: Final = {4: 8, 6: 16}
"""The shortest prefix of a source network, by IP version."""

HOLD_SECONDS: Final = 600 + 120
"""How long a vouched order may take: the member's ten minutes and two more."""


class Event(StrEnum):
    """What can happen to an order here.

    `…_DIFFERS`: the terms are not those that were vouched for.
    """

    VOUCH = "VOUCH"
    REPORT = "REPORT"
    REPORT_DIFFERS = "REPORT_DIFFERS"
    VERIFY = "VERIFY"
    VERIFY_DIFFERS = "VERIFY_DIFFERS"
    RELEASE = "RELEASE"
    TIME_UP = "TIME_UP"


ORDERS: Final = Table(
    "approval",
    S.NONE,
    (
        Row(S.NONE, Event.VOUCH, S.VOUCHED, ("merchant.found",)),
        Row(S.VOUCHED, Event.VOUCH, S.VOUCHED, ("merchant.found",)),
        Row(S.VOUCHED, Event.REPORT, S.REPORT_ONLY),
        Row(S.VOUCHED, Event.REPORT_DIFFERS, S.MISMATCH, ("refusal",)),
        Row(S.VOUCHED, Event.VERIFY, S.VERIFY_ONLY, ("verification.pending",)),
        Row(
            S.VOUCHED,
            Event.VERIFY_DIFFERS,
            S.MISMATCH,
            ("refusal", "verification.failed to the agency"),
        ),
        Row(S.VOUCHED, Event.RELEASE, S.RELEASED),
        Row(S.VOUCHED, Event.TIME_UP, S.EXPIRED, ("verification.failed to both",)),
        Row(S.REPORT_ONLY, Event.REPORT, S.REPORT_ONLY),
        Row(S.REPORT_ONLY, Event.VERIFY, S.RECORDED, ("verification", "recorded.notice")),
        Row(
            S.REPORT_ONLY,
            Event.VERIFY_DIFFERS,
            S.MISMATCH,
            ("refusal", "verification.failed to the agency"),
        ),
        Row(S.REPORT_ONLY, Event.TIME_UP, S.EXPIRED, ("verification.failed to both",)),
        Row(S.VERIFY_ONLY, Event.VERIFY, S.VERIFY_ONLY, ("verification.pending",)),
        Row(S.VERIFY_ONLY, Event.REPORT, S.RECORDED, ("verification", "recorded.notice")),
        Row(
            S.VERIFY_ONLY,
            Event.REPORT_DIFFERS,
            S.MISMATCH,
            ("refusal", "verification.failed to the merchant"),
        ),
        Row(S.VERIFY_ONLY, Event.RELEASE, S.RELEASED, ("verification.failed to the merchant",)),
        Row(S.VERIFY_ONLY, Event.TIME_UP, S.EXPIRED, ("verification.failed to both",)),
        Row(S.RECORDED, Event.VERIFY, S.RECORDED, ("verification",)),
        Row(S.RECORDED, Event.REPORT, S.RECORDED, ("recorded.notice",)),
    ),
)
"""The purchase as approval sees it.

A recorded sale is recorded for good: what differs later is refused.
"""


def check_standing(party: PartyRow | None, now: int) -> PartyRow:
    """The party, if it may take part at this moment.

    Raises `party_unknown`, `party_suspended`, `party_revoked`, `lease_expired`.
    """
    if party is None:
        raise PeerFault(fault("party_unknown"))
    if party.state is Standing.REVOKED:
        raise PeerFault(fault("party_revoked"), party.party)
    if party.state is Standing.SUSPENDED:
        raise PeerFault(fault("party_suspended"), party.party)
    if party.lease_until < now:
        raise PeerFault(fault("lease_expired"), party.party)
    return party


def check_reference(order: OrderRef, terms: Terms) -> None:
    """Raises `terms_mismatch` unless the reference is exactly that of the terms beside it."""
    if order != reference(terms):
        raise PeerFault(
            fault("terms_mismatch"), "the order reference does not follow from the terms"
        )


def compare(event: Event, order: OrderRow, terms: Terms) -> Event:
    """`event` where every field equals the vouched terms, else its `…_DIFFERS`.

    The terms' hash covers each field.
    """
    if terms_hash(terms) == order.terms_hash and terms.offer_hash == order.offer_hash:
        return event
    return Event(f"{event}_DIFFERS")


def differing(vouched: Terms, reported: Terms) -> str:
    """The names of the fields that differ, for the refusal's detail."""
    before, after = msgspec.structs.asdict(vouched), msgspec.structs.asdict(reported)
    return ", ".join(name for name in before if before[name] != after[name])


def check_vouch(
    order: OrderRow | None, terms: Terms, agency: PartyRow, merchant: PartyRow, now: int
) -> None:
    """Raises unless approval may vouch for a merchant in an order on these terms.

    `order_conflict` (the number is taken by other terms), `order_expired`, `unsupported_currency`.
    """
    if order is not None and order.terms_hash != terms_hash(terms):
        raise PeerFault(fault("order_conflict"), terms.order_number)
    if terms.expires_at < now:
        raise PeerFault(fault("order_expired"), terms.order_number)
    for party in (agency, merchant):
        if terms.amount.currency not in msgspec.json.decode(party.currencies):
            raise PeerFault(
                fault("unsupported_currency"), f"{terms.amount.currency} with {party.party}"
            )


def vouched_until(terms: Terms, now: int) -> int:
    """Until when the reservation is held."""
    return min(now + HOLD_SECONDS, terms.expires_at + 120)


def cap_of(agency: PartyRow, currency: str) -> int:
    """The agency's cap in a currency, in minor units; 0 where it has none."""
    caps = msgspec.json.decode(agency.caps, type=list[Money])
    return next((cap.minor for cap in caps if cap.currency == currency), 0)


def reserve(ledger: LedgerRow, minor: int, cap: int) -> LedgerRow:
    """Exposure reserved for an order. Raises `cap_exceeded`, which says nothing of the member."""
    if minor <= 0 or ledger.reserved + ledger.committed + minor > cap:
        raise PeerFault(fault("cap_exceeded"))
    return msgspec.structs.replace(ledger, reserved=ledger.reserved + minor)


def release(ledger: LedgerRow, minor: int) -> LedgerRow:
    """A reservation given back."""
    if ledger.reserved < minor:
        raise RuntimeError("more is released than was reserved")
    return msgspec.structs.replace(ledger, reserved=ledger.reserved - minor)


def commit(ledger: LedgerRow, minor: int) -> LedgerRow:
    """A reservation that became a recorded sale."""
    if ledger.reserved < minor:
        raise RuntimeError("more is committed than was reserved")
    return msgspec.structs.replace(
        ledger,
        reserved=ledger.reserved - minor,
        committed=ledger.committed + minor,
        records=ledger.records + 1,
    )


def check_serial(serial: SerialRow | None, request: RegistrationRequest, kid: str) -> SerialRow:
    """The serial's row, if this request may use it.

    Raises `serial_refused`, the same whatever is wrong with it; `unsupported_currency`, `malformed`
    where the request does not suit the contract. A serial that this very key has used is allowed
    again: its answer may have been lost.
    """
    refused = PeerFault(fault("serial_refused"))
    if serial is None or serial.kind != request.kind or serial.legal_name != request.legal_name:
        raise refused
    if serial.state is SerialState.WITHDRAWN or (
        serial.state is SerialState.USED and serial.kid != kid
    ):
        raise refused
    contract = {cap.currency for cap in msgspec.json.decode(serial.caps, type=list[Money])}
    if not set(request.currencies) <= contract:
        raise PeerFault(fault("unsupported_currency"), "not in the contract")
    if (request.kind == "agency") != (request.sealing_key is not None):
        raise PeerFault(fault("malformed"), "agencies, and only agencies, have a sealing key")
    if (request.kind == "merchant") != (request.discovery is not None):
        raise PeerFault(
            fault("malformed"), "merchants, and only merchants, choose a discovery mode"
        )
    return serial


def check_networks(networks: tuple[str, ...] | None) -> None:
    """Raises `change_refused` for a network that is none, or so wide that it says nothing."""
    for text in networks or ():
        try:
            network = ip_network(text)
        except ValueError:
            raise PeerFault(fault("change_refused"), f"{text} is not a network") from None
        if network.prefixlen < WIDEST[network.version]:
            raise PeerFault(fault("change_refused"), f"{text} is too wide")


def check_reachable(networks: tuple[str, ...] | None, address: str | None) -> None:
    """Raise `change_refused` for networks that the asker itself does not call from.

    With them it could neither go on nor take the change back.
    """
    if networks is None or address is None:
        return
    caller = ip_address(address)
    if not any(caller in ip_network(text) for text in networks):
        raise PeerFault(
            fault("change_refused"), f"{address}, where you call from, is not among them"
        )


def check_search(row: DigestRow | None, merchant: str, now: int) -> DigestRow:
    """The registered digest, if this merchant may learn the agency behind it.

    Raises `agency_unknown`, the same whatever is wrong.
    """
    if row is None or row.expires_at < now or row.merchant not in {None, merchant}:
        raise PeerFault(fault("agency_unknown"))
    return row
