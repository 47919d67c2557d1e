"""Serial numbers and licenses that are used by somebody else, twice, or no longer."""

import pytest

from core.protocol.canonical import digest
from core.protocol.identifiers import serial_number
from core.protocol.standing import InformationChange, LeaseRenewal, StandingQuery
from tests.nodes.orders import Pair, an_address
from tests.world.nodes import Networks
from tests.world.puppet import Puppet, a_key, send
from tests.world.written import unchanged


def test_a_serial_that_was_used(networks: Networks) -> None:
    running = networks("lookup")
    serial = running.serial("merchant", "Once Ltd")
    first = Puppet("merchant", an_address(), "Once Ltd")
    second = Puppet("merchant", first.address, "Once Ltd")
    approval = running.place("approval")
    granted = first.ask_registration(approval, first.registration(serial))
    with unchanged(running.approval.written):
        refused = second.ask_registration(approval, second.registration(serial))
    assert refused.refusal == "serial_refused"
    assert "surety-license" not in refused.headers
    assert granted.message.party.startswith("merchant-")


def test_a_lost_answer_is_given_again(networks: Networks) -> None:
    running = networks("lookup")
    puppet = Puppet("agency", an_address())
    serial = running.serial("agency", puppet.legal_name)
    approval = running.place("approval")
    first = puppet.ask_registration(approval, puppet.registration(serial))
    with unchanged(running.approval.written):
        again = puppet.ask_registration(approval, puppet.registration(serial))
    assert again.message == first.message
    assert again.headers["surety-license"] == first.headers["surety-license"]
    row = running.approval.written.row(
        "SELECT license_hash FROM parties WHERE party = ?", first.message.party
    )
    assert row["license_hash"] == digest(again.headers["surety-license"].encode())


@pytest.mark.parametrize(
    "what", ["made up", "mistyped", "another kind", "another name", "withdrawn"]
)
def test_a_serial_that_cannot_be_used(networks: Networks, what: str) -> None:
    running = networks("lookup")
    puppet = Puppet("merchant", an_address(), "Hopeful Ltd")
    kind = "agency" if what == "another kind" else "merchant"
    name = "Somebody Ltd" if what == "another name" else "Hopeful Ltd"
    serial = running.serial(kind, name)
    if what == "made up":
        serial = serial_number(bytes(range(16)))
    elif what == "mistyped":
        serial = serial[:-1] + ("0" if serial[-1] != "0" else "1")
    elif what == "withdrawn":
        running.approval.ask("POST", "/serials/withdraw", {"serial": serial})
    with unchanged(running.approval.written):
        reply = puppet.ask_registration(running.place("approval"), puppet.registration(serial))
    assert reply.refusal == "serial_refused"
    assert reply.message.detail == ""


def test_serials_cannot_be_guessed_at_speed(networks: Networks) -> None:
    running = networks("lookup")
    puppet = Puppet("merchant", an_address())
    approval = running.place("approval")
    answers: list[str] = []
    for guess in range(12):
        request = puppet.registration(serial_number(bytes([guess]) * 16))
        reply = puppet.ask_registration(approval, request)
        answers.append(reply.problem if reply.problems else reply.refusal)
    assert answers == ["serial_refused"] * 10 + ["too_many"] * 2
    elsewhere = Puppet("merchant", an_address()).register(running)
    assert elsewhere.license != ""


def test_one_key_is_one_party(networks: Networks) -> None:
    running = networks("lookup")
    puppet = Puppet("merchant", an_address()).register(running)
    second = running.serial("merchant", puppet.legal_name)
    with unchanged(running.approval.written):
        reply = puppet.ask_registration(running.place("approval"), puppet.registration(second))
    assert reply.refusal == "already_registered"
    assert running.approval.get("/readyz").json()["ready"] is True


def test_a_wrong_license_key(pair: Pair) -> None:
    question = StandingQuery(party=pair.merchant.party)
    for license_key in ("", "A" * 43, pair.merchant.license, pair.agency.license[:-1]):
        with unchanged(pair.running.approval.written):
            reply = pair.agency.send(pair.approval, question, license=license_key)
        assert reply.refusal == "license_invalid"
    assert pair.agency.send(pair.approval, question).message.party == pair.merchant.party


def test_a_stolen_license_with_a_registered_key(pair: Pair) -> None:
    thief = Puppet("agency", pair.agency.address).register(pair.running)
    agreed = pair.terms()
    with unchanged(pair.running.approval.written):
        as_himself = pair.vouch(agreed, key=thief.key, issuer=thief.party)
        as_the_other = pair.vouch(agreed, key=thief.key)
    assert as_himself.refusal == "license_invalid"
    assert as_the_other.problem == "wrong_issuer"
    assert pair.exposure() == (0, 0)


def test_a_stolen_license_with_a_key_that_nobody_knows(pair: Pair) -> None:
    with unchanged(pair.running.approval.written):
        reply = pair.vouch(pair.terms(), key=a_key())
    assert reply.problem == "unknown_key"
    assert reply.headers["content-type"] == "application/surety-jws-lines"


def test_a_stolen_license_is_no_use_from_elsewhere(pair: Pair) -> None:
    with unchanged(pair.running.approval.written):
        reply = pair.vouch(pair.terms(), address=an_address())
    assert reply.refusal == "address_mismatch"


def test_two_installations_with_one_license(pair: Pair) -> None:
    def renew(counter: int, instance: str) -> LeaseRenewal:
        return LeaseRenewal(counter=counter, instance=instance)

    agency = pair.agency
    renewed = agency.send(pair.approval, renew(1, agency.instance)).message
    assert renewed.epoch > 0
    assert agency.send(pair.approval, renew(5, agency.instance)).message.lease_until > 0
    clone = agency.send(pair.approval, renew(5, agency.instance))
    assert clone.refusal == "clone_detected"
    row = pair.running.approval.written.row(
        "SELECT state, reason, counter FROM parties WHERE party = ?", agency.party
    )
    assert row == {
        "state": "SUSPENDED",
        "reason": "two installations use this license",
        "counter": 5,
    }
    assert pair.vouch(pair.terms()).refusal == "party_suspended"
    assert pair.exposure() == (0, 0)
    pair.standing(agency.party, "reinstate")
    assert pair.vouch(pair.terms()).message.order.agency == agency.party
    other = agency.send(pair.approval, renew(6, "f" * 32))
    assert other.refusal == "clone_detected"


def test_a_lease_that_ran_out_is_renewed_and_nothing_else(networks: Networks) -> None:
    running = networks("lookup")
    puppet = Puppet("merchant", an_address()).register(running)
    running.approval.stop()
    running.approval.change_while_stopped(
        "UPDATE parties SET lease_until = lease_until - 90000 WHERE party = ?", puppet.party
    )
    running.approval.start()
    approval = running.place("approval")
    question = StandingQuery(party=puppet.party)
    with unchanged(running.approval.written):
        assert puppet.send(approval, question).refusal == "lease_expired"
    renewal = LeaseRenewal(counter=1, instance=puppet.instance)
    assert puppet.send(approval, renewal).message.lease_until > 0
    assert puppet.send(approval, question).message.party == puppet.party


def test_a_party_that_was_never_registered(networks: Networks) -> None:
    running = networks("lookup")
    key = a_key()
    with unchanged(running.approval.written):
        reply = send(
            running.place("approval"),
            StandingQuery(party=running.parties["agency"]),
            key,
            running.parties["agency"],
            address="127.0.0.3",
        )
    assert reply.problem == "unknown_key"


def test_only_the_entitled_learn_what_is_private(pair: Pair) -> None:
    of_merchant = StandingQuery(party=pair.merchant.party)
    of_agency = StandingQuery(party=pair.agency.party)
    pays = pair.agency.send(pair.approval, of_merchant).message
    assert pays.payout_account == f"GB22 PUPPET {pair.merchant.address}"
    assert pays.limits is None
    curious = pair.merchant.send(pair.approval, of_agency).message
    assert (curious.payout_account, curious.limits) == (None, None)
    itself = pair.agency.send(pair.approval, of_agency).message
    assert itself.payout_account == f"GB22 PUPPET {pair.agency.address}"
    assert [(each.cap.minor, each.used) for each in itself.limits] == [(10**6, 0)]


def test_a_network_that_says_nothing(pair: Pair) -> None:
    """An address check that everybody passes would be none (claims 8, 9)."""
    newcomer = Puppet("merchant", an_address())
    serial = pair.running.serial("merchant", newcomer.legal_name)
    everywhere = ("0.0.0.0/0",)
    change = InformationChange(
        discovery=None,
        endpoint=None,
        payment_methods=None,
        payout_account=None,
        source_networks=everywhere,
    )
    with unchanged(pair.running.approval.written):
        request = newcomer.registration(serial, source_networks=everywhere)
        assert newcomer.ask_registration(pair.approval, request).refusal == "change_refused"
        assert pair.merchant.send(pair.approval, change).refusal == "change_refused"
    again = newcomer.ask_registration(pair.approval, newcomer.registration(serial))
    assert again.message.party.startswith("merchant-")
