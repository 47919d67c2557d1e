"""What messages say of each other: answers, digests, messages inside messages, their times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar, cast

from core.evidence.signatures import carried
from core.evidence.unproved import Unproved, named
from core.protocol.control import Refusal
from core.protocol.discovery import AgencyFound
from core.protocol.envelope import SKEW, Verified
from core.protocol.message import Message
from core.protocol.purchase import (
    CompletionNotice,
    CompletionReport,
    Consent,
    MerchantFound,
    RecordedNotice,
    TransactionReport,
    Verification,
    VerificationFailed,
    VerificationRequest,
)
from core.protocol.standing import AgencyGuarantee, MerchantGuarantee

K = TypeVar("K", bound=Message)
_Record = Verified[Verification] | Verified[RecordedNotice]
_CARRIED: Final[dict[str, tuple[type[Message], ...]]] = {
    "guarantee": (MerchantGuarantee, AgencyGuarantee),
    "recorded": (RecordedNotice,),
}


@dataclass(frozen=True, slots=True)
class Said:
    """The messages of one order, to be looked up."""

    messages: tuple[Verified[Message], ...]

    def all(self, kind: type[K]) -> tuple[Verified[K], ...]:
        """Those of one type."""
        return tuple(
            cast("Verified[K]", one) for one in self.messages if isinstance(one.message, kind)
        )


def check_references(messages: tuple[Verified[Message], ...]) -> None:
    """Raises `Unproved` for the first message that another one contradicts."""
    said = Said(messages)
    by_id = {(one.issuer, one.message_id): one for one in messages}
    by_raw = {one.raw: one for one in messages}
    for found in messages:
        _check_answer(found, by_id)
        _check_carried(found, by_raw)
    _check_consents(said)
    _check_reports(said)
    _check_requests(said)
    _check_records(said)


def _check_answer(
    found: Verified[Message], by_id: dict[tuple[str, str], Verified[Message]]
) -> None:
    asked = by_id.get((found.audience, found.answers or ""))
    if asked is None:
        if isinstance(found.message, Refusal):
            raise Unproved(named(found), "the message that it refuses is not in the bundle")
        return
    if asked.audience != found.issuer:
        raise Unproved(named(found), f"answers {named(asked)}, which was not for {found.issuer}")
    _check_after(found, asked)


def _check_carried(found: Verified[Message], by_raw: dict[bytes, Verified[Message]]) -> None:
    for field, raw in carried(found):
        inner = by_raw.get(raw)
        if inner is None:
            raise Unproved(
                named(found), f"the message in {field} is not among the bundle's messages"
            )
        kinds = _CARRIED.get(field, ())
        if kinds and not isinstance(inner.message, kinds):
            raise Unproved(named(found), f"{field} holds a {inner.message.name}")
        wanted = _guarantee_in(found.message)
        if field == "guarantee" and wanted is not None:
            _check_guarantee(found, inner, wanted)


def _guarantee_in(message: Message) -> type[Message] | None:
    if isinstance(message, MerchantFound | CompletionNotice):
        return MerchantGuarantee
    return AgencyGuarantee if isinstance(message, AgencyFound) else None


def _check_guarantee(
    found: Verified[Message], inner: Verified[Message], wanted: type[Message]
) -> None:
    if not isinstance(inner.message, wanted):
        raise Unproved(named(found), f"guarantee holds a {inner.message.name}")
    _check_after(found, inner)
    if found.issued_at > inner.expires_at + SKEW:
        raise Unproved(named(found), f"rests on {named(inner)}, which had expired")


def _check_after(later: Verified[Message], earlier: Verified[Message]) -> None:
    if later.issued_at < earlier.issued_at - SKEW:
        raise Unproved(named(later), f"issued before {named(earlier)}, on which it rests")


def _check_consents(said: Said) -> None:
    notices = {notice.digest: notice for notice in said.all(CompletionNotice)}
    for consent in said.all(Consent):
        notice = notices.get(consent.message.notice_digest)
        if notice is None:
            raise Unproved(
                named(consent), "notice_digest is not that of a completion notice in the bundle"
            )
        if notice.audience != consent.issuer:
            raise Unproved(named(consent), f"answers a notice that was shown to {notice.audience}")
        _check_after(consent, notice)


def _check_reports(said: Said) -> None:
    consents = {consent.digest: consent for consent in said.all(Consent)}
    for report in said.all(TransactionReport) if consents else ():
        consent = consents.get(report.message.consent_digest)
        if consent is None:
            raise Unproved(named(report), "consent_digest is not that of the consent in the bundle")
        if consent.message.decision != "confirm":
            raise Unproved(
                named(report), f"rests on {named(consent)}, in which the member declined"
            )
        _check_after(report, consent)


def _check_requests(said: Said) -> None:
    reports = {report.digest: report for report in said.all(CompletionReport)}
    for request in said.all(VerificationRequest) if reports else ():
        report = reports.get(request.message.completion_digest)
        if report is None:
            raise Unproved(
                named(request),
                "completion_digest is not that of the completion report in the bundle",
            )
        if report.message.result != "confirmed":
            raise Unproved(
                named(request), f"rests on {named(report)}, which says {report.message.result}"
            )
        _check_after(request, report)


def _check_records(said: Said) -> None:
    records: list[_Record] = [*said.all(Verification), *said.all(RecordedNotice)]
    if not records:
        return
    first = records[0]
    for other in records[1:]:
        for field in ("record", "recorded_at"):
            if getattr(other.message, field) != getattr(first.message, field):
                raise Unproved(named(other), f"{field} is not that of {named(first)}")
    for failed in said.all(VerificationFailed):
        raise Unproved(
            named(failed), f"contradicts {named(first)}, which says that the sale is recorded"
        )
    for record in records:
        _check_recorded(record, said)


def _check_recorded(record: _Record, said: Said) -> None:
    if record.message.recorded_at > record.issued_at + SKEW:
        raise Unproved(named(record), "recorded_at is later than the message itself")
    # What was asked again after the record was made is later: the earliest of each counts.
    for asked in (said.all(TransactionReport)[:1], said.all(VerificationRequest)[:1]):
        for one in asked:
            _check_after(record, one)
