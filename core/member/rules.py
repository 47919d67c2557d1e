"""The member's rules: a purchase as one table, and what may be shown for consent. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from core.member.rows import PurchaseRow
from core.member.rows import PurchaseState as S
from core.protocol.faults import PeerFault, fault
from core.protocol.purchase import CompletionNotice
from core.protocol.standing import MerchantGuarantee
from core.protocol.terms import Offer, check_offer, fix_terms, reference
from core.protocol.transitions import Row, Table

GRACE_SECONDS: Final = 120


class Event(StrEnum):
    """What can happen to a purchase here."""

    BUY = "BUY"
    NOTICE = "NOTICE"
    CONFIRM = "CONFIRM"
    DECLINE = "DECLINE"
    RECORDED = "RECORDED"
    RESULT_DECLINED = "RESULT_DECLINED"
    RESULT_EXPIRED = "RESULT_EXPIRED"
    RESULT_REFUSED = "RESULT_REFUSED"
    RESULT_FAILED = "RESULT_FAILED"
    TIME_UP = "TIME_UP"


_OPEN = (S.ASKED, S.AWAIT_CONSENT, S.CONFIRMED)
PURCHASES: Final = Table(
    "member",
    S.SEEN,
    (
        Row(S.SEEN, Event.BUY, S.ASKED, ("anonymous_id.request or anonymous_id.presented",)),
        Row(S.SEEN, Event.TIME_UP, S.EXPIRED),
        Row(S.ASKED, Event.NOTICE, S.AWAIT_CONSENT),
        Row(S.ASKED, Event.TIME_UP, S.EXPIRED),
        Row(S.AWAIT_CONSENT, Event.CONFIRM, S.CONFIRMED, ("consent",)),
        Row(S.AWAIT_CONSENT, Event.DECLINE, S.DECLINED, ("consent",)),
        Row(S.AWAIT_CONSENT, Event.TIME_UP, S.EXPIRED),
        *(Row(state, Event.RECORDED, S.RECORDED) for state in _OPEN),
        *(Row(state, Event.RESULT_REFUSED, S.REFUSED) for state in _OPEN),
        *(Row(state, Event.RESULT_EXPIRED, S.EXPIRED) for state in _OPEN),
        *(Row(state, Event.RESULT_FAILED, S.FAILED) for state in _OPEN),
        *(Row(state, Event.RESULT_DECLINED, S.DECLINED) for state in (*_OPEN, S.DECLINED)),
    ),
)
"""After CONFIRM time alone ends nothing: the agency says how it ended."""


def check_seen(offer: Offer, guarantee: MerchantGuarantee, now: int) -> None:
    """Raises unless this offer may be shown.

    That is: whole, fresh, its merchant guaranteed for its currency.
    """
    if offer.merchant != guarantee.party:
        raise PeerFault(fault("guarantee_invalid"), "the guarantee is another merchant's")
    check_offer(offer)
    if offer.expires_at < now:
        raise PeerFault(fault("offer_expired"))
    if offer.amount.currency not in guarantee.currencies:
        raise PeerFault(fault("unsupported_currency"), offer.amount.currency)


def check_notice(
    notice: CompletionNotice, offer: Offer, purchase: PurchaseRow, agency: str
) -> None:
    """Raises `consent_mismatch` unless what is to be confirmed is what this wallet has looked at.

    Every field of the terms follows from the offer, but for the order number and the anonymous ID's
    digest.
    """
    expected = fix_terms(
        offer,
        agency=agency,
        id_digest=notice.terms.anonymous_id_digest,
        order_key=purchase.order_key,
        order_number=notice.terms.order_number,
        fingerprint=purchase.offer_hash,
    )
    if notice.terms != expected or notice.order != reference(expected):
        raise PeerFault(fault("consent_mismatch"), "the notice is not about what was looked at")
    if notice.merchant_name != purchase.merchant_name:
        raise PeerFault(fault("consent_mismatch"), "another merchant's name")
