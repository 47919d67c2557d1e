"""One purchase, from the billing request to the recorded sale (rows 4 to 10)."""

from __future__ import annotations

from typing import Literal

from core.protocol.message import Message
from core.protocol.names import (
    AnonymousId,
    CompactJws,
    Count,
    Digest,
    Label,
    OrderNumber,
    Seconds,
    Text,
    Thumbprint,
)
from core.protocol.terms import Offer, OrderRef, Terms

MAX_ORDER_LIFETIME = 31 * 86_400


class BillingRequest(Message, frozen=True, kw_only=True):
    """Merchant → agency (row 4): bill the member behind this anonymous ID.

    The "billing agency identification search request".

    `order_number` and `terms_hash` are both given (the merchant makes the number) or both null (the
    agency does).
    """

    name = "billing.request/1"
    lifetime = MAX_ORDER_LIFETIME

    anonymous_id: AnonymousId
    offer: Offer
    offer_hash: Digest
    order_key: Thumbprint
    order_number: OrderNumber | None
    terms_hash: Digest | None


class MerchantSearch(Message, frozen=True, kw_only=True):
    """Agency → approval (row 5): vouch for this merchant in this order.

    The "retail entity identification search request".
    """

    name = "merchant.search/1"
    lifetime = MAX_ORDER_LIFETIME

    order: OrderRef
    terms: Terms


class MerchantFound(Message, frozen=True, kw_only=True):
    """Approval → agency (row 5): the merchant's guarantee.

    The exposure is reserved until `vouched_until`.
    """

    name = "merchant.found/1"
    lifetime = MAX_ORDER_LIFETIME

    guarantee: CompactJws
    order: OrderRef
    vouched_until: Seconds


class CompletionNotice(Message, frozen=True, kw_only=True):
    """Agency → member (row 6): this is what you are about to confirm.

    Everything shown stands in these bytes or in the offer they name.
    """

    name = "completion.notice/1"
    lifetime = MAX_ORDER_LIFETIME

    answer_by: Seconds
    guarantee: CompactJws
    merchant_name: Label
    order: OrderRef
    payment_method: Label
    terms: Terms


class Consent(Message, frozen=True, kw_only=True):
    """Member → agency (row 6): the device key's signature over what was shown.

    `notice_digest`: SHA-256 of the notice's exact bytes.
    """

    name = "consent/1"
    lifetime = MAX_ORDER_LIFETIME

    decision: Literal["confirm", "decline"]
    notice_digest: Digest
    order: OrderRef


class CompletionReport(Message, frozen=True, kw_only=True):
    """Agency → merchant (row 7): order number and result. Goods do not move on this."""

    name = "completion.report/1"
    lifetime = MAX_ORDER_LIFETIME

    order: OrderRef
    reason: Text
    result: Literal["confirmed", "declined", "expired", "refused"]
    terms: Terms


class TransactionReport(Message, frozen=True, kw_only=True):
    """Agency → approval (row 8): the member consented, I will bill.

    `consent_digest` commits to the consent without showing who gave it.
    """

    name = "transaction.report/1"
    lifetime = MAX_ORDER_LIFETIME

    consent_digest: Digest
    order: OrderRef
    payment_method: Label
    terms: Terms


class VouchRelease(Message, frozen=True, kw_only=True):
    """Agency → approval: this order will not become a sale; release what was reserved for it."""

    name = "vouch.release/1"
    lifetime = MAX_ORDER_LIFETIME

    order: OrderRef
    reason: Literal["declined", "expired", "refused"]


class VerificationRequest(Message, frozen=True, kw_only=True):
    """Merchant → approval (row 9): the sale on these terms, to be verified.

    `completion_digest` names the agency's report that it rests on.
    """

    name = "verification.request/1"
    lifetime = MAX_ORDER_LIFETIME

    completion_digest: Digest
    order: OrderRef
    terms: Terms


class VerificationPending(Message, frozen=True, kw_only=True):
    """Approval → merchant (row 9): the agency's report has not come yet.

    The verification follows unasked, or the order ends at `until`.
    """

    name = "verification.pending/1"

    order: OrderRef
    until: Seconds


class Verification(Message, frozen=True, kw_only=True):
    """Approval → merchant (row 9): recorded and guaranteed; ship."""

    name = "verification/1"
    lifetime = 10 * 366 * 86_400

    order: OrderRef
    record: Count
    recorded_at: Seconds
    terms: Terms


class RecordedNotice(Message, frozen=True, kw_only=True):
    """Approval → agency (row 10): recorded; the member may be billed."""

    name = "recorded.notice/1"
    lifetime = 10 * 366 * 86_400

    order: OrderRef
    record: Count
    recorded_at: Seconds


class VerificationFailed(Message, frozen=True, kw_only=True):
    """Approval → merchant and agency: this order will not be a sale. `reason` is a fault code."""

    name = "verification.failed/1"
    lifetime = MAX_ORDER_LIFETIME

    order: OrderRef
    reason: Label


class PurchaseResult(Message, frozen=True, kw_only=True):
    """Agency → member: how the purchase ended.

    `recorded`: approval's own recorded notice, where it became a sale.
    """

    name = "purchase.result/1"
    lifetime = MAX_ORDER_LIFETIME

    offer_hash: Digest
    order: OrderRef | None
    reason: Text
    recorded: CompactJws | None
    result: Literal["recorded", "declined", "expired", "refused", "failed"]


class StateQuery(Message, frozen=True, kw_only=True):
    """Any party → any party: the question how our order stands."""

    name = "state.query/1"
    lifetime = 300

    offer_hash: Digest


class StateAnswer(Message, frozen=True, kw_only=True):
    """The asked party's own state of the order, by its own state names.

    Null where it knows none that concerns the asker.
    """

    name = "state.answer/1"
    lifetime = 300

    offer_hash: Digest
    order: OrderRef | None
    state: Label | None
