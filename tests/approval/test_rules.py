import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.approval import rules
from core.approval.rows import (
    DigestRow,
    LedgerRow,
    OrderRow,
    OrderState,
    PartyRow,
    SerialRow,
    SerialState,
    Standing,
)
from core.approval.rules import Event
from core.protocol.canonical import canonical
from core.protocol.money import Money
from core.protocol.standing import RegistrationRequest
from core.protocol.terms import Terms, reference, terms_hash
from tests.world.keys import AGENCY, MERCHANT, a_digest, key
from tests.world.messages import NOW, samples, terms
from tests.world.tables import check_every_pair, check_reach, refused

CAPS = '[{"currency":"GBP","minor":100000}]'
MINOR = st.integers(min_value=1, max_value=2**53 - 1)
NOTHING = LedgerRow(AGENCY, "GBP", 0, 0, 0)


def a_party(kind: str = "agency", **changes: object) -> PartyRow:
    row = PartyRow(
        party=AGENCY if kind == "agency" else MERCHANT,
        kind=kind,
        legal_name="A Party",
        kid=key(kind).kid,
        key=key(kind).public.x,
        sealing_key=None,
        routing_code=None,
        discovery=None,
        instance="0" * 32,
        license_hash=a_digest("license"),
        caps=CAPS,
        currencies='["GBP"]',
        payment_methods='["account"]',
        payout_account="",
        endpoint="",
        source_networks='["127.0.0.1/32"]',
        state=Standing.ACTIVE,
        reason="",
        epoch=1,
        counter=0,
        lease_until=NOW,
        last_seen=NOW,
        registered_at=NOW,
        guarantee=b"",
        guarantee_until=0,
    )
    return msgspec.structs.replace(row, **changes)


def an_order(agreed: Terms, **changes: object) -> OrderRow:
    row = OrderRow(
        agency=agreed.agency,
        merchant=agreed.merchant,
        order_number=agreed.order_number,
        state=OrderState.VOUCHED,
        offer_hash=agreed.offer_hash,
        terms_hash=terms_hash(agreed),
        currency=agreed.amount.currency,
        minor=agreed.amount.minor,
        terms=canonical(agreed),
        deadline=NOW,
        vouched_at=NOW,
        completion_digest=None,
        consent_digest=None,
        record=None,
        recorded_at=None,
        reason="",
    )
    return msgspec.structs.replace(row, **changes)


def a_request(**changes: object) -> RegistrationRequest:
    request = samples()["registration.request/1"]
    assert isinstance(request, RegistrationRequest)
    fields = {
        "kind": "agency",
        "legal_name": "A Party",
        "currencies": ("GBP",),
        "discovery": None,
        "sealing_key": a_digest("sealing"),
    }
    return msgspec.structs.replace(request, **(fields | changes))


def a_serial(**changes: object) -> SerialRow:
    row = SerialRow(
        a_digest("serial"), "agency", "A Party", CAPS, SerialState.ISSUED, None, None, NOW, None
    )
    return msgspec.structs.replace(row, **changes)


def test_every_pair() -> None:
    check_every_pair(
        rules.ORDERS,
        OrderState,
        Event,
        """
        NONE: VOUCH→VOUCHED
        VOUCHED: VOUCH→VOUCHED REPORT→REPORT_ONLY REPORT_DIFFERS→MISMATCH VERIFY→VERIFY_ONLY VERIFY_DIFFERS→MISMATCH RELEASE→RELEASED TIME_UP→EXPIRED
        REPORT_ONLY: REPORT→REPORT_ONLY VERIFY→RECORDED VERIFY_DIFFERS→MISMATCH TIME_UP→EXPIRED
        VERIFY_ONLY: VERIFY→VERIFY_ONLY REPORT→RECORDED REPORT_DIFFERS→MISMATCH RELEASE→RELEASED TIME_UP→EXPIRED
        RECORDED: VERIFY→RECORDED REPORT→RECORDED
        """,  # noqa: E501 - a table
    )


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    check_reach(rules.ORDERS, OrderState, {"RECORDED", "MISMATCH", "EXPIRED", "RELEASED"})


def test_recorded_is_for_good() -> None:
    assert {row.then for row in rules.ORDERS.rows if row.state is OrderState.RECORDED} == {
        OrderState.RECORDED
    }


def test_only_report_and_request_together_record() -> None:
    into = {
        (row.state.value, row.event.value)
        for row in rules.ORDERS.rows
        if row.then is OrderState.RECORDED and row.state is not OrderState.RECORDED
    }
    assert into == {("REPORT_ONLY", "VERIFY"), ("VERIFY_ONLY", "REPORT")}


def test_good_standing() -> None:
    party = a_party()
    assert rules.check_standing(party, NOW) is party


@pytest.mark.parametrize(
    ("party", "code"),
    [
        (None, "party_unknown"),
        (a_party(state=Standing.REVOKED), "party_revoked"),
        (a_party(state=Standing.SUSPENDED), "party_suspended"),
        (a_party(lease_until=NOW - 1), "lease_expired"),
    ],
)
def test_bad_standing(party: PartyRow | None, code: str) -> None:
    with refused(code):
        rules.check_standing(party, NOW)


def test_reference_follows_from_terms() -> None:
    agreed = terms()
    rules.check_reference(reference(agreed), agreed)
    for name in ("agency", "merchant", "offer_hash", "order_number", "terms_hash"):
        other = msgspec.structs.replace(reference(agreed), **{name: "other"})
        with refused("terms_mismatch"):
            rules.check_reference(other, agreed)


@pytest.mark.parametrize("event", [Event.REPORT, Event.VERIFY])
def test_compare(event: Event) -> None:
    agreed = terms()
    order = an_order(agreed)
    differs = Event(f"{event}_DIFFERS")
    assert rules.compare(event, order, agreed) is event
    dearer = msgspec.structs.replace(agreed, amount=Money(currency="GBP", minor=1235))
    assert rules.compare(event, order, dearer) is differs
    elsewhere = msgspec.structs.replace(order, offer_hash=a_digest("other"))
    assert rules.compare(event, elsewhere, agreed) is differs


@pytest.mark.parametrize("name", Terms.__struct_fields__)
def test_every_field_of_the_terms_is_compared(name: str) -> None:
    agreed = terms()
    value = getattr(agreed, name)
    if isinstance(value, int):
        changed: object = value + 1
    elif isinstance(value, str):
        changed = value[:-1] + ("2" if value[-1] != "2" else "3")
    elif isinstance(value, Money):
        changed = Money(currency=value.currency, minor=value.minor + 1)
    else:
        changed = msgspec.structs.replace(value, days=value.days + 1)
    altered = msgspec.structs.replace(agreed, **{name: changed})
    assert rules.compare(Event.REPORT, an_order(agreed), altered) is Event.REPORT_DIFFERS
    assert rules.differing(agreed, altered) == name


def test_vouch() -> None:
    agreed = terms()
    agency, merchant = a_party(), a_party("merchant")
    rules.check_vouch(None, agreed, agency, merchant, NOW)
    rules.check_vouch(an_order(agreed), agreed, agency, merchant, agreed.expires_at)
    with refused("order_conflict"):
        rules.check_vouch(an_order(agreed, terms_hash=a_digest("x")), agreed, agency, merchant, NOW)
    with refused("order_expired"):
        rules.check_vouch(None, agreed, agency, merchant, agreed.expires_at + 1)
    for parties in (
        (a_party(currencies='["EUR"]'), merchant),
        (agency, a_party("merchant", currencies='["EUR","JPY"]')),
    ):
        with refused("unsupported_currency"):
            rules.check_vouch(None, agreed, *parties, NOW)


def test_a_vouch_is_held_for_twelve_minutes_or_until_the_offer_ends() -> None:
    long = msgspec.structs.replace(terms(), expires_at=NOW + 10_000)
    assert rules.vouched_until(long, NOW) == NOW + 720
    short = msgspec.structs.replace(terms(), expires_at=NOW + 30)
    assert rules.vouched_until(short, NOW) == NOW + 150


def test_cap() -> None:
    agency = a_party(caps='[{"currency":"EUR","minor":5},{"currency":"GBP","minor":7}]')
    assert [rules.cap_of(agency, currency) for currency in ("EUR", "GBP", "JPY")] == [5, 7, 0]


@given(MINOR, MINOR, st.integers(0, 2**53), st.integers(0, 2**53))
def test_reserve_keeps_exposure_within_the_cap(
    minor: int, cap: int, reserved: int, committed: int
) -> None:
    before = LedgerRow(AGENCY, "GBP", reserved, committed, 3)
    if reserved + committed + minor > cap:
        with refused("cap_exceeded"):
            rules.reserve(before, minor, cap)
        return
    after = rules.reserve(before, minor, cap)
    assert after == LedgerRow(AGENCY, "GBP", reserved + minor, committed, 3)
    assert after.reserved + after.committed <= cap


@pytest.mark.parametrize("minor", [0, -1])
def test_nothing_is_reserved_for_nothing(minor: int) -> None:
    with refused("cap_exceeded"):
        rules.reserve(NOTHING, minor, 10)


def test_the_cap_itself_is_within_the_cap() -> None:
    assert rules.reserve(NOTHING, 10, 10).reserved == 10


@given(MINOR, st.integers(0, 2**53))
def test_release_and_commit_take_what_was_reserved(minor: int, more: int) -> None:
    before = rules.reserve(LedgerRow(AGENCY, "GBP", more, 5, 3), minor, 2**60)
    assert rules.release(before, minor) == LedgerRow(AGENCY, "GBP", more, 5, 3)
    assert rules.commit(before, minor) == LedgerRow(AGENCY, "GBP", more, 5 + minor, 4)


@pytest.mark.parametrize("take", [rules.release, rules.commit])
def test_nothing_is_taken_that_was_not_reserved(take: object) -> None:
    assert callable(take)
    with pytest.raises(RuntimeError, match="than was reserved"):
        take(LedgerRow(AGENCY, "GBP", 9, 100, 3), 10)


def test_serial() -> None:
    serial = a_serial()
    assert rules.check_serial(serial, a_request(), "kid") is serial
    used = a_serial(state=SerialState.USED, kid="kid", party=AGENCY)
    assert rules.check_serial(used, a_request(), "kid") is used
    shop = a_serial(kind="merchant")
    request = a_request(kind="merchant", discovery="push", sealing_key=None)
    assert rules.check_serial(shop, request, "kid") is shop


@pytest.mark.parametrize(
    "serial",
    [
        None,
        a_serial(kind="merchant"),
        a_serial(legal_name="Another"),
        a_serial(state=SerialState.WITHDRAWN),
        a_serial(state=SerialState.WITHDRAWN, kid="kid"),
        a_serial(state=SerialState.USED, kid="another", party=AGENCY),
    ],
)
def test_serial_refused(serial: SerialRow | None) -> None:
    with refused("serial_refused") as caught:
        rules.check_serial(serial, a_request(), "kid")
    assert caught.value.detail == ""


@pytest.mark.parametrize(
    ("request_", "kind", "code"),
    [
        (a_request(currencies=("GBP", "EUR")), "agency", "unsupported_currency"),
        (a_request(sealing_key=None), "agency", "malformed"),
        (a_request(discovery="push"), "agency", "malformed"),
        (a_request(kind="merchant", sealing_key=None), "merchant", "malformed"),
        (a_request(kind="merchant", discovery="push"), "merchant", "malformed"),
    ],
)
def test_registration_refused(request_: RegistrationRequest, kind: str, code: str) -> None:
    with refused(code):
        rules.check_serial(a_serial(kind=kind), request_, "kid")


@pytest.mark.parametrize(
    "networks",
    [None, (), ("127.0.0.1/32",), ("192.0.2.0/24", "2001:db8::/48", "10.0.0.0/8")],
)
def test_networks(networks: tuple[str, ...] | None) -> None:
    rules.check_networks(networks)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("999.0.0.0/8", "is not a network"),
        ("10.0.0.1/8", "is not a network"),
        ("1:2/16", "is not a network"),
        ("0.0.0.0/0", "is too wide"),
        ("10.0.0.0/7", "is too wide"),
        ("::/0", "is too wide"),
    ],
)
def test_networks_that_say_nothing(network: str, why: str) -> None:
    with refused("change_refused") as caught:
        rules.check_networks(("127.0.0.1/32", network))
    assert caught.value.detail == f"{network} {why}"


def test_search() -> None:
    fresh = DigestRow("digest", AGENCY, None, NOW)
    assert rules.check_search(fresh, MERCHANT, NOW) is fresh
    asked = DigestRow("digest", AGENCY, MERCHANT, NOW)
    assert rules.check_search(asked, MERCHANT, NOW) is asked


@pytest.mark.parametrize(
    "row",
    [
        None,
        DigestRow("digest", AGENCY, None, NOW - 1),
        DigestRow("digest", AGENCY, "merchant-other", NOW),
    ],
)
def test_search_refused_without_saying_why(row: DigestRow | None) -> None:
    with refused("agency_unknown") as caught:
        rules.check_search(row, MERCHANT, NOW)
    assert caught.value.detail == ""
