import msgspec
import pytest

from core.member import rules
from core.member.rows import PurchaseRow, PurchaseState
from core.member.rules import Event
from core.protocol.money import Money
from core.protocol.purchase import CompletionNotice
from core.protocol.terms import Terms, offer_hash, reference
from tests.world.keys import AGENCY, MERCHANT, a_digest, key, party
from tests.world.messages import NOW, merchant_guarantee, offer, terms
from tests.world.tables import check_every_pair, check_reach, refused

NAME = merchant_guarantee().legal_name


def a_purchase() -> PurchaseRow:
    return PurchaseRow(
        kid=key("device").kid,
        offer_hash=offer_hash(offer()),
        state=PurchaseState.ASKED,
        merchant=MERCHANT,
        merchant_name=NAME,
        currency="GBP",
        minor=1234,
        offer=b"",
        order_key=key("order").kid,
        order_number=None,
        terms_hash=None,
        notice=None,
        payment_method="",
        answer_by=None,
        created_at=NOW,
        deadline=None,
        recorded_at=None,
        reason="",
    )


def a_notice(agreed: Terms, **changes: object) -> CompletionNotice:
    notice = CompletionNotice(
        answer_by=NOW + 60,
        guarantee="a.b.c",
        merchant_name=NAME,
        order=reference(agreed),
        payment_method="account",
        terms=agreed,
    )
    return msgspec.structs.replace(notice, **changes)


def test_every_pair() -> None:
    results = "RECORDED→RECORDED RESULT_REFUSED→REFUSED RESULT_EXPIRED→EXPIRED"
    results += " RESULT_FAILED→FAILED RESULT_DECLINED→DECLINED"
    check_every_pair(
        rules.PURCHASES,
        PurchaseState,
        Event,
        f"""
        SEEN: BUY→ASKED TIME_UP→EXPIRED
        ASKED: NOTICE→AWAIT_CONSENT TIME_UP→EXPIRED {results}
        AWAIT_CONSENT: CONFIRM→CONFIRMED DECLINE→DECLINED TIME_UP→EXPIRED {results}
        CONFIRMED: {results}
        DECLINED: RESULT_DECLINED→DECLINED
        """,
    )


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    ends = {"RECORDED", "DECLINED", "EXPIRED", "REFUSED", "FAILED"}
    check_reach(rules.PURCHASES, PurchaseState, ends)


def test_time_alone_does_not_end_what_was_confirmed() -> None:
    assert not rules.PURCHASES.allows(PurchaseState.CONFIRMED, Event.TIME_UP)


def test_seen() -> None:
    rules.check_seen(offer(), merchant_guarantee(), offer().expires_at)
    with refused("guarantee_invalid"):
        rules.check_seen(offer(merchant=party("merchant", "two")), merchant_guarantee(), NOW)
    with refused("amount_mismatch"):
        rules.check_seen(offer(amount=Money(currency="GBP", minor=1)), merchant_guarantee(), NOW)
    with refused("offer_expired"):
        rules.check_seen(offer(), merchant_guarantee(), offer().expires_at + 1)
    foreign = msgspec.structs.replace(merchant_guarantee(), currencies=("EUR",))
    with refused("unsupported_currency"):
        rules.check_seen(offer(), foreign, NOW)


def test_notice() -> None:
    rules.check_notice(a_notice(terms()), offer(), a_purchase(), AGENCY)
    other_number = msgspec.structs.replace(terms(), order_number="A-999999-ABCDEF-GHJKMN")
    rules.check_notice(a_notice(other_number), offer(), a_purchase(), AGENCY)


@pytest.mark.parametrize(
    "change",
    [
        {"agency": party("agency", "two")},
        {"amount": Money(currency="GBP", minor=1235)},
        {"expires_at": NOW + 601},
        {"merchant": party("merchant", "two")},
        {"offer_hash": a_digest("other")},
        {"order_key": key("other").kid},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_notice_about_something_else(change: dict[str, object]) -> None:
    altered = msgspec.structs.replace(terms(), **change)
    with refused("consent_mismatch"):
        rules.check_notice(a_notice(altered), offer(), a_purchase(), AGENCY)


def test_a_notice_whose_reference_is_anothers() -> None:
    other = msgspec.structs.replace(reference(terms()), terms_hash=a_digest("other"))
    with refused("consent_mismatch"):
        rules.check_notice(a_notice(terms(), order=other), offer(), a_purchase(), AGENCY)


def test_a_notice_under_another_name() -> None:
    with refused("consent_mismatch"):
        rules.check_notice(
            a_notice(terms(), merchant_name="Somebody"), offer(), a_purchase(), AGENCY
        )
