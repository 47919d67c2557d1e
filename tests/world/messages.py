"""One valid message of every type."""

from itertools import count
from typing import Any

from core.protocol import control, discovery, membership, purchase, standing
from core.protocol.envelope import seal
from core.protocol.identifiers import offer_id, serial_number
from core.protocol.keys import sealing_public
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.standing import ANYONE
from core.protocol.terms import (
    CancellationPolicy,
    Line,
    Offer,
    Terms,
    anonymous_id_digest,
    fix_terms,
    offer_hash,
    reference,
)
from tests.world.keys import AGENCY, APPROVAL, MERCHANT, a_digest, key

NOW = 1_800_000_000
"""When everything in these messages happens (seconds)."""

ANONYMOUS_ID = "ABCDEFG2." + "A" * 43
_IDS = count(1)


def fresh_id() -> str:
    """A message identifier that no other message has."""
    return f"{NOW * 1000:012x}{next(_IDS):020x}"


def sealed(
    message: Message,
    sender: str = "approval",
    *,
    issuer: str = APPROVAL,
    audience: str = ANYONE,
    message_id: str | None = None,
    issued_at: int = NOW,
    expires_at: int | None = None,
    answers: str | None = None,
) -> bytes:
    """A message, signed. `sender`: whose key it is signed with."""
    return seal(
        message,
        key(sender),
        issuer=issuer,
        audience=audience,
        message_id=message_id or fresh_id(),
        issued_at=issued_at,
        expires_at=issued_at + 60 if expires_at is None else expires_at,
        answers=answers,
    )


def offer(**changes: Any) -> Offer:
    """Two lines for 12.34 GBP."""
    fields: dict[str, Any] = {
        "amount": Money(currency="GBP", minor=1234),
        "cancellation": CancellationPolicy(days=14, parts=True),
        "expires_at": NOW + 600,
        "introduction": "agency",
        "lines": (
            Line(description="Tea", minor=1000, quantity=2, sku="T-1", unit_price="5"),
            Line(description="", minor=234, quantity=3, sku="Ä 2", unit_price="0.78"),
        ),
        "merchant": MERCHANT,
        "offer_id": offer_id(bytes(16)),
    }
    return Offer(**(fields | changes))


def terms() -> Terms:
    """The terms of an order on that offer."""
    return fix_terms(
        offer(),
        agency=AGENCY,
        id_digest=anonymous_id_digest(ANONYMOUS_ID),
        order_key=key("order").kid,
        order_number="M-000001-ABCDEF-GHJKMN",
    )


def merchant_guarantee(
    party: str = MERCHANT, owner: str = "merchant", *, epoch: int = 3, endpoint: str = ""
) -> standing.MerchantGuarantee:
    """Approval's word about a merchant. `owner`: whose key it states."""
    return standing.MerchantGuarantee(
        currencies=("GBP", "JPY"),
        endpoint=endpoint,
        epoch=epoch,
        key=key(owner).public.x,
        legal_name="Café Ünïcode 株式会社",
        party=party,
        payment_methods=("card", "direct debit"),
        source_networks=("127.0.0.0/8", "2001:db8::/32"),
    )


def agency_guarantee(
    party: str = AGENCY, owner: str = "agency", *, epoch: int = 3, endpoint: str = ""
) -> standing.AgencyGuarantee:
    """Approval's word about an agency. `owner`: whose key it states."""
    return standing.AgencyGuarantee(
        currencies=("GBP",),
        endpoint=endpoint,
        epoch=epoch,
        key=key(owner).public.x,
        legal_name="An Agency",
        party=party,
        payment_methods=("account",),
        routing_code="ABCDEFG2",
        sealing_key=sealing_public(bytes(range(32))),
        source_networks=("127.0.0.0/8",),
    )


def _standing() -> list[Message]:
    guarantee = sealed(merchant_guarantee()).decode()
    instance = f"{7:032x}"
    ten = Money(currency="GBP", minor=1000)
    return [
        merchant_guarantee(),
        agency_guarantee(),
        standing.RegistrationRequest(
            currencies=("GBP",),
            discovery=None,
            endpoint="https://agency.example:8443",
            instance=instance,
            key=key("agency").public.x,
            kind="agency",
            legal_name="An Agency",
            payment_methods=("account",),
            payout_account="",
            sealing_key=sealing_public(bytes(32)),
            serial=serial_number(bytes(range(16))),
            source_networks=("127.0.0.2/32",),
        ),
        standing.RegistrationGranted(
            caps=(ten,), guarantee=guarantee, lease_until=NOW + 86_400, party=MERCHANT
        ),
        standing.LeaseRenewal(counter=1, instance=instance),
        standing.LeaseRenewed(epoch=0, guarantee=guarantee, lease_until=NOW),
        standing.InformationChange(
            discovery="push",
            endpoint="",
            payment_methods=None,
            payout_account="GB00",
            source_networks=None,
        ),
        standing.InformationChanged(epoch=2**53 - 1, guarantee=guarantee),
        standing.StandingQuery(party=AGENCY),
        standing.StandingAnswer(
            guarantee=guarantee,
            limits=(standing.Limits(cap=ten, used=0),),
            party=MERCHANT,
            payout_account=None,
        ),
        standing.DirectoryPush(epoch=4, guarantees=(guarantee,), withdrawn=(AGENCY,)),
        standing.DirectoryIndex(
            agencies=(
                standing.DirectoryEntry(
                    agency=AGENCY,
                    endpoint="http://127.0.0.2:1",
                    epoch=1,
                    guarantee_digest=a_digest("guarantee"),
                    routing_code="ABCDEFG2",
                ),
            ),
            epoch=1,
        ),
    ]


def _membership() -> list[Message]:
    limit = Money(currency="JPY", minor=1)
    guarantee = sealed(agency_guarantee()).decode()
    return [
        membership.EnrolmentRequest(invitation="A" * 22, key=key("device").public.x),
        membership.EnrolmentGranted(
            agency=AGENCY, guarantee=guarantee, limit=limit, payment_methods=("account",)
        ),
        membership.SessionChallenge(nonce=a_digest("nonce")),
        membership.SessionRequest(nonce=a_digest("nonce")),
        membership.SessionGranted(
            available=0, expires_at=NOW + 900, guarantee=guarantee, limit=limit
        ),
    ]


def _discovery() -> list[Message]:
    until = NOW + 600
    about = offer_hash(offer())
    order_key = key("order").kid
    return [
        discovery.AnonymousIdRequest(
            amount=offer().amount,
            expires_at=until,
            merchant=MERCHANT,
            offer_hash=about,
            order_key=key("order").public.x,
        ),
        discovery.AnonymousIdRegistration(
            anonymous_id_digest=anonymous_id_digest(ANONYMOUS_ID), expires_at=until
        ),
        discovery.AnonymousIdIntroduction(
            anonymous_id=ANONYMOUS_ID, expires_at=until, offer_hash=about, order_key=order_key
        ),
        discovery.AnonymousIdPresented(
            anonymous_id=ANONYMOUS_ID,
            expires_at=until,
            key=key("order").public.x,
            offer_hash=about,
        ),
        discovery.SealedIntroduction(
            expires_at=until,
            merchant=MERCHANT,
            nonce=f"{9:032x}",
            offer_hash=about,
            order_key=order_key,
        ),
        discovery.AgencySearch(anonymous_id=ANONYMOUS_ID, offer_hash=about),
        discovery.AgencyFound(
            agency=AGENCY,
            anonymous_id_digest=anonymous_id_digest(ANONYMOUS_ID),
            guarantee=sealed(agency_guarantee()).decode(),
            offer_hash=about,
        ),
    ]


def _billing() -> list[Message]:
    agreed = terms()
    order = reference(agreed)
    return [
        offer(),
        purchase.BillingRequest(
            anonymous_id=ANONYMOUS_ID,
            offer=offer(),
            offer_hash=order.offer_hash,
            order_key=key("order").kid,
            order_number=agreed.order_number,
            terms_hash=order.terms_hash,
        ),
        purchase.MerchantSearch(order=order, terms=agreed),
        purchase.MerchantFound(
            guarantee=sealed(merchant_guarantee()).decode(), order=order, vouched_until=NOW + 720
        ),
        purchase.CompletionNotice(
            answer_by=NOW + 600,
            guarantee=sealed(merchant_guarantee()).decode(),
            merchant_name="Café",
            order=order,
            payment_method="account",
            terms=agreed,
        ),
        purchase.Consent(decision="confirm", notice_digest=a_digest("notice"), order=order),
        purchase.CompletionReport(order=order, reason="", result="confirmed", terms=agreed),
        purchase.TransactionReport(
            consent_digest=a_digest("consent"), order=order, payment_method="account", terms=agreed
        ),
        purchase.VouchRelease(order=order, reason="declined"),
    ]


def _recording() -> list[Message]:
    agreed = terms()
    order = reference(agreed)
    notice = purchase.RecordedNotice(order=order, record=1, recorded_at=NOW)
    return [
        purchase.VerificationRequest(
            completion_digest=a_digest("completion"), order=order, terms=agreed
        ),
        purchase.VerificationPending(order=order, until=NOW + 60),
        purchase.Verification(order=order, record=1, recorded_at=NOW, terms=agreed),
        notice,
        purchase.VerificationFailed(order=order, reason="terms_mismatch"),
        purchase.PurchaseResult(
            offer_hash=order.offer_hash,
            order=order,
            reason="",
            recorded=sealed(notice).decode(),
            result="recorded",
        ),
        purchase.StateQuery(offer_hash=order.offer_hash),
        purchase.StateAnswer(offer_hash=order.offer_hash, order=None, state=None),
    ]


def _control() -> list[Message]:
    head = control.Head(chain="main", hash=a_digest("head"), position=12)
    return [
        control.Receipt(accepted=(f"{1:032x}", f"{2:032x}"), head=head),
        control.Refusal(code="malformed", detail="why – exactly", subject=None),
        control.Checkpoint(head=head),
    ]


def samples() -> dict[str, Message]:
    """One valid message of every type in the catalogue, by name."""
    everything = _standing() + _membership() + _discovery() + _billing() + _recording() + _control()
    return {message.name: message for message in everything}


__all__ = [
    "ANONYMOUS_ID",
    "APPROVAL",
    "NOW",
    "agency_guarantee",
    "fresh_id",
    "merchant_guarantee",
    "offer",
    "samples",
    "sealed",
    "terms",
]
