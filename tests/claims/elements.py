"""The elements that claims 1, 10, 19 and 28 to 30 share, each looked for in what really passed.

A purchase has been made when these are called. `Purchase` reads it from the evidence at both ends
of every message; each function below is one paragraph of the claims.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from core.exchange.directory import Trust, open_guarantee
from core.member.rows import PurchaseRow, PurchaseState
from core.protocol.canonical import digest
from core.protocol.discovery import (
    AgencyFound,
    AgencySearch,
    AnonymousIdIntroduction,
    AnonymousIdPresented,
    AnonymousIdRegistration,
    AnonymousIdRequest,
)
from core.protocol.envelope import Verified, unwrap, verify_as_evidence, verify_self_signed
from core.protocol.identifiers import device, order_key
from core.protocol.membership import (
    EnrolmentGranted,
    EnrolmentRequest,
    SessionGranted,
    SessionRequest,
)
from core.protocol.purchase import (
    BillingRequest,
    CompletionNotice,
    CompletionReport,
    Consent,
    MerchantFound,
    MerchantSearch,
    PurchaseResult,
    RecordedNotice,
    TransactionReport,
    Verification,
    VerificationRequest,
)
from core.protocol.standing import (
    AgencyGuarantee,
    DirectoryPush,
    MerchantGuarantee,
    StandingAnswer,
    StandingQuery,
)
from core.protocol.terms import anonymous_id_digest, offer_hash, reference, terms_hash
from tests.world.nodes import LINES, TOTAL, Running
from tests.world.puppet import MEMBER, a_key, now, send
from tests.world.shopper import Shopper
from tests.world.trail import Trail

IDENTITY = {"name": "Quillfeather", "born": "1971-03-04"}
LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Before:
    """How the books stood before the purchase."""

    committed: int
    records: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase that was made, and everything that passed for it."""

    running: Running
    shopper: Shopper
    trail: Trail
    member: str
    row: PurchaseRow
    before: Before

    @property
    def subject(self) -> str:
        return self.row.offer_hash

    def passed(self, kind: Any, sender: str, receiver: str) -> Verified[Any]:
        """The one message of this type about this order."""
        found: Verified[Any] = self.trail.passed(kind, sender, receiver, subject=self.subject)
        return found

    @property
    def billing(self) -> BillingRequest:
        message: BillingRequest = self.passed(BillingRequest, "merchant", "agency").message
        return message

    @property
    def anonymous_id(self) -> str:
        return self.billing.anonymous_id

    @property
    def order_number(self) -> str:
        """As the agency shows it to the member."""
        return str(self.passed(CompletionNotice, "agency", "member").message.order.order_number)

    def guarantee(self, raw: str) -> Any:
        """What a guarantee says, checked against the key of the trust file."""
        held = self.running.trust
        trust = Trust(held["approval"], self.trail.key("approval"), held["endpoint"])
        return open_guarantee(raw, trust, now()).message


def ledger(running: Running) -> Before:
    """The agency's exposure at approval."""
    row = running.approval.written.row(
        "SELECT committed, records FROM ledgers WHERE agency = ?", running.parties["agency"]
    )
    return Before(row["committed"], row["records"])


async def bought(running: Running, shopper: Shopper, member: str) -> Purchase:
    """Make a purchase of `LINES`, to its end."""
    before = ledger(running)
    await shopper.engine.log_in()
    offer = running.offer(reference="claims")
    row = await shopper.whole(offer["link"])
    assert row.state is PurchaseState.RECORDED
    assert row.offer_hash == offer["offer_hash"]
    return Purchase(running, shopper, Trail(running, shopper), member, row, before)


def member_is_verified(purchase: Purchase) -> None:
    """The member accesses the agency; it verifies his identification and his information."""
    asked = purchase.running.agency.written
    request = asked.entries(
        EnrolmentRequest, direction="RECEIVED", counterpart=purchase.shopper.principal
    )
    assert len(request) == 1
    proof = verify_self_signed(
        unwrap(request[0].raw),
        audience=purchase.running.parties["agency"],
        now=request[0].claims["iat"],
    )
    assert proof.kid == purchase.shopper.engine.row.kid
    (granted,) = asked.entries(
        EnrolmentGranted, direction="SENT", counterpart=purchase.shopper.principal
    )
    assert granted.body["limit"] == {"currency": "GBP", "minor": LIMIT}
    held = asked.row("SELECT member FROM devices WHERE kid = ?", purchase.shopper.engine.row.kid)
    assert held["member"] == purchase.member
    logged_in = asked.entries(
        SessionRequest, direction="RECEIVED", counterpart=purchase.shopper.principal
    )
    (session,) = asked.entries(
        SessionGranted, direction="SENT", counterpart=purchase.shopper.principal
    )
    assert [entry.message_id for entry in logged_in] == [session.claims["ans"]]
    assert session.body["available"] == LIMIT
    row = asked.row("SELECT * FROM members WHERE member = ?", purchase.member)
    assert json.loads(row["identity"]) == IDENTITY
    assert (row["state"], row["limit_minor"]) == ("ACTIVE", LIMIT)
    stranger = a_key()
    refused = send(
        purchase.running.place("agency"),
        SessionRequest(nonce=digest(b"")),
        stranger,
        device(stranger.kid),
        address=MEMBER,
    )
    assert refused.problem == "no_member"


def merchant_information_is_told(purchase: Purchase) -> None:
    """The merchant's payment methods and private information, approval → agency that asked."""
    merchant = purchase.running.parties["merchant"]

    told = purchase.trail.passed(
        StandingAnswer,
        "approval",
        "agency",
        where=lambda claims: bool(claims["body"]["party"] == merchant),
        last=True,
    )
    asked = purchase.trail.passed(
        StandingQuery,
        "agency",
        "approval",
        where=lambda claims: bool(claims["jti"] == told.answers),
    )
    assert asked.message.party == merchant
    private = purchase.running.approval.written.row(
        "SELECT payout_account FROM parties WHERE party = ?", merchant
    )
    assert told.message.payout_account == private["payout_account"] != ""
    assert told.message.limits is None
    guarantee = purchase.guarantee(told.message.guarantee)
    assert isinstance(guarantee, MerchantGuarantee)
    assert guarantee.party == merchant
    assert "monthly account" in guarantee.payment_methods
    kept = purchase.running.agency.written.row(
        "SELECT payout_account, legal_name FROM merchants WHERE merchant = ?", merchant
    )
    assert kept == {
        "payout_account": told.message.payout_account,
        "legal_name": "Lantern & Heart Gifts Ltd",
    }


def agency_introduces(purchase: Purchase) -> None:
    """Claim 1: an anonymous ID, generated at the agency for the member, agency → merchant."""
    request = purchase.passed(AnonymousIdRequest, "member", "agency").message
    assert request.merchant == purchase.running.parties["merchant"]
    assert request.amount.minor == TOTAL
    introduction = purchase.passed(AnonymousIdIntroduction, "agency", "merchant").message
    assert introduction.anonymous_id == purchase.anonymous_id
    code = purchase.running.agency.written.setting("routing_code")
    assert purchase.anonymous_id.startswith(f"{code}.")
    fingerprint = anonymous_id_digest(purchase.anonymous_id)
    registered = purchase.trail.passed(
        AnonymousIdRegistration,
        "agency",
        "approval",
        where=lambda claims: bool(claims["body"]["anonymous_id_digest"] == fingerprint),
    )
    row = purchase.running.agency.written.row(
        "SELECT * FROM introductions WHERE digest = ?", fingerprint
    )
    assert (row["kid"], row["merchant"], row["offer_hash"], row["used"]) == (
        purchase.row.kid,
        request.merchant,
        purchase.subject,
        1,
    )
    assert purchase.trail.position("agency", registered) < purchase.trail.position(
        "agency", purchase.passed(AnonymousIdIntroduction, "agency", "merchant")
    )
    assert (
        purchase.running.merchant.written.entries(AnonymousIdPresented, subject=purchase.subject)
        == []
    )


def member_presents(purchase: Purchase) -> None:
    """Claims 10 and 19: an anonymous ID, generated from what the member has, member → merchant."""
    subject = purchase.subject
    (sent,) = purchase.shopper.written.entries(
        AnonymousIdPresented, direction="SENT", subject=subject
    )
    merchant = purchase.running.merchant.written
    (received,) = merchant.entries(AnonymousIdPresented, direction="RECEIVED", subject=subject)
    assert sent.raw == received.raw
    found = verify_self_signed(
        unwrap(sent.raw),
        audience=purchase.running.parties["merchant"],
        now=sent.claims["iat"],
    )
    message: Any = found.message
    assert found.issuer == order_key(purchase.row.order_key) == received.counterpart
    assert message.anonymous_id == purchase.anonymous_id
    assert purchase.shopper.engine.row.kid not in sent.raw.decode()
    assert merchant.entries(AnonymousIdIntroduction, subject=subject) == []
    assert merchant.entries(AgencySearch, subject=subject) == []
    row = purchase.running.agency.written.row(
        "SELECT * FROM introductions WHERE digest = ?", anonymous_id_digest(purchase.anonymous_id)
    )
    assert (row["kid"], row["used"]) == (purchase.row.kid, 1)


def merchant_searches_agency(purchase: Purchase) -> None:
    """Claim 1: agency search with the anonymous ID, merchant → approval; the agency, back."""
    search = purchase.passed(AgencySearch, "merchant", "approval")
    assert search.message.anonymous_id == purchase.anonymous_id
    found = purchase.passed(AgencyFound, "approval", "merchant")
    assert found.answers == search.message_id
    assert found.message.anonymous_id_digest == anonymous_id_digest(purchase.anonymous_id)
    assert found.message.agency == purchase.running.parties["agency"]
    guarantee = purchase.guarantee(found.message.guarantee)
    assert isinstance(guarantee, AgencyGuarantee)
    assert guarantee.party == purchase.running.parties["agency"]
    assert guarantee.endpoint == purchase.running.agency.url
    assert guarantee.key == purchase.trail.key("agency").x
    row = purchase.running.approval.written.row(
        "SELECT agency, merchant FROM anonymous_id_digests WHERE digest = ?",
        found.message.anonymous_id_digest,
    )
    assert row == {
        "agency": purchase.running.parties["agency"],
        "merchant": purchase.running.parties["merchant"],
    }


def approval_pushes(purchase: Purchase) -> None:
    """Claim 10: the agency's guarantee, approval → merchant, unasked and acknowledged."""
    approval, merchant = purchase.running.approval.written, purchase.running.merchant.written
    agency = purchase.running.parties["agency"]
    code = purchase.anonymous_id.split(".", 1)[0]
    held = merchant.row("SELECT * FROM guarantees WHERE routing_code = ?", code)
    assert (held["party"], held["kind"], held["withdrawn"]) == (agency, "agency", 0)
    text = held["raw"].decode()
    pushes = merchant.entries(DirectoryPush, direction="RECEIVED")
    (push,) = [entry for entry in pushes if text in entry.body["guarantees"]]
    assert push.counterpart == purchase.running.parties["approval"]
    assert push.claims["ans"] is None
    sent = approval.entries(
        DirectoryPush, direction="SENT", counterpart=purchase.running.parties["merchant"]
    )
    assert push.raw in [entry.raw for entry in sent]
    verify_as_evidence(unwrap(push.raw), purchase.trail.key("approval"))
    assert any(
        push.message_id in entry.body["accepted"]
        for entry in approval.entries(
            direction="RECEIVED", counterpart=purchase.running.parties["merchant"]
        )
        if entry.name == "receipt/1"
    )
    _routed_by_what_is_held(purchase, text)


def merchant_holds_guarantees(purchase: Purchase) -> None:
    """Claim 19: the agency's guarantee, fetched from the agency, in the merchant's own database."""
    merchant = purchase.running.merchant.written
    code = purchase.anonymous_id.split(".", 1)[0]
    held = merchant.row("SELECT * FROM guarantees WHERE routing_code = ?", code)
    served = purchase.running.agency.get("/guarantee").content
    assert held["raw"] == served
    issued = purchase.running.approval.written.row(
        "SELECT guarantee FROM parties WHERE party = ?", purchase.running.parties["agency"]
    )
    assert served == issued["guarantee"]
    assert merchant.entries(DirectoryPush) == []
    _routed_by_what_is_held(purchase, held["raw"].decode())


def _routed_by_what_is_held(purchase: Purchase, raw: str) -> None:
    guarantee = purchase.guarantee(raw)
    assert isinstance(guarantee, AgencyGuarantee)
    assert guarantee.routing_code == purchase.anonymous_id.split(".", 1)[0]
    assert guarantee.endpoint == purchase.running.agency.url
    request = purchase.passed(BillingRequest, "merchant", "agency")
    assert request.audience == guarantee.party


def merchant_requests_billing(purchase: Purchase, maker: str) -> None:
    """Billing request, merchant → agency: merchant's identification and anonymous ID."""
    request = purchase.passed(BillingRequest, "merchant", "agency")
    message: BillingRequest = request.message
    assert request.issuer == message.offer.merchant == purchase.running.parties["merchant"]
    assert offer_hash(message.offer) == purchase.subject
    assert [(line.sku, line.quantity, line.unit_price) for line in message.offer.lines] == [
        (line["sku"], line["quantity"], line["unit_price"]) for line in LINES
    ]
    assert message.offer.amount.minor == TOTAL
    made = maker == "merchant"
    assert message.order_number == (purchase.order_number if made else None)
    assert (message.terms_hash is not None) is made


def agency_searches_merchant(purchase: Purchase) -> None:
    """Merchant search with what the billing request says of the merchant, agency → approval."""
    message: MerchantSearch = purchase.passed(MerchantSearch, "agency", "approval").message
    assert message.terms.merchant == purchase.billing.offer.merchant
    assert message.terms.offer_hash == purchase.billing.offer_hash
    assert message.terms.amount == purchase.billing.offer.amount
    assert message.order == reference(message.terms)


def merchant_is_guaranteed(purchase: Purchase) -> None:
    """Merchant guarantee, approval → agency."""
    search = purchase.passed(MerchantSearch, "agency", "approval")
    found = purchase.passed(MerchantFound, "approval", "agency")
    assert found.answers == search.message_id
    guarantee = purchase.guarantee(found.message.guarantee)
    assert isinstance(guarantee, MerchantGuarantee)
    assert guarantee.party == purchase.running.parties["merchant"]
    assert guarantee.legal_name == "Lantern & Heart Gifts Ltd"
    assert guarantee.key == purchase.trail.key("merchant").x
    assert guarantee.source_networks == ("127.0.0.4/32",)


def member_confirms(purchase: Purchase, maker: str) -> None:
    """Completion notice with the order number, agency → member, who confirms it."""
    notice = purchase.passed(CompletionNotice, "agency", "member")
    found = purchase.passed(MerchantFound, "approval", "agency")
    message: CompletionNotice = notice.message
    assert message.order.order_number.startswith("M-" if maker == "merchant" else "A-")
    assert message.guarantee == found.message.guarantee
    assert message.merchant_name == purchase.guarantee(message.guarantee).legal_name
    assert message.terms.amount == purchase.billing.offer.amount
    assert message.terms.anonymous_id_digest == anonymous_id_digest(purchase.anonymous_id)
    assert purchase.trail.position("agency", found) < purchase.trail.position("agency", notice)
    consent = purchase.passed(Consent, "member", "agency").message
    assert consent.decision == "confirm"
    assert consent.notice_digest == notice.digest
    assert consent.order == message.order


def agency_stores_and_reports_completion(purchase: Purchase) -> None:
    """The agency stores the order; completion report with number and result, agency → merchant."""
    row = purchase.running.agency.written.row(
        "SELECT * FROM orders WHERE order_number = ?", purchase.order_number
    )
    assert (row["merchant"], row["minor"], row["currency"]) == (
        purchase.running.parties["merchant"],
        TOTAL,
        "GBP",
    )
    assert (row["offer_hash"], row["member"], row["kid"]) == (
        purchase.subject,
        purchase.member,
        purchase.row.kid,
    )
    assert digest(row["offer"]) == purchase.billing.offer_hash
    assert row["consent_digest"] == purchase.passed(Consent, "member", "agency").digest
    assert row["notice_digest"] == purchase.passed(CompletionNotice, "agency", "member").digest
    report: CompletionReport = purchase.passed(CompletionReport, "agency", "merchant").message
    assert report.order.order_number == purchase.order_number
    assert report.result == "confirmed"
    assert report.terms.amount == purchase.billing.offer.amount
    assert report.terms.merchant == purchase.billing.offer.merchant
    assert report.order.offer_hash == purchase.billing.offer_hash


def agency_reports_transaction(purchase: Purchase) -> None:
    """Transaction report with number and billing facts, agency → approval."""
    report: TransactionReport = purchase.passed(TransactionReport, "agency", "approval").message
    assert report.order.order_number == purchase.order_number
    assert report.terms.amount == purchase.billing.offer.amount
    assert report.terms.merchant == purchase.billing.offer.merchant
    assert report.consent_digest == purchase.passed(Consent, "member", "agency").digest


def merchant_requests_verification(purchase: Purchase) -> None:
    """On the completion report: verification request with the number, merchant → approval."""
    report = purchase.passed(CompletionReport, "agency", "merchant")
    request = purchase.passed(VerificationRequest, "merchant", "approval")
    assert request.message.order.order_number == purchase.order_number
    assert request.message.completion_digest == report.digest
    assert purchase.trail.position("merchant", report) < purchase.trail.position(
        "merchant", request
    )


def approval_cross_checks_and_records(purchase: Purchase) -> None:
    """Report and request compared; number and money stored; verification, approval → merchant."""
    report = purchase.passed(TransactionReport, "agency", "approval")
    request = purchase.passed(VerificationRequest, "merchant", "approval")
    assert report.message.terms == request.message.terms
    assert report.message.order == request.message.order
    row = purchase.running.approval.written.row(
        "SELECT * FROM orders WHERE order_number = ?", purchase.order_number
    )
    assert (row["state"], row["currency"], row["minor"]) == ("RECORDED", "GBP", TOTAL)
    assert (row["agency"], row["merchant"]) == (
        purchase.running.parties["agency"],
        purchase.running.parties["merchant"],
    )
    assert row["terms_hash"] == terms_hash(report.message.terms)
    assert row["consent_digest"] == report.message.consent_digest
    assert row["completion_digest"] == request.message.completion_digest
    assert ledger(purchase.running) == Before(
        purchase.before.committed + TOTAL, purchase.before.records + 1
    )
    verification = purchase.passed(Verification, "approval", "merchant")
    assert verification.message.order.order_number == purchase.order_number
    assert verification.message.terms == report.message.terms
    assert verification.message.record == row["record"] == purchase.before.records + 1
    for half in (report, request):
        assert purchase.trail.position("approval", half) < purchase.trail.position(
            "approval", verification
        )


def merchant_stores_sale(purchase: Purchase) -> None:
    """On the verification: number, billing facts and the agency's guarantee in the sales record."""
    verification = purchase.passed(Verification, "approval", "merchant")
    merchant = purchase.running.merchant
    sale = merchant.written.row("SELECT * FROM sales WHERE order_number = ?", purchase.order_number)
    held = merchant.written.row(
        "SELECT raw FROM guarantees WHERE party = ?", purchase.running.parties["agency"]
    )
    assert sale == {
        "agency": purchase.running.parties["agency"],
        "order_number": purchase.order_number,
        "offer_hash": purchase.subject,
        "terms_hash": verification.message.order.terms_hash,
        "reference": "claims",
        "currency": "GBP",
        "minor": TOTAL,
        "record": verification.message.record,
        "recorded_at": verification.message.recorded_at,
        "verification_digest": verification.digest,
        "guarantee_digest": digest(held["raw"]),
    }
    shown = merchant.ask("GET", f"/orders/{purchase.billing.offer.offer_id}")
    assert (shown["state"], shown["may_ship"]) == ("VERIFIED", True)


def member_is_billed_once_recorded(purchase: Purchase) -> None:
    """Ours: a debt on approval's recorded notice only, which the member gets too."""
    notice = purchase.passed(RecordedNotice, "approval", "agency")
    result = purchase.passed(PurchaseResult, "agency", "member")
    assert result.message.result == "recorded"
    assert result.message.recorded == notice.raw.decode()
    row = purchase.running.agency.written.row(
        "SELECT reserved, owed FROM members WHERE member = ?", purchase.member
    )
    assert row == {"reserved": 0, "owed": TOTAL}
    assert purchase.row.recorded_at == notice.message.recorded_at
    state = purchase.running.agency.written.row(
        "SELECT state FROM orders WHERE order_number = ?", purchase.order_number
    )
    assert state == {"state": "RECORDED_SEEN"}


def from_billing_to_sale(purchase: Purchase, maker: str) -> None:
    """The paragraphs that all three methods and all three systems have in common."""
    merchant_requests_billing(purchase, maker)
    agency_searches_merchant(purchase)
    merchant_is_guaranteed(purchase)
    member_confirms(purchase, maker)
    agency_stores_and_reports_completion(purchase)
    agency_reports_transaction(purchase)
    merchant_requests_verification(purchase)
    approval_cross_checks_and_records(purchase)
    merchant_stores_sale(purchase)
    member_is_billed_once_recorded(purchase)
