"""From an offer to the billing request (rows 0, 2, 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from core.merchant import rules
from core.merchant.books import IDS, NUMBERS, OFFERS, ORDERS
from core.merchant.discovery import known, lookup
from core.merchant.rows import IdRow, NumberRow, OfferRow, OrderRow, OrderState
from core.merchant.rules import Event
from core.protocol.discovery import AgencyFound, AnonymousIdIntroduction, AnonymousIdPresented
from core.protocol.envelope import read_kept
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import offer_id, order_number
from core.protocol.money import Money
from core.protocol.purchase import BillingRequest
from core.protocol.standing import Discovery
from core.protocol.terms import (
    CancellationPolicy,
    Line,
    Offer,
    anonymous_id_digest,
    offer_hash,
    terms_hash,
)

if TYPE_CHECKING:
    from core.exchange.directory import Directory
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified


MAX_OFFER: Final = 250_000
"""Longest offer, in bytes of compact JWS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How this merchant does business.

    `fresh_seconds`: how old a pulled or pushed guarantee's confirmation may be.
    """

    discovery: Discovery
    order_numbers: Literal["merchant", "agency"]
    fresh_seconds: int


class Orders:
    """The merchant's orders until the agency has been asked to bill."""

    def __init__(self, directory: Directory, approval: str, wishes: Wishes) -> None:
        self._directory = directory
        self._approval = approval
        self.wishes = wishes

    def offer(  # noqa: PLR0913 - what an offer is made of, each by its name
        self,
        turn: Turn,
        *,
        lines: tuple[Line, ...],
        total: Money,
        reference: str,
        expires_at: int,
        policy: CancellationPolicy,
    ) -> OfferRow:
        """Sign an offer and keep it for whoever has its link (row 0)."""
        identifier = offer_id(turn.clock.entropy(16))
        message = Offer(
            amount=total,
            cancellation=policy,
            expires_at=expires_at,
            introduction="agency" if self.wishes.discovery == "lookup" else "member",
            lines=lines,
            merchant=turn.identity.principal,
            offer_id=identifier,
        )
        fingerprint = offer_hash(message)
        sealed = turn.state(message, expires_at, fingerprint)
        if len(sealed.raw) > MAX_OFFER:
            # It has to fit into a billing request, beside everything else.
            raise PeerFault(fault("too_large"), "shorten the lines' texts or split the order")
        row = OfferRow(identifier, fingerprint, sealed.raw)
        turn.unit.add(OFFERS, row)
        turn.unit.add(
            ORDERS,
            OrderRow(
                offer_hash=fingerprint,
                offer_id=identifier,
                state=OrderState.DRAFT,
                reference=reference,
                currency=total.currency,
                minor=total.minor,
                agency=None,
                order_number=None,
                terms_hash=None,
                order_key=None,
                anonymous_id_digest=None,
                anonymous_id=None,
                completion_digest=None,
                created_at=turn.now,
                deadline=expires_at + rules.GRACE_SECONDS,
                reason="",
            ),
        )
        return row

    def introduced(self, turn: Turn, received: Verified[AnonymousIdIntroduction]) -> None:
        """Row 2, claim 1: an agency introduces a buyer; approval is asked whose ID it is."""
        if self.wishes.discovery != "lookup":
            raise PeerFault(fault("out_of_order"), "this merchant takes anonymous IDs from members")
        message = received.message
        order = self._taken(turn, message, agency=received.issuer, order_key=message.order_key)
        order = msgspec.structs.replace(
            order, state=rules.ORDERS.next(order.state, Event.INTRODUCED).then
        )
        turn.unit.put(ORDERS, order)
        lookup.search(turn, order, self._approval)

    def presented(self, turn: Turn, received: Verified[AnonymousIdPresented]) -> None:
        """Row 2, claims 10 and 19: a buyer presents an ID.

        Its routing code names an agency that is known and fresh.
        """
        if self.wishes.discovery == "lookup":
            raise PeerFault(
                fault("out_of_order"), "this merchant takes anonymous IDs from agencies"
            )
        message = received.message
        code = message.anonymous_id.split(".", 1)[0]
        agency = known.by_routing_code(turn, self._directory, code, self.wishes.fresh_seconds)
        order = self._taken(turn, message, agency=agency.guarantee.party, order_key=received.kid)
        self._bill(turn, order, agency, Event.ROUTED)

    def found(self, turn: Turn, received: Verified[AgencyFound]) -> None:
        """Row 3, claim 1: approval names the agency and guarantees it."""
        order = self._order(turn, received.message.offer_hash)
        agency = lookup.found(turn, self._directory, order, received)
        self._bill(turn, order, agency, Event.AGENCY_FOUND)

    def offer_of(self, turn: Turn, order: OrderRow) -> Offer:
        """The offer that an order came from."""
        row = turn.unit.get(OFFERS, order.offer_id)
        if row is None:
            raise PeerFault(fault("offer_unknown"))
        offer: Any = read_kept(row.raw)
        message: Offer = offer
        return message

    def _order(self, turn: Turn, fingerprint: str) -> OrderRow:
        order = turn.unit.get(ORDERS, fingerprint)
        if order is None:
            raise PeerFault(fault("offer_unknown"))
        return order

    def _taken(
        self,
        turn: Turn,
        message: AnonymousIdIntroduction | AnonymousIdPresented,
        *,
        agency: str,
        order_key: str,
    ) -> OrderRow:
        if message.expires_at < turn.now:
            raise PeerFault(fault("anonymous_id_expired"))
        order = turn.unit.get(ORDERS, message.offer_hash)
        offer = self.offer_of(turn, order) if order else None
        order = rules.check_introduction(order, offer, turn.now)
        fingerprint = anonymous_id_digest(message.anonymous_id)
        if turn.unit.get(IDS, fingerprint) is not None:
            raise PeerFault(fault("anonymous_id_reused"))
        turn.unit.put(IDS, IdRow(fingerprint, order.offer_hash))
        expires_at = offer.expires_at if offer else turn.now
        return msgspec.structs.replace(
            order,
            agency=agency,
            order_key=order_key,
            anonymous_id=message.anonymous_id,
            anonymous_id_digest=fingerprint,
            deadline=min(expires_at, turn.now + rules.ORDER_SECONDS) + rules.GRACE_SECONDS,
        )

    def _bill(self, turn: Turn, order: OrderRow, agency: known.KnownAgency, event: Event) -> None:
        step = rules.ORDERS.next(order.state, event)
        rules.check_agency(agency.guarantee, order)
        offer = self.offer_of(turn, order)
        order = msgspec.structs.replace(order, state=step.then)
        if self.wishes.order_numbers == "merchant":
            number = order_number("M", turn.unit.now, turn.clock.entropy(5))
            turn.unit.add(NUMBERS, NumberRow(agency.guarantee.party, number, order.offer_hash))
            fixed = terms_hash(rules.expected_terms(offer, order, number))
            order = msgspec.structs.replace(order, order_number=number, terms_hash=fixed)
        request = BillingRequest(
            anonymous_id=order.anonymous_id or "",
            offer=offer,
            offer_hash=order.offer_hash,
            order_key=order.order_key or "",
            order_number=order.order_number,
            terms_hash=order.terms_hash,
        )
        turn.unit.put(ORDERS, order)
        turn.send(request, agency.guarantee.party, order.deadline or turn.now)
