import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.merchant import rules
from core.merchant.rows import OrderRow, OrderState
from core.merchant.rules import Event
from core.protocol.money import Money
from core.protocol.terms import Offer, anonymous_id_digest, offer_hash, reference
from tests.world.keys import AGENCY, a_digest, key
from tests.world.messages import ANONYMOUS_ID, NOW, agency_guarantee, offer, terms
from tests.world.tables import check_every_pair, check_reach, refused


def an_order(**changes: object) -> OrderRow:
    row = OrderRow(
        offer_hash=offer_hash(offer()),
        offer_id=offer().offer_id,
        state=OrderState.DRAFT,
        reference="",
        currency="GBP",
        minor=1234,
        agency=AGENCY,
        order_number=None,
        terms_hash=None,
        order_key=key("order").kid,
        anonymous_id_digest=anonymous_id_digest(ANONYMOUS_ID),
        anonymous_id=None,
        completion_digest=None,
        created_at=NOW,
        deadline=None,
        reason="",
    )
    return msgspec.structs.replace(row, **changes)


def test_every_pair() -> None:
    check_every_pair(
        rules.ORDERS,
        OrderState,
        Event,
        """
        DRAFT: INTRODUCED→SEARCH_SENT ROUTED→BILLING_SENT TIME_UP→EXPIRED
        SEARCH_SENT: AGENCY_FOUND→BILLING_SENT REFUSED→REJECTED TIME_UP→EXPIRED
        BILLING_SENT: CONFIRMED→VERIFY_SENT REFUSED→REJECTED TIME_UP→EXPIRED
        VERIFY_SENT: PENDING→PENDING VERIFIED→VERIFIED REFUSED→REJECTED MISMATCH→MISMATCH TIME_UP→VERIFY_SENT
        PENDING: VERIFIED→VERIFIED PENDING→PENDING REFUSED→REJECTED MISMATCH→MISMATCH TIME_UP→VERIFY_SENT
        """,  # noqa: E501 - a table
    )


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    check_reach(rules.ORDERS, OrderState, {"VERIFIED", "REJECTED", "EXPIRED", "MISMATCH"})


def test_goods_move_on_approvals_word_only() -> None:
    shipping = [state for state in OrderState if rules.may_ship(an_order(state=state))]
    assert shipping == [OrderState.VERIFIED]
    events = {row.event for row in rules.ORDERS.rows if row.then is OrderState.VERIFIED}
    assert events == {Event.VERIFIED}


def test_price() -> None:
    lines, total = rules.price(
        (("A", "Apple", 3, "0.335"), ("B", "", 1, "2"), ("C", "Discount", -1, "0.50")), "GBP"
    )
    assert [line.minor for line in lines] == [100, 200, -50]
    assert total == Money(currency="GBP", minor=250)
    assert (lines[0].sku, lines[0].description, lines[0].unit_price) == ("A", "Apple", "0.335")


@pytest.mark.parametrize("price", ["0", "0.004", "-1"])
def test_nonpositive_total(price: str) -> None:
    with refused("nonpositive_amount"):
        rules.price((("A", "", 1, price),), "GBP")


def test_a_currency_that_does_not_exist() -> None:
    with refused("unsupported_currency"):
        rules.price((("A", "", 1, "1"),), "ZZZ")


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-999, 999)), min_size=1, max_size=8))
def test_price_adds_up_or_is_refused(items: list[tuple[int, int]]) -> None:
    given_ = tuple(
        ("A", "", quantity, f"{'-' if pence < 0 else ''}{abs(pence) // 100}.{abs(pence) % 100:02}")
        for quantity, pence in items
    )
    total = sum(quantity * pence for quantity, pence in items)
    if total <= 0:
        with refused("nonpositive_amount"):
            rules.price(given_, "GBP")
        return
    lines, money = rules.price(given_, "GBP")
    assert money.minor == total == sum(line.minor for line in lines)


def test_introduction() -> None:
    order = an_order()
    assert rules.check_introduction(order, offer(), offer().expires_at) is order


@pytest.mark.parametrize(
    ("order", "seen", "code"),
    [
        (None, offer(), "offer_unknown"),
        (an_order(), None, "offer_unknown"),
        (an_order(), offer(expires_at=NOW - 1), "offer_expired"),
        (an_order(state=OrderState.EXPIRED), offer(), "offer_expired"),
        (an_order(state=OrderState.BILLING_SENT), offer(), "offer_taken"),
        (an_order(state=OrderState.VERIFIED), offer(), "offer_taken"),
    ],
)
def test_introduction_refused(order: OrderRow | None, seen: Offer | None, code: str) -> None:
    with refused(code):
        rules.check_introduction(order, seen, NOW)


def test_agency() -> None:
    rules.check_agency(agency_guarantee(), an_order())
    with refused("unsupported_currency"):
        rules.check_agency(agency_guarantee(), an_order(currency="EUR"))


def test_terms() -> None:
    agreed = terms()
    assert rules.expected_terms(offer(), an_order(), agreed.order_number) == agreed
    rules.check_terms(agreed, reference(agreed))
    rules.check_terms(agreed, reference(agreed), agreed)
    with refused("terms_mismatch"):
        rules.check_terms(
            agreed, msgspec.structs.replace(reference(agreed), terms_hash=a_digest("x"))
        )
    dearer = msgspec.structs.replace(agreed, amount=Money(currency="GBP", minor=1))
    with refused("terms_mismatch"):
        rules.check_terms(agreed, reference(agreed), dearer)


def test_terms_of_an_order_that_nobody_took() -> None:
    draft = an_order(agency=None, order_key=None, anonymous_id_digest=None)
    made = rules.expected_terms(offer(), draft, "M-1")
    assert (made.agency, made.order_key, made.anonymous_id_digest) == ("", "", "")
