"""A program's serial number is exchanged for a license key: claims 4, 5, 13, 14, 22, 23."""

import json
from itertools import count

from core.protocol.canonical import digest
from core.protocol.control import Refusal
from core.protocol.envelope import unwrap, verify_self_signed
from core.protocol.standing import (
    LeaseRenewal,
    LeaseRenewed,
    RegistrationGranted,
    RegistrationRequest,
    StandingQuery,
)
from tests.world.nodes import Installed, Networks, Running
from tests.world.puppet import Puppet, send_raw
from tests.world.tap import Tap, tapped
from tests.world.written import Row, unchanged

_HOSTS = count(100)


def installed_and_licensed(running: Running, kind: str, *options: str) -> Row:
    """The whole claim for one kind of program. Returns approval's row of the new party."""
    host = f"127.0.1.{next(_HOSTS)}"
    with tapped("127.0.0.2", running.approval.url) as tap:
        program = running.install(kind, host, *options, approval=tap.url)
        try:
            assert program.node.get("/readyz").json()["ready"] is False
            party = program.register()
            request_holds_the_serial(running, program)
            row = license_is_kept_and_unique(running, program)
            license_is_updated(running, program, row)
            license_goes_with_every_access(program, tap)
            serial_is_used_up(running, program)
            access_without_license_is_refused(running, program)
        finally:
            program.node.stop()
    assert row["party"] == party
    return row


def request_holds_the_serial(running: Running, program: Installed) -> None:
    """Registration request with serial number and information, program → approval; answered."""
    written = program.node.written
    (sent,) = written.entries(RegistrationRequest, direction="SENT")
    (received,) = [
        entry
        for entry in running.approval.written.entries(RegistrationRequest, direction="RECEIVED")
        if entry.raw == sent.raw
    ]
    assert (sent.counterpart, received.counterpart) == (
        running.parties["approval"],
        "unregistered",
    )
    message = verify_self_signed(
        unwrap(sent.raw), audience=running.parties["approval"], now=sent.claims["iat"]
    ).message
    assert isinstance(message, RegistrationRequest)
    assert (message.serial, message.kind) == (program.serial, program.node.party)
    told = {
        "legal_name": message.legal_name,
        "currencies": list(message.currencies),
        "endpoint": message.endpoint,
        "payment_methods": list(message.payment_methods),
        "payout_account": message.payout_account,
        "source_networks": list(message.source_networks),
    }
    assert told == program.profile
    (granted,) = written.entries(RegistrationGranted, direction="RECEIVED")
    assert granted.claims["ans"] == sent.message_id
    assert granted.body["party"] == program.party
    assert granted.raw in [
        entry.raw
        for entry in running.approval.written.entries(RegistrationGranted, direction="SENT")
    ]


def license_is_kept_and_unique(running: Running, program: Installed) -> Row:
    """The license key: at the program, whole; in approval's database, as a hash; nobody else's."""
    key: bytes = program.node.vault.get("license-key")
    assert len(key) == 43
    approval = running.approval.written
    row = approval.row("SELECT * FROM parties WHERE party = ?", program.party)
    assert row["license_hash"] == digest(key)
    assert (row["kind"], row["legal_name"], row["state"]) == (
        program.node.party,
        program.legal_name,
        "ACTIVE",
    )
    assert row["endpoint"] == program.node.url
    assert json.loads(row["source_networks"]) == [f"{program.host}/32"]
    hashes = [each["license_hash"] for each in approval.rows("SELECT license_hash FROM parties")]
    assert len(set(hashes)) == len(hashes) >= 3
    used = approval.row("SELECT * FROM serials WHERE party = ?", program.party)
    assert (used["serial_hash"], used["state"], used["kid"]) == (
        digest(program.serial.encode()),
        "USED",
        row["kid"],
    )
    return row


def license_is_updated(running: Running, program: Installed, before: Row) -> None:
    """The license's row is kept up to date: lease, counter, when it was last seen."""
    running.approval.stop()
    running.approval.change_while_stopped(
        "UPDATE parties SET last_seen = last_seen - 3600, lease_until = lease_until - 3600"
        " WHERE party = ?",
        program.party,
    )
    running.approval.start()
    program.node.ask("POST", "/lease")
    after = running.approval.written.row("SELECT * FROM parties WHERE party = ?", program.party)
    assert after["counter"] == before["counter"] + 1 == 1
    assert after["lease_until"] >= before["lease_until"]
    assert after["last_seen"] >= before["last_seen"]
    (renewal,) = program.node.written.entries(LeaseRenewal, direction="SENT")
    (renewed,) = program.node.written.entries(LeaseRenewed, direction="RECEIVED")
    assert renewed.claims["ans"] == renewal.message_id
    assert renewed.body["lease_until"] == after["lease_until"]


def license_goes_with_every_access(program: Installed, tap: Tap) -> None:
    """Every message to approval but the registration comes with the license key, on the wire."""
    key = program.node.vault.get("license-key").decode()
    shown = [
        headers.get("surety-license")
        for first, headers in tap.requests()
        if first == "POST /messages HTTP/1.1"
    ]
    assert shown == [None, key, *([key] * (len(shown) - 2))]
    assert len(shown) >= 2


def serial_is_used_up(running: Running, program: Installed) -> None:
    """The serial number has been registered before: refused, and nothing is registered."""
    second = Puppet(program.node.party, program.host, program.legal_name)
    approval = running.place("approval")
    with unchanged(running.approval.written):
        reply = second.ask_registration(approval, second.registration(program.serial))
    assert reply.refusal == "serial_refused"
    assert "surety-license" not in reply.headers


def access_without_license_is_refused(running: Running, program: Installed) -> None:
    """The program's own signature without its license key, or with another's, is refused."""
    seed = program.node.vault.get("signing-seed")
    other = running.merchant.vault.get("license-key").decode()
    approval = running.place("approval")
    puppet = Puppet(program.node.party, program.host)
    puppet.key = type(puppet.key)(seed)
    puppet.party = program.party
    question = StandingQuery(party=program.party)
    with unchanged(running.approval.written):
        assert puppet.send(approval, question, license="").refusal == "license_invalid"
        assert puppet.send(approval, question, license=other).refusal == "license_invalid"
    own = program.node.vault.get("license-key").decode()
    answer = puppet.send(approval, question, license=own)
    assert answer.message.party == program.party
    refused = running.approval.written.entries(StandingQuery, direction="REFUSED")
    assert [entry.counterpart for entry in refused[-2:]] == [program.party] * 2
    refusals = running.approval.written.entries(Refusal, counterpart=program.party)
    assert [entry.claims["ans"] for entry in refusals[-2:]] == [
        entry.message_id for entry in refused[-2:]
    ]
    repeated = send_raw(
        approval,
        refused[-1].raw,
        address=program.host,
        headers={"Surety-License": own},
        audience=program.party,
    )
    assert repeated.refusal == "license_invalid"


def test_claim_04_merchant_registration(networks: Networks) -> None:
    """Serial number → license key for a merchant's program (lookup)."""
    row = installed_and_licensed(networks("lookup"), "merchant")
    assert (row["discovery"], row["routing_code"]) == ("lookup", None)


def test_claim_05_agency_registration(networks: Networks) -> None:
    """Serial number → license key for an agency's program (lookup)."""
    row = installed_and_licensed(networks("lookup"), "agency")
    assert (row["discovery"], len(row["routing_code"])) == (None, 8)


def test_claim_13_merchant_registration_push(networks: Networks) -> None:
    """As claim 4, where approval pushes."""
    row = installed_and_licensed(networks("push"), "merchant", "--discovery", "push")
    assert row["discovery"] == "push"


def test_claim_14_agency_registration_push(networks: Networks) -> None:
    """As claim 5, where approval pushes."""
    row = installed_and_licensed(networks("push"), "agency")
    held = networks("push").merchant.written.row(
        "SELECT routing_code FROM guarantees WHERE party = ?", row["party"]
    )
    assert held["routing_code"] == row["routing_code"]


def test_claim_22_merchant_registration_pull(networks: Networks) -> None:
    """As claim 4, where merchants pull."""
    row = installed_and_licensed(networks("pull"), "merchant", "--discovery", "pull")
    assert row["discovery"] == "pull"


def test_claim_23_agency_registration_pull(networks: Networks) -> None:
    """As claim 5, where merchants pull."""
    row = installed_and_licensed(networks("pull"), "agency")
    held = networks("pull").approval.written.row(
        "SELECT state FROM parties WHERE routing_code = ?", row["routing_code"]
    )
    assert held["state"] == "ACTIVE"
