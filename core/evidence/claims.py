"""What a bundle's messages prove about a sale, in words; and what of a sale they leave open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.protocol.control import Refusal
from core.protocol.discovery import AgencyFound, AnonymousIdIntroduction, AnonymousIdPresented
from core.protocol.message import Message
from core.protocol.purchase import (
    BillingRequest,
    CompletionNotice,
    CompletionReport,
    Consent,
    MerchantFound,
    MerchantSearch,
    RecordedNotice,
    TransactionReport,
    Verification,
    VerificationFailed,
    VerificationRequest,
    VouchRelease,
)
from core.protocol.terms import Offer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.protocol.envelope import Verified


def _any(_message: object) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that one signed message is enough to prove.

    `code` is stable; `sentence` is for people.
    """

    code: str
    sentence: str
    kinds: tuple[type[Message], ...]
    says: Callable[[Any], bool] = _any

    def shown_by(self, message: Message) -> bool:
        """Whether this message proves it."""
        return isinstance(message, self.kinds) and self.says(message)


SALE: Final = (
    Claim("offered", "the merchant offered this for that", (Offer, BillingRequest)),
    Claim(
        "introduced",
        "the agency stands behind the buyer's anonymous ID",
        (AnonymousIdIntroduction, AgencyFound, MerchantSearch),
    ),
    Claim("billed", "the merchant asked the agency to be paid on these terms", (BillingRequest,)),
    Claim("vouched", "the institution vouched for the merchant in this order", (MerchantFound,)),
    Claim("shown", "the member was shown these terms", (CompletionNotice,)),
    Claim(
        "consented",
        "the member's device agreed to exactly what was shown",
        (Consent,),
        lambda consent: consent.decision == "confirm",
    ),
    Claim(
        "confirmed",
        "the agency told the merchant that the member confirmed",
        (CompletionReport,),
        lambda report: report.result == "confirmed",
    ),
    Claim("reported", "the agency answers to the institution for the bill", (TransactionReport,)),
    Claim("claimed", "the merchant claimed the sale on these terms", (VerificationRequest,)),
    Claim(
        "recorded",
        "the sale is recorded and guaranteed by the institution",
        (Verification, RecordedNotice),
    ),
)
"""The steps of a sale. What is missing is `not shown`: somebody else may hold it."""

BESIDE: Final = (
    Claim("key_held", "the buyer holds the order's own key", (AnonymousIdPresented,)),
    Claim(
        "declined",
        "the member's device declined what was shown",
        (Consent,),
        lambda consent: consent.decision == "decline",
    ),
    Claim(
        "not_confirmed",
        "the agency told the merchant that there will be no payment",
        (CompletionReport,),
        lambda report: report.result != "confirmed",
    ),
    Claim("released", "the agency gave the order up", (VouchRelease,)),
    Claim(
        "failed",
        "the institution declared that the order will not be a sale",
        (VerificationFailed,),
    ),
    Claim("refused", "a message of this order was refused", (Refusal,)),
)
"""What can be shown beside a sale, or instead of one; nobody misses it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is proved and what is not shown."""

    proved: tuple[Claim, ...]
    not_shown: tuple[Claim, ...]


def derive(messages: Sequence[Verified[Message]]) -> Findings:
    """What these messages, each of them checked, prove together."""
    shown = {
        claim.code for claim in (*SALE, *BESIDE) for one in messages if claim.shown_by(one.message)
    }
    return Findings(
        tuple(claim for claim in (*SALE, *BESIDE) if claim.code in shown),
        tuple(claim for claim in SALE if claim.code not in shown),
    )
