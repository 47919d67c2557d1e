import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.agency import rules
from core.agency.rows import IntroductionRow, MemberRow, MemberState, OrderRow, OrderState
from core.agency.rules import Event
from core.protocol.canonical import canonical
from core.protocol.money import Money
from core.protocol.purchase import BillingRequest, Consent
from core.protocol.terms import Terms, anonymous_id_digest, offer_hash, reference, terms_hash
from tests.world.keys import AGENCY, MERCHANT, a_digest, key
from tests.world.messages import ANONYMOUS_ID, NOW, offer, terms
from tests.world.tables import check_every_pair, check_reach, refused

MINOR = st.integers(min_value=1, max_value=2**53 - 1)


def a_member(**changes: object) -> MemberRow:
    row = MemberRow("0" * 32, "{}", MemberState.ACTIVE, "GBP", 1000, 0, 0, NOW)
    return msgspec.structs.replace(row, **changes)


def an_introduction(**changes: object) -> IntroductionRow:
    row = IntroductionRow(
        digest=anonymous_id_digest(ANONYMOUS_ID),
        kid=key("device").kid,
        merchant=MERCHANT,
        offer_hash=offer_hash(offer()),
        order_key=key("order").kid,
        expires_at=NOW,
        used=0,
        anonymous_id=None,
    )
    return msgspec.structs.replace(row, **changes)


def a_request(**changes: object) -> BillingRequest:
    request = BillingRequest(
        anonymous_id=ANONYMOUS_ID,
        offer=offer(),
        offer_hash=offer_hash(offer()),
        order_key=key("order").kid,
        order_number=terms().order_number,
        terms_hash=terms_hash(terms()),
    )
    return msgspec.structs.replace(request, **changes)


def terms_of(request: BillingRequest, *, merchant: str = MERCHANT, now: int = NOW) -> Terms:
    return rules.terms_of(
        request,
        agency=AGENCY,
        merchant=merchant,
        id_digest=anonymous_id_digest(ANONYMOUS_ID),
        number="A-000001-ABCDEF-GHJKMN",
        now=now,
    )


def an_order(agreed: Terms) -> OrderRow:
    return OrderRow(
        merchant=agreed.merchant,
        order_number=agreed.order_number,
        state=OrderState.AWAIT_MEMBER,
        offer_hash=agreed.offer_hash,
        terms_hash=terms_hash(agreed),
        member="0" * 32,
        kid=key("device").kid,
        currency="GBP",
        minor=1234,
        terms=canonical(agreed),
        offer=canonical(offer()),
        notice_digest=a_digest("notice"),
        consent_digest=None,
        payment_method="account",
        received_at=NOW,
        deadline=NOW,
        record=None,
        recorded_at=None,
        reason="",
    )


def test_every_pair() -> None:
    check_every_pair(
        rules.ORDERS,
        OrderState,
        Event,
        """
        RECEIVED: BILLING_ASKED→VOUCH_SENT
        VOUCH_SENT: VOUCHED→AWAIT_MEMBER VOUCH_REFUSED→REFUSED FAILED→REFUSED TIME_UP→REFUSED
        AWAIT_MEMBER: CONSENTED→AUTHORISED DECLINED→DECLINED FAILED→EXPIRED TIME_UP→EXPIRED
        AUTHORISED: CONSENTED→AUTHORISED RECORDED→RECORDED_SEEN FAILED→VOIDED TIME_UP→AUTHORISED
        RECORDED_SEEN: CONSENTED→RECORDED_SEEN RECORDED→RECORDED_SEEN
        """,
    )


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    ends = {"REFUSED", "DECLINED", "EXPIRED", "VOIDED", "RECORDED_SEEN"}
    check_reach(rules.ORDERS, OrderState, ends)


def test_nothing_is_owed_without_consent_and_record() -> None:
    into = {
        (row.state.value, row.event.value)
        for row in rules.ORDERS.rows
        if row.then is OrderState.RECORDED_SEEN and row.state is not row.then
    }
    assert into == {("AUTHORISED", "RECORDED")}
    authorised = {
        (row.state.value, row.event.value)
        for row in rules.ORDERS.rows
        if row.then is OrderState.AUTHORISED and row.state is not row.then
    }
    assert authorised == {("AWAIT_MEMBER", "CONSENTED")}


def test_who_may_buy() -> None:
    member = a_member(reserved=300, owed=200)
    assert rules.check_member(member) is member
    assert rules.check_member(member, Money(currency="GBP", minor=500)) is member


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (None, "no_member"),
        (a_member(state=MemberState.SUSPENDED), "member_suspended"),
        (a_member(currency="EUR"), "unsupported_currency"),
        (a_member(reserved=300, owed=201), "credit_exceeded"),
    ],
)
def test_who_may_not_buy(member: MemberRow | None, code: str) -> None:
    with refused(code):
        rules.check_member(member, Money(currency="GBP", minor=500))


@given(MINOR, st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 2**53))
def test_credit_is_never_overdrawn(minor: int, limit: int, reserved: int, owed: int) -> None:
    before = a_member(limit_minor=limit, reserved=reserved, owed=owed)
    if minor > max(0, limit - reserved - owed):
        with refused("credit_exceeded"):
            rules.reserve(before, minor)
        return
    after = rules.reserve(before, minor)
    assert after.reserved + after.owed <= limit
    assert after.available == before.available - minor
    assert rules.release(after, minor) == before
    owing = rules.owe(after, minor)
    assert (owing.reserved, owing.owed) == (reserved, owed + minor)
    assert owing.available == after.available


@pytest.mark.parametrize("minor", [0, -5])
def test_nothing_is_reserved_for_nothing(minor: int) -> None:
    with refused("credit_exceeded"):
        rules.reserve(a_member(), minor)


def test_available_is_never_below_zero() -> None:
    assert a_member(limit_minor=0, owed=50).available == 0


@pytest.mark.parametrize("take", [rules.release, rules.owe])
def test_nothing_is_taken_that_was_not_reserved(take: object) -> None:
    assert callable(take)
    with pytest.raises(RuntimeError, match="than was reserved"):
        take(a_member(reserved=9, owed=100), 10)


def test_introduction() -> None:
    rules.check_introduction(an_introduction(), a_request(), MERCHANT, NOW)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"merchant": "merchant-other"}, "anonymous_id_wrong_merchant"),
        ({"offer_hash": a_digest("other")}, "anonymous_id_wrong_merchant"),
        ({"order_key": key("other").kid}, "anonymous_id_wrong_merchant"),
        ({"used": 1}, "anonymous_id_reused"),
        ({"expires_at": NOW - 1}, "anonymous_id_expired"),
    ],
)
def test_introduction_refused(changes: dict[str, object], code: str) -> None:
    with refused(code):
        rules.check_introduction(an_introduction(**changes), a_request(), MERCHANT, NOW)


def test_terms_with_the_merchants_number() -> None:
    assert terms_of(a_request()) == terms()


def test_terms_with_the_agencys_number() -> None:
    made = terms_of(a_request(order_number=None, terms_hash=None))
    assert made == msgspec.structs.replace(terms(), order_number="A-000001-ABCDEF-GHJKMN")


def test_an_offer_holds_to_its_last_second() -> None:
    assert terms_of(a_request(), now=offer().expires_at) == terms()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"offer_hash": a_digest("other")}, "terms_mismatch"),
        ({"terms_hash": a_digest("other")}, "terms_mismatch"),
        ({"order_number": "M-000001-ABCDEF-AAAAAA"}, "terms_mismatch"),
        ({"order_key": key("other").kid}, "terms_mismatch"),
        ({"order_number": None}, "malformed"),
        ({"terms_hash": None}, "malformed"),
    ],
)
def test_terms_refused(changes: dict[str, object], code: str) -> None:
    with refused(code):
        terms_of(a_request(**changes))


def test_an_offer_that_does_not_add_up() -> None:
    wrong = offer(amount=Money(currency="GBP", minor=1233))
    with refused("amount_mismatch"):
        terms_of(a_request(offer=wrong, offer_hash=offer_hash(wrong)))


def test_another_merchants_offer() -> None:
    with refused("wrong_issuer"):
        terms_of(a_request(), merchant="merchant-other")


def test_an_offer_that_is_over() -> None:
    with refused("offer_expired"):
        terms_of(a_request(), now=offer().expires_at + 1)


def test_consent() -> None:
    agreed = terms()
    order, device = an_order(agreed), key("device").kid
    confirm = Consent(decision="confirm", notice_digest=a_digest("notice"), order=reference(agreed))
    decline = msgspec.structs.replace(confirm, decision="decline")
    assert rules.check_consent(order, confirm, device, agreed) is Event.CONSENTED
    assert rules.check_consent(order, decline, device, agreed) is Event.DECLINED
    with refused("order_unknown"):
        rules.check_consent(order, confirm, key("another device").kid, agreed)
    other = msgspec.structs.replace(confirm, notice_digest=a_digest("another notice"))
    with refused("consent_mismatch"):
        rules.check_consent(order, other, device, agreed)
    dearer = msgspec.structs.replace(agreed, amount=Money(currency="GBP", minor=1))
    with refused("consent_mismatch"):
        rules.check_consent(order, confirm, device, dearer)


def test_reference() -> None:
    rules.check_reference(reference(terms()), terms())
    other = msgspec.structs.replace(reference(terms()), terms_hash=a_digest("other"))
    with refused("terms_mismatch"):
        rules.check_reference(other, terms())


def test_payment_method() -> None:
    assert rules.payment_method(("a", "b", "c"), ("c", "b")) == "b"
    with refused("refused"):
        rules.payment_method(("a",), ("b",))
    with refused("refused"):
        rules.payment_method((), ("b",))
