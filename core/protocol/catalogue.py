"""Every message of the protocol: its type, who sends it to whom, what it proves, its JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from core.protocol import control, discovery, membership, purchase, standing, terms
from core.protocol.message import Message


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the catalogue.

    `proves`: what its signature is good for, in a line that people can read.
    """

    kind: type[Message]
    sender: str
    receiver: str
    proves: str


# One message, one line.
# fmt: off
ENTRIES: tuple[Entry, ...] = (
    Entry(standing.RegistrationRequest, "agency or merchant", "approval", "the program holds its key and a serial number"),
    Entry(standing.RegistrationGranted, "approval", "agency or merchant", "the program is licensed"),
    Entry(standing.LeaseRenewal, "agency or merchant", "approval", "the installation is alive and the only one"),
    Entry(standing.LeaseRenewed, "approval", "agency or merchant", "the license holds until then"),
    Entry(standing.InformationChange, "agency or merchant", "approval", "the party itself asked for the change"),
    Entry(standing.InformationChanged, "approval", "agency or merchant", "the change is in force"),
    Entry(standing.StandingQuery, "agency or merchant", "approval", "who asks about whom"),
    Entry(standing.StandingAnswer, "approval", "agency or merchant", "who the party is, where it calls from, how it is paid"),
    Entry(standing.MerchantGuarantee, "approval", "anyone", "this merchant is guaranteed"),
    Entry(standing.AgencyGuarantee, "approval", "anyone", "this agency is guaranteed"),
    Entry(standing.DirectoryPush, "approval", "merchant", "these agencies are guaranteed now"),
    Entry(standing.DirectoryIndex, "approval", "anyone", "these agencies, and no others, exist now"),
    Entry(membership.EnrolmentRequest, "member", "agency", "the device holds its key and an invitation"),
    Entry(membership.EnrolmentGranted, "agency", "member", "the device acts for a member"),
    Entry(membership.SessionChallenge, "agency", "anyone", "the challenge is the agency's"),
    Entry(membership.SessionRequest, "member", "agency", "the device holds its key now"),
    Entry(membership.SessionGranted, "agency", "member", "the member is verified"),
    Entry(terms.Offer, "merchant", "anyone", "the merchant sells this for that"),
    Entry(discovery.AnonymousIdRequest, "member", "agency", "a verified member wants this offer"),
    Entry(discovery.AnonymousIdRegistration, "agency", "approval", "an ID with this digest is the agency's"),
    Entry(discovery.AnonymousIdIntroduction, "agency", "merchant", "somebody can be billed for this offer"),
    Entry(discovery.AnonymousIdPresented, "member", "merchant", "the buyer holds the order's own key"),
    Entry(discovery.SealedIntroduction, "member", "agency", "the member's device made this anonymous ID for this offer"),
    Entry(discovery.AgencySearch, "merchant", "approval", "the merchant was shown this anonymous ID"),
    Entry(discovery.AgencyFound, "approval", "merchant", "this agency stands behind the anonymous ID"),
    Entry(purchase.BillingRequest, "merchant", "agency", "the merchant asks to be paid on these terms"),
    Entry(purchase.MerchantSearch, "agency", "approval", "the agency would bill on these terms"),
    Entry(purchase.MerchantFound, "approval", "agency", "the merchant is guaranteed and the exposure reserved"),
    Entry(purchase.CompletionNotice, "agency", "member", "what the member was asked to confirm"),
    Entry(purchase.Consent, "member", "agency", "the member agreed to exactly what was shown"),
    Entry(purchase.CompletionReport, "agency", "merchant", "what the agency says of the order"),
    Entry(purchase.TransactionReport, "agency", "approval", "the agency answers for the bill"),
    Entry(purchase.VouchRelease, "agency", "approval", "the agency gave the order up"),
    Entry(purchase.VerificationRequest, "merchant", "approval", "the merchant claims the sale on these terms"),
    Entry(purchase.VerificationPending, "approval", "merchant", "the other side has not reported yet"),
    Entry(purchase.Verification, "approval", "merchant", "the sale is recorded and guaranteed: ship"),
    Entry(purchase.RecordedNotice, "approval", "agency", "the sale is recorded: the member may be billed"),
    Entry(purchase.VerificationFailed, "approval", "merchant or agency", "the order will not be a sale"),
    Entry(purchase.PurchaseResult, "agency", "member", "how the purchase ended"),
    Entry(purchase.StateQuery, "any party", "any party", "who asks for an order's state"),
    Entry(purchase.StateAnswer, "any party", "any party", "the order's state as the asked party sees it"),
    Entry(control.Receipt, "receiver", "sender", "these messages are committed"),
    Entry(control.Refusal, "receiver", "sender", "the message was refused, and why"),
    Entry(control.Checkpoint, "any node", "anyone", "the chain of evidence stood there"),
)
# fmt: on

BY_NAME: dict[str, Entry] = {entry.kind.name: entry for entry in ENTRIES}
"""The catalogue by message name."""


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema 2020-12 of every message body, by message name."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            **msgspec.json.schema(entry.kind),
        }
        for name, entry in BY_NAME.items()
    }
