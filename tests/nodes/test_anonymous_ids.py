"""Anonymous IDs that were used, stolen, made up or made for somebody else."""

from dataclasses import dataclass
from typing import Any

import pytest

from core.protocol.canonical import b64url
from core.protocol.discovery import (
    AgencyFound,
    AgencySearch,
    AnonymousIdIntroduction,
    AnonymousIdPresented,
    AnonymousIdRegistration,
)
from core.protocol.identifiers import order_key
from core.protocol.keys import SigningKey, seal_to
from core.protocol.money import Money
from core.protocol.purchase import BillingRequest, MerchantSearch, PurchaseResult
from core.protocol.terms import Offer, anonymous_id_digest, offer_hash
from tests.nodes.orders import an_address
from tests.world.nodes import Networks, Running
from tests.world.puppet import (
    MEMBER,
    Device,
    Puppet,
    Reply,
    a_key,
    an_offer,
    billing,
    now,
    sealed_id,
    send,
)
from tests.world.written import eventually, unchanged


@dataclass
class Sale:
    """A puppet merchant with a buyer's anonymous ID, and the real agency."""

    running: Running
    merchant: Puppet
    device: Device
    offer: Offer
    order_kid: str
    anonymous_id: str

    def bill(self, by: Puppet | None = None, **changes: Any) -> Reply:
        request = billing(
            self.running.parties["agency"],
            changes.pop("offer", self.offer),
            changes.pop("anonymous_id", self.anonymous_id),
            changes.pop("order_kid", self.order_kid),
            **changes,
        )
        return (by or self.merchant).send(self.running.place("agency"), request)

    def vouched(self) -> str:
        """Wait until approval has vouched; the order's number."""
        sql = "SELECT order_number, state FROM orders WHERE merchant = ?"
        written, merchant = self.running.agency.written, self.merchant.party
        eventually(lambda: written.row(sql, merchant)["state"], "AWAIT_MEMBER")
        return str(written.row(sql, merchant)["order_number"])

    def credit(self) -> int:
        """What is reserved of the member's credit."""
        row = self.running.agency.written.row(
            "SELECT reserved FROM members JOIN devices USING (member) WHERE kid = ?",
            self.device.key.kid,
        )
        return int(row["reserved"])


def a_sale(running: Running, **offered: Any) -> Sale:
    merchant = Puppet("merchant", an_address()).register(running)
    device = Device(running)
    offer = an_offer(merchant.party, **offered)
    order_kid = a_key().kid
    return Sale(running, merchant, device, offer, order_kid, device.anonymous_id(offer, order_kid))


@pytest.fixture
def sale(networks: Networks) -> Sale:
    """A buyer made an anonymous ID for a puppet merchant's offer."""
    return a_sale(networks("lookup"))


def test_billed_once(sale: Sale) -> None:
    assert sale.bill().receipted
    sale.vouched()
    assert sale.credit() == 1250
    with unchanged(sale.running.agency.written):
        assert sale.bill().refusal == "anonymous_id_reused"
    assert sale.credit() == 1250


def test_by_another_merchant(sale: Sale) -> None:
    thief = Puppet("merchant", an_address()).register(sale.running)
    own = an_offer(thief.party)
    sale.bill(thief, offer=own, anonymous_id=sale.anonymous_id)  # who calls is known from here on
    with unchanged(sale.running.agency.written):
        assert sale.bill(thief, offer=own).refusal == "anonymous_id_wrong_merchant"
        assert sale.bill(thief).refusal == "anonymous_id_wrong_merchant"
    assert sale.credit() == 0
    assert sale.bill().receipted


def test_for_another_offer_or_key(sale: Sale) -> None:
    dearer = an_offer(sale.merchant.party, 1251)
    sale.bill(offer=dearer)  # who calls is known from here on
    with unchanged(sale.running.agency.written):
        assert sale.bill(offer=dearer).refusal == "anonymous_id_wrong_merchant"
        assert sale.bill(order_kid=a_key().kid).refusal == "anonymous_id_wrong_merchant"
    assert sale.credit() == 0


def test_altered_amount(sale: Sale) -> None:
    """The lines, the sum, the hashes: each by itself gives it away."""
    cheap = an_offer(sale.merchant.party, 1250, amount=Money(currency="GBP", minor=9999))
    refused = [
        sale.bill(offer=cheap, offer_hash=offer_hash(sale.offer)).refusal,
        sale.bill(terms_hash="A" * 43).refusal,
        sale.bill(order_number="M-000000-000000-000000").refusal,
        sale.bill(order_number=None).refusal,
    ]
    assert refused == ["terms_mismatch", "terms_mismatch", "terms_mismatch", "malformed"]
    made = a_sale(sale.running, amount=Money(currency="GBP", minor=9999))
    assert made.bill().refusal == "amount_mismatch"
    assert (sale.credit(), made.credit()) == (0, 0)
    assert (
        sale.running.agency.written.rows(
            "SELECT 1 FROM orders WHERE merchant IN (?, ?)",
            sale.merchant.party,
            made.merchant.party,
        )
        == []
    )


def test_an_expired_offer(sale: Sale) -> None:
    old = a_sale(sale.running, expires_at=now() - 1)
    assert old.bill().refusal == "offer_expired"
    assert old.credit() == 0


def test_a_foreign_currency(sale: Sale) -> None:
    foreign = a_sale(sale.running, currency="EUR")
    refused = foreign.bill()
    assert (refused.refusal, refused.message.detail) == ("declined", "")
    nonsense = a_sale(sale.running, currency="ZZZ")
    assert nonsense.bill().refusal == "unsupported_currency"
    assert (foreign.credit(), nonsense.credit()) == (0, 0)


def test_credit_that_does_not_suffice_is_the_members_business(sale: Sale) -> None:
    rich = a_sale(sale.running, minor=10**7 + 1)
    refused = rich.bill()
    assert (refused.refusal, refused.message.detail) == ("declined", "")
    (told,) = sale.running.agency.written.entries(
        PurchaseResult, direction="SENT", counterpart=rich.device.principal
    )
    assert (told.body["result"], told.body["reason"]) == ("refused", "credit_exceeded")
    assert rich.credit() == 0


def test_an_expired_id(sale: Sale) -> None:
    old = sale.device.anonymous_id(sale.offer, sale.order_kid, expires_at=now() - 5)
    assert sale.bill(anonymous_id=old).refusal == "anonymous_id_expired"
    older = sale.device.anonymous_id(sale.offer, sale.order_kid, expires_at=now() - 500)
    assert sale.bill(anonymous_id=older).refusal == "anonymous_id_expired"
    assert sale.credit() == 0


def test_ids_that_the_agency_cannot_open(sale: Sale) -> None:
    agency = sale.device.agency
    stranger = sealed_id(
        a_key(),
        agency.party,
        agency.sealing_key,
        agency.routing_code,
        sale.offer,
        sale.order_kid,
    )
    elsewhere = sale.anonymous_id.replace(agency.routing_code, "AAAAAAAA")
    noise = f"{agency.routing_code}.{b64url(bytes(100))}"
    nothing_inside = f"{agency.routing_code}.{b64url(seal_to(agency.sealing_key, b'hello'))}"
    for sealed in (stranger, elsewhere, noise, nothing_inside):
        assert sale.bill(anonymous_id=sealed).refusal == "anonymous_id_unknown"
    assert sale.credit() == 0


def test_an_order_number_that_is_taken(sale: Sale) -> None:
    assert sale.bill().receipted
    taken = sale.vouched()
    again = an_offer(sale.merchant.party)
    fresh = sale.device.anonymous_id(again, sale.order_kid)
    with unchanged(sale.running.agency.written):
        reply = sale.bill(offer=again, anonymous_id=fresh, number=taken)
    assert reply.refusal == "order_conflict"


def test_lookup_of_an_id_that_nobody_registered(networks: Networks) -> None:
    running = networks("lookup")
    merchant = Puppet("merchant", an_address()).register(running)
    search = AgencySearch(anonymous_id="ABCDEFG2." + "A" * 43, offer_hash="A" * 43)
    with unchanged(running.approval.written):
        reply = merchant.send(running.place("approval"), search)
    assert (reply.refusal, reply.message.detail) == ("agency_unknown", "")


def test_lookup_answers_the_first_merchant_alone(networks: Networks) -> None:
    running = networks("lookup")
    approval = running.place("approval")
    agency = Puppet("agency", an_address()).register(running)
    first, second = (Puppet("merchant", an_address()).register(running) for _ in range(2))
    anonymous_id = "ABCDEFG2." + b64url(agency.sealing_seed)
    registration = AnonymousIdRegistration(
        anonymous_id_digest=anonymous_id_digest(anonymous_id), expires_at=now() + 60
    )
    assert agency.send(approval, registration).receipted
    search = AgencySearch(anonymous_id=anonymous_id, offer_hash="A" * 43)
    assert first.send(approval, search).message.agency == agency.party
    with unchanged(running.approval.written):
        assert second.send(approval, search).refusal == "agency_unknown"
        assert first.send(approval, search).message.agency == agency.party
    other = Puppet("agency", an_address()).register(running)
    with unchanged(running.approval.written):
        assert other.send(approval, registration).refusal == "anonymous_id_reused"


def presented(
    running: Running, offer: dict[str, Any], anonymous_id: str, key: SigningKey, **changes: Any
) -> Reply:
    """A buyer's word to the real merchant."""
    fields: dict[str, Any] = {
        "anonymous_id": anonymous_id,
        "expires_at": now() + 60,
        "key": key.public.x,
        "offer_hash": offer["offer_hash"],
    }
    message = AnonymousIdPresented(**(fields | changes))
    return send(running.place("merchant"), message, key, order_key(key.kid), address=MEMBER)


def state_of(running: Running, offer: dict[str, Any]) -> str:
    return str(running.merchant.ask("GET", f"/orders/{offer['offer_id']}")["state"])


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_a_routing_code_that_nobody_has(networks: Networks, mode: Any) -> None:
    running = networks(mode)
    offer = running.offer()
    with unchanged(running.merchant.written):
        reply = presented(running, offer, "AAAAAAAA." + "A" * 43, a_key())
    assert reply.refusal == "agency_unknown"
    assert state_of(running, offer) == "DRAFT"


def test_an_id_that_the_merchant_has_seen(networks: Networks) -> None:
    running = networks("push")
    agency = Puppet("agency", an_address()).register(running)
    code = running.approval.written.row(
        "SELECT routing_code FROM parties WHERE party = ?", agency.party
    )["routing_code"]
    wait_for_guarantee(running, agency.party)
    first, second = running.offer(), running.offer()
    anonymous_id = f"{code}.{'B' * 42}A"
    assert presented(running, first, anonymous_id, a_key()).receipted
    assert state_of(running, first) == "BILLING_SENT"
    (request,) = running.merchant.written.entries(
        BillingRequest, direction="SENT", counterpart=agency.party
    )
    assert request.body["anonymous_id"] == anonymous_id
    with unchanged(running.merchant.written):
        assert presented(running, second, anonymous_id, a_key()).refusal == "anonymous_id_reused"
        taken = presented(running, first, f"{code}.{'C' * 42}A", a_key())
        assert taken.refusal == "offer_taken"
        late = presented(running, second, f"{code}.{'D' * 42}A", a_key(), expires_at=now() - 5)
        assert late.refusal == "anonymous_id_expired"
        unknown = presented(running, second, f"{code}.{'E' * 42}A", a_key(), offer_hash="A" * 43)
        assert unknown.refusal == "offer_unknown"
    assert state_of(running, second) == "DRAFT"


def wait_for_guarantee(running: Running, party: str) -> None:
    """What approval pushes arrives soon."""
    sql = "SELECT count(*) AS many FROM guarantees WHERE party = ?"
    eventually(lambda: running.merchant.written.row(sql, party)["many"], 1)


def test_each_mode_takes_its_own_introduction(networks: Networks) -> None:
    lookup, push = networks("lookup"), networks("push")
    offer = lookup.offer()
    with unchanged(lookup.merchant.written):
        assert presented(lookup, offer, "ABCDEFG2." + "A" * 43, a_key()).refusal == "out_of_order"
    agency = Puppet("agency", an_address()).register(push)
    wait_for_guarantee(push, agency.party)
    offer = push.offer()
    message = AnonymousIdIntroduction(
        anonymous_id="ABCDEFG2." + "A" * 43,
        expires_at=now() + 60,
        offer_hash=offer["offer_hash"],
        order_key=a_key().kid,
    )
    with unchanged(push.merchant.written):
        assert agency.send(push.place("merchant"), message).refusal == "out_of_order"


def test_an_introduction_by_an_agency_that_did_not_make_the_id(networks: Networks) -> None:
    """Approval names the one that registered it; the order ends, and nobody is billed."""
    running = networks("lookup")
    approval = running.place("approval")
    honest, thief = (Puppet("agency", an_address()).register(running) for _ in range(2))
    anonymous_id = "ABCDEFG2." + b64url(honest.sealing_seed)
    honest.send(
        approval,
        AnonymousIdRegistration(
            anonymous_id_digest=anonymous_id_digest(anonymous_id), expires_at=now() + 60
        ),
    )
    offer = running.offer()
    message = AnonymousIdIntroduction(
        anonymous_id=anonymous_id,
        expires_at=now() + 60,
        offer_hash=offer["offer_hash"],
        order_key=a_key().kid,
    )
    assert thief.send(running.place("merchant"), message).receipted
    eventually(
        lambda: len(
            running.merchant.written.entries(
                AgencyFound, direction="REFUSED", subject=offer["offer_hash"]
            )
        ),
        1,
    )
    sent = running.merchant.written.entries(BillingRequest, subject=offer["offer_hash"])
    assert sent == []
    assert running.approval.written.entries(MerchantSearch, subject=offer["offer_hash"]) == []
    assert state_of(running, offer) == "SEARCH_SENT"
