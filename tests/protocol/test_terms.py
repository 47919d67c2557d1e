import msgspec
import pytest

from core.protocol.canonical import digest
from core.protocol.faults import PeerFault
from core.protocol.money import Money
from core.protocol.terms import (
    Line,
    Terms,
    anonymous_id_digest,
    check_offer,
    fix_terms,
    offer_hash,
    reference,
    terms_hash,
    total_of,
)
from tests.world.keys import AGENCY, a_digest, key
from tests.world.messages import ANONYMOUS_ID, offer, terms


def a_line(minor: int, quantity: int = 1, price: str = "1") -> Line:
    return Line(description="", minor=minor, quantity=quantity, sku="S", unit_price=price)


def test_lines_add_up() -> None:
    lines = (a_line(100), a_line(-250, -1, "2.5"), a_line(0, 1, "0.004"), a_line(2, 1, "0.015"))
    assert total_of(lines, "GBP") == -148
    assert total_of((a_line(3, 3, "1"),), "JPY") == 3
    check_offer(offer())


def test_a_line_that_does_not_add_up_is_named() -> None:
    with pytest.raises(PeerFault, match="amount_mismatch") as caught:
        total_of((a_line(100), a_line(101)), "GBP")
    assert caught.value.detail == "line 2"


def test_an_offer_that_does_not_add_up() -> None:
    with pytest.raises(PeerFault, match="amount_mismatch") as caught:
        check_offer(offer(amount=Money(currency="GBP", minor=1235)))
    assert caught.value.detail == "total"
    with pytest.raises(PeerFault, match="unsupported_currency"):
        check_offer(offer(amount=Money(currency="ZZZ", minor=1234)))


def test_terms_follow_from_the_offer() -> None:
    agreed = terms()
    assert agreed == Terms(
        agency=AGENCY,
        amount=offer().amount,
        anonymous_id_digest=digest(ANONYMOUS_ID.encode()),
        cancellation=offer().cancellation,
        expires_at=offer().expires_at,
        merchant=offer().merchant,
        offer_hash=offer_hash(offer()),
        order_key=key("order").kid,
        order_number=agreed.order_number,
    )
    known = fix_terms(
        offer(),
        agency=AGENCY,
        id_digest=anonymous_id_digest(ANONYMOUS_ID),
        order_key=key("order").kid,
        order_number=agreed.order_number,
        fingerprint=a_digest("known"),
    )
    assert known == msgspec.structs.replace(agreed, offer_hash=a_digest("known"))


def test_reference() -> None:
    agreed = terms()
    found = reference(agreed)
    assert (found.agency, found.merchant) == (agreed.agency, agreed.merchant)
    assert (found.offer_hash, found.order_number) == (agreed.offer_hash, agreed.order_number)
    assert (
        found.terms_hash
        == terms_hash(agreed)
        == digest(msgspec.json.encode(agreed, order="sorted"))
    )


def test_hashes_hold_every_field() -> None:
    lines = (*offer().lines, a_line(0, 1, "0"))
    assert offer_hash(offer(lines=lines)) != offer_hash(offer())
    assert offer_hash(offer(introduction="member")) != offer_hash(offer())
    assert offer_hash(offer()) == offer_hash(offer())
