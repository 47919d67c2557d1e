"""The fault catalogue: what can go wrong between parties, whose fault it is, what to do about it.

A fault's code is stable and unique. Over HTTP it is an RFC 9457 problem whose `type` is
`urn:surety:fault:<code>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec


class Whose(StrEnum):
    """Who has to act before the same request can succeed."""

    CALLER = "caller"
    RECEIVER = "receiver"
    MEMBER = "member"
    INSTITUTION = "institution"
    NETWORK = "network"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure.

    `status` is the HTTP status (RFC 9110); `again` tells whether the same bytes may be retried.
    """

    code: str
    whose: Whose
    status: int
    title: str
    advice: str
    again: bool = False


class SuretyError(Exception):
    """A failure with a place in the catalogue.

    `detail` is for people and never holds a member's identity or a secret.
    """

    def __init__(self, kind: Fault, detail: str = "") -> None:
        super().__init__(f"{kind.code}: {kind.title}" + (f" ({detail})" if detail else ""))
        self.fault = kind
        self.detail = detail

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem object."""
        kind = self.fault
        return {
            "type": f"urn:surety:fault:{kind.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "code": kind.code,
            "whose": kind.whose.value,
            "advice": kind.advice,
            "again": kind.again,
        }


class PeerFault(SuretyError):
    """They broke the protocol, or asked for what the rules refuse: evidence, never retried."""


class OurFault(SuretyError):
    """We could not: network, disk, keyring. Retry is allowed; nothing was lost."""


def _catalogue(*rows: Fault) -> dict[str, Fault]:
    table = {row.code: row for row in rows}
    if len(table) != len(rows):
        raise RuntimeError("two faults share a code")
    return table


def _row(  # noqa: PLR0913 - a row of the catalogue
    code: str, whose: Whose, status: int, title: str, advice: str, *, again: bool = False
) -> Fault:
    return Fault(code=code, whose=whose, status=status, title=title, advice=advice, again=again)


_C, _R, _M, _I, _N = Whose.CALLER, Whose.RECEIVER, Whose.MEMBER, Whose.INSTITUTION, Whose.NETWORK

# One fault, one line.
# fmt: off
CATALOGUE: Final = _catalogue(
    # What arrives
    _row("malformed", _C, 400, "The message is not in the form that the protocol requires", "Encode it as docs/protocol.md says: canonical JSON inside a compact JWS."),
    _row("too_large", _C, 413, "The request is larger than this server accepts", "Send fewer or smaller messages in one request."),
    _row("too_slow", _C, 408, "The request did not arrive in time", "Send it again over a working connection.", again=True),
    _row("too_many", _C, 429, "Too many requests at once", "Wait as long as Retry-After says, then send the same bytes again.", again=True),
    _row("unsupported_media", _C, 415, "The content type is not one that this address accepts", "Use the content type that docs/protocol.md gives for this address."),
    _row("not_found", _C, 404, "There is nothing at this address", "Check the link or the identifier."),
    _row("method_not_allowed", _C, 405, "This address does not take that method", "See the Allow header."),
    _row("unknown_type", _C, 400, "The message has a type that this party does not take", "Check the type and the party that it is meant for; update the older program."),
    _row("bad_signature", _C, 401, "The signature does not belong to these bytes and this key", "Sign with the key registered for this installation."),
    _row("weak_key", _C, 400, "The public key is one of the keys that prove nothing", "Make a new Ed25519 key pair."),
    _row("unknown_key", _C, 401, "The signer's key is not known here", "Register first, or wait until the institution knows the key.", again=True),
    _row("wrong_issuer", _C, 403, "The message names another issuer than the key that signed it", "Sign with the issuer's own key."),
    _row("wrong_audience", _C, 403, "The message is meant for somebody else", "Send it to the party that it names."),
    _row("not_yet_valid", _C, 400, "The message comes from the future", "Set the clock; up to 120 seconds are tolerated."),
    _row("expired", _C, 410, "The message has expired", "Start again with a new message."),
    _row("message_conflict", _C, 409, "The same message identifier came with other bytes before", "Use a new identifier for a new message."),
    # Standing
    _row("serial_refused", _C, 403, "The serial number cannot be used", "Ask the institution for a serial number; each is for one registration of the contract it was issued for."),
    _row("license_invalid", _C, 403, "The license key is missing or not the one issued to this party", "Send the license key that the registration returned; register again if it is lost."),
    _row("not_registered", _C, 403, "This program is not registered", "Register it with a serial number from the institution."),
    _row("already_registered", _C, 409, "This program is registered already", "Nothing to do; for another registration use a new installation."),
    _row("party_unknown", _C, 404, "No such party is registered", "Check the party's identifier."),
    _row("party_suspended", _C, 403, "The party is suspended", "The party must settle the matter with the institution."),
    _row("party_revoked", _C, 403, "The party's license was revoked", "Do not deal with this party; a new contract is needed."),
    _row("lease_expired", _C, 403, "The license's lease has run out", "Renew the lease; the node does so by itself while it runs."),
    _row("clone_detected", _C, 403, "Two installations use the same license", "Stop one of them and ask the institution to reinstate the other."),
    _row("address_mismatch", _C, 403, "The message came from an address that is not registered for its sender", "Register the address with an information change, or call from the registered one."),
    _row("change_refused", _C, 400, "The information change is not acceptable", "Change only what the contract allows."),
    # Discovery and anonymous IDs
    _row("agency_unknown", _C, 404, "No agency stands behind this anonymous ID", "Ask the buyer for a fresh anonymous ID."),
    _row("guarantee_stale", _R, 409, "The guarantee at hand is older than its freshness limit", "Refresh the directory; check that the approval server and the agency can be reached.", again=True),
    _row("guarantee_invalid", _C, 403, "The guarantee is not a valid statement of the approval server", "Fetch it again from its source."),
    _row("anonymous_id_reused", _C, 409, "The anonymous ID was used before", "Ask the buyer for a fresh one; each is for one order."),
    _row("anonymous_id_wrong_merchant", _C, 403, "The anonymous ID was made for another merchant or another offer", "Ask the buyer for one made for this offer."),
    _row("anonymous_id_unknown", _C, 404, "The agency cannot open this anonymous ID", "Ask the buyer for a fresh one."),
    _row("anonymous_id_expired", _C, 410, "The anonymous ID has expired", "Ask the buyer for a fresh one."),
    # Offers and orders
    _row("nonpositive_amount", _C, 422, "An order's total must be more than zero", "Correct the lines; a line may be worth zero, the whole may not."),
    _row("amount_mismatch", _C, 422, "The lines do not add up to the amount", "Compute each line as quantity times unit price, rounded half-even, and add them up."),
    _row("unsupported_currency", _C, 422, "The currency is not one that both parties may use", "Use a currency of the contract."),
    _row("offer_unknown", _C, 404, "No such offer", "Check the link; it may have been mistyped or withdrawn."),
    _row("offer_expired", _C, 410, "The offer has expired", "Ask the shop for a new one."),
    _row("offer_taken", _C, 409, "The offer has been taken by another buyer", "Ask the shop for a new one."),
    _row("terms_mismatch", _C, 409, "The terms are not those that the other side reported", "Compare both sides' terms field by field; nothing was recorded."),
    _row("order_conflict", _C, 409, "The order number is taken by an order with other terms", "Use a new order number."),
    _row("order_unknown", _C, 404, "No such order", "Check the order number."),
    _row("out_of_order", _C, 409, "The order is not in a state in which this can happen", "Ask for the order's state and go on from there."),
    _row("order_expired", _C, 410, "The order's time is up", "Start a new order."),
    _row("not_vouched", _C, 409, "The approval server has not vouched for this order", "Ask for the guarantee first."),
    _row("cap_exceeded", _I, 409, "The guarantee's limit is reached", "Try later, or ask the institution for a higher limit."),
    # Members
    _row("no_member", _M, 403, "The agency knows no member with this key", "Join the agency with an invitation first."),
    _row("member_suspended", _M, 403, "The membership is suspended", "Ask the agency."),
    _row("credit_exceeded", _M, 409, "The member's credit does not cover the amount", "Pay off part of the balance or ask the agency for a higher limit."),
    _row("invitation_refused", _M, 403, "The invitation cannot be used", "Ask the agency for a new invitation; each is for one device."),
    _row("session_required", _C, 401, "There is no valid session", "Log in with the device key, then send the same bytes again.", again=True),
    _row("consent_mismatch", _M, 409, "The consent is not for what was shown", "Open the purchase again and confirm what is shown now."),
    _row("declined", _M, 409, "The member declined", "Nothing to do."),
    _row("refused", _R, 409, "The other party refused", "See the reason."),
    # Operators and shops
    _row("token_invalid", _C, 401, "The access token is missing or wrong", "Use the token of this node; it lies in the node's vault."),
    _row("idempotency_conflict", _C, 409, "The Idempotency-Key was used with another request", "Use a new key for a new request."),
    # Us
    _row("storage_unavailable", _R, 503, "The database cannot be written", "The operator must look at the disk or the database server; send the same bytes again.", again=True),
    _row("peer_unreachable", _N, 504, "The other party cannot be reached", "It is tried again automatically.", again=True),
    _row("endpoint_refused", _C, 403, "The address leads where this node does not go", "Register a public address, or have the operator allow the network."),
    _row("shutting_down", _R, 503, "The node is stopping", "Send the same bytes again.", again=True),
    _row("wrong_vault", _R, 500, "The database belongs to another key than the vault holds", "Start the node with the vault and profile that it was first started with, or restore that vault."),
    _row("insecure_door", _R, 500, "A door would be open without protection", "Listen on a loopback address, or give --certificate and --private-key."),
    _row("internal", _R, 500, "The node failed", "The operator must look at its log; send the same bytes again.", again=True),
)
# fmt: on
"""Every fault, by its code."""


def fault(code: str) -> Fault:
    """The fault of this code; an unknown code from a newer peer reads as `refused`."""
    return CATALOGUE.get(code, CATALOGUE["refused"])
