"""Who calls is asked for at approval, and acknowledged only from the address registered there.

Claims 8, 17, 26: a merchant calls the agency. Claims 9, 18, 27: an agency calls the merchant.
"""

from itertools import count
from typing import Any

from core.protocol.control import Refusal
from core.protocol.message import Message
from core.protocol.purchase import BillingRequest, StateAnswer, StateQuery
from core.protocol.standing import StandingAnswer, StandingQuery
from core.protocol.terms import anonymous_id_digest
from tests.world.nodes import Networks, Running
from tests.world.puppet import Device, Puppet, Reply, a_key, an_offer, billing
from tests.world.trail import Trail
from tests.world.written import unchanged

_HOSTS = count(10)


def two_addresses() -> tuple[str, str]:
    """The one that will be registered, and another one of this machine's."""
    return f"127.0.3.{next(_HOSTS)}", f"127.0.3.{next(_HOSTS)}"


def addresses_are_compared(
    running: Running, at: str, puppet: Puppet, elsewhere: str, message: Message
) -> Reply:
    """Refused from elsewhere, with nothing changed; acknowledged from the registered address."""
    node = running.nodes[at]
    place = running.place(at)
    kind = type(message)
    with unchanged(node.written, but={"guarantees", "merchants"}):  # who the caller is
        refused = puppet.send(place, message, address=elsewhere)
    assert refused.refusal == "address_mismatch"
    assert refused.message.detail == elsewhere
    kept = node.written.entries(kind, direction="REFUSED", counterpart=puppet.party)[-1]
    assert refused.messages[0].answers == kept.message_id
    approval_was_asked(running, at, puppet)
    accepted = puppet.send(place, message)
    (received,) = node.written.entries(kind, direction="RECEIVED", counterpart=puppet.party)
    assert received.body == kept.body
    assert not isinstance(accepted.message, Refusal)
    assert elsewhere != puppet.address
    return accepted


def approval_was_asked(running: Running, at: str, puppet: Puppet) -> None:
    """Identification → approval; related information message with the address → back."""

    def about(claims: dict[str, Any]) -> bool:
        return bool(claims["body"]["party"] == puppet.party)

    trail = Trail(running)
    asked = trail.passed(StandingQuery, at, "approval", where=about, last=True)
    told = trail.passed(StandingAnswer, "approval", at, where=about, last=True)
    assert told.answers == asked.message_id
    guarantee = told.message.guarantee
    held = running.nodes[at].written.row(
        "SELECT raw, withdrawn FROM guarantees WHERE party = ?", puppet.party
    )
    assert (held["raw"], held["withdrawn"]) == (guarantee.encode(), 0)
    registered = running.approval.written.row(
        "SELECT source_networks, guarantee FROM parties WHERE party = ?", puppet.party
    )
    assert registered["guarantee"] == guarantee.encode()
    assert registered["source_networks"] == f'["{puppet.address}/32"]'


def merchant_calls_agency(running: Running) -> None:
    """A billing request, on a member's real anonymous ID."""
    registered, elsewhere = two_addresses()
    puppet = Puppet("merchant", registered).register(running)
    device = Device(running)
    offer = an_offer(puppet.party)
    order_kid = a_key().kid
    anonymous_id = device.anonymous_id(offer, order_kid)
    request: BillingRequest = billing(running.parties["agency"], offer, anonymous_id, order_kid)
    accepted = addresses_are_compared(running, "agency", puppet, elsewhere, request)
    assert accepted.receipted
    order = running.agency.written.row(
        "SELECT order_number, minor FROM orders WHERE merchant = ?", puppet.party
    )
    assert order == {"order_number": request.order_number, "minor": 1250}
    used = running.agency.written.row(
        "SELECT used FROM introductions WHERE digest = ?", anonymous_id_digest(anonymous_id)
    )
    assert used == {"used": 1}


def agency_calls_merchant(running: Running) -> None:
    """A question about an order of the merchant's."""
    registered, elsewhere = two_addresses()
    puppet = Puppet("agency", registered).register(running)
    offer = running.offer()
    forget_when_confirmed(running, puppet)
    question = StateQuery(offer_hash=offer["offer_hash"])
    accepted = addresses_are_compared(running, "merchant", puppet, elsewhere, question)
    assert accepted.message == StateAnswer(offer_hash=offer["offer_hash"], order=None, state=None)


def forget_when_confirmed(running: Running, puppet: Puppet) -> None:
    """Where the guarantee was pushed: let so much time pass that approval is asked again."""
    known = running.merchant.written.rows("SELECT 1 FROM guarantees WHERE party = ?", puppet.party)
    if not known:
        return
    running.merchant.stop()
    running.merchant.change_while_stopped(
        "UPDATE guarantees SET confirmed_at = confirmed_at - 60 WHERE party = ?", puppet.party
    )
    running.merchant.start()
    question = StateQuery(offer_hash=puppet.key.kid)
    place = running.place("merchant")
    reply = puppet.send(place, question, address="127.0.3.9")
    assert reply.problem == "unknown_key"  # and approval is asked; the sender tries again
    while reply.problems and reply.problem == "unknown_key":
        reply = puppet.send(place, question, address="127.0.3.9")
    assert reply.refusal == "address_mismatch"


def test_claim_08_merchant_address(networks: Networks) -> None:
    """Agency: caller's address = approval's address of that merchant → acknowledged (lookup)."""
    merchant_calls_agency(networks("lookup"))


def test_claim_17_merchant_address_push(networks: Networks) -> None:
    """As claim 8, where approval pushes."""
    merchant_calls_agency(networks("push"))


def test_claim_26_merchant_address_pull(networks: Networks) -> None:
    """As claim 8, where merchants pull."""
    merchant_calls_agency(networks("pull"))


def test_claim_09_agency_address(networks: Networks) -> None:
    """Merchant: caller's address = approval's address of that agency → acknowledged (lookup)."""
    agency_calls_merchant(networks("lookup"))


def test_claim_18_agency_address_push(networks: Networks) -> None:
    """As claim 9, where approval pushes."""
    agency_calls_merchant(networks("push"))


def test_claim_27_agency_address_pull(networks: Networks) -> None:
    """As claim 9, where merchants pull."""
    agency_calls_merchant(networks("pull"))
