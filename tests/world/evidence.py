"""A whole sale as sealed messages in chains in memory, and bundles made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.evidence import form
from core.evidence.chain import Direction, Link, extend, genesis
from core.evidence.trust import Trusted
from core.protocol.canonical import b64url, unb64url
from core.protocol.control import Checkpoint, Head
from core.protocol.discovery import (
    AnonymousIdIntroduction,
    AnonymousIdPresented,
    AnonymousIdRequest,
)
from core.protocol.envelope import seal
from core.protocol.identifiers import device, message_id, order_key
from core.protocol.keys import SigningKey
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.purchase import (
    BillingRequest,
    CompletionNotice,
    CompletionReport,
    Consent,
    MerchantFound,
    MerchantSearch,
    PurchaseResult,
    RecordedNotice,
    TransactionReport,
    Verification,
    VerificationRequest,
)
from core.protocol.standing import ANYONE, AgencyGuarantee, MerchantGuarantee
from core.protocol.terms import (
    CancellationPolicy,
    Line,
    Offer,
    Terms,
    anonymous_id_digest,
    fix_terms,
    reference,
    terms_hash,
)

APPROVAL = "approval-aaaaaaaaaaaaaaaa"
AGENCY = "agency-bbbbbbbbbbbbbbbb"
MERCHANT = "merchant-cccccccccccccccc"
STRANGER = "merchant-dddddddddddddddd"
ORDER = "M-0123AB-4567CD-89EFGH"
START = 1_760_000_000
CHAIN = "main"
ANONYMOUS_ID = "ABCDEFGH." + "x" * 60


def signing_key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


@dataclass
class Row:
    """One entry of a chain as a node keeps it."""

    position: int
    at: int
    direction: Direction
    name: str
    message_id: str
    subject: str | None
    raw: bytes
    before: bytes
    hash: bytes


@dataclass
class Node:
    """A node's chain of evidence."""

    principal: str
    key: SigningKey
    rows: list[Row] = field(default_factory=list["Row"])
    signed: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])

    @property
    def hash(self) -> bytes:
        return self.rows[-1].hash if self.rows else genesis(CHAIN)

    def keep(self, raw: bytes, direction: Direction, at: int, subject: str | None = None) -> None:
        position = len(self.rows) + 1
        link = Link(at=at, direction=direction, digest=hashlib.sha256(raw).digest())
        after = extend(self.hash, position, link)
        self.rows.append(
            Row(position, at, direction, "", f"{position:032x}", subject, raw, self.hash, after)
        )

    def noise(self, count: int, at: int) -> None:
        for number in range(count):
            self.keep(
                f"{self.principal} {len(self.rows)} {number}".encode(), Direction.RECEIVED, at
            )

    def sign(self, at: int) -> None:
        head = Head(chain=CHAIN, hash=b64url(self.hash), position=len(self.rows))
        raw = seal(
            Checkpoint(head=head),
            self.key,
            issuer=self.principal,
            audience=ANYONE,
            message_id=message_id(at, self.hash[:10]),
            issued_at=at // 1000,
            expires_at=at // 1000 + Checkpoint.lifetime,
        )
        self.signed.append((head.position, raw))

    def proof(self, raws: Iterable[bytes]) -> form.ChainProof | None:
        wanted = set(raws)
        segments: list[form.Segment] = []
        end = 0
        for row in self.rows:
            if row.raw in wanted and row.position > end:
                end, checkpoint = next(one for one in self.signed if one[0] >= row.position)
                segments.append(self.segment(row.position, end, checkpoint))
        if not segments:
            return None
        return form.ChainProof(chain=CHAIN, node=self.principal, segments=tuple(segments))

    def segment(self, first: int, last: int, checkpoint: bytes) -> form.Segment:
        rows = self.rows[first - 1 : last]
        return form.Segment(
            checkpoint=checkpoint.decode(),
            links=tuple(
                form.Entry(at=row.at, direction=row.direction, digest=digest_text(row.raw))
                for row in rows
            ),
            start=form.Start(hash=b64url(rows[0].before), position=first),
        )


def digest_text(raw: bytes) -> str:
    return b64url(hashlib.sha256(raw).digest())


class World:
    """One sale, told message by message. `change(name, message)` may falsify what is signed."""

    def __init__(
        self,
        *,
        change: Callable[[str, Message], Message] = lambda _name, message: message,
        claims: dict[str, dict[str, Any]] | None = None,
        signers: dict[str, SigningKey] | None = None,
        noise: int = 2,
        number_by_agency: bool = False,
    ) -> None:
        self.keys = {
            name: signing_key(name)
            for name in ("approval", "agency", "merchant", "device", "order")
        }
        self.nodes = {
            "approval": Node(APPROVAL, self.keys["approval"]),
            "agency": Node(AGENCY, self.keys["agency"]),
            "merchant": Node(MERCHANT, self.keys["merchant"]),
        }
        self.principals = {
            "approval": APPROVAL,
            "agency": AGENCY,
            "merchant": MERCHANT,
            "device": device(self.keys["device"].kid),
            "order": order_key(self.keys["order"].kid),
            ANYONE: ANYONE,
        }
        self.raw: dict[str, bytes] = {}
        self.trusted = Trusted(APPROVAL, (self.keys["approval"].public,))
        self.now = START * 1000
        self._change = change
        self._claims = claims or {}
        self._signers = signers or {}
        self._noise = noise
        self._number_by_agency = number_by_agency
        self._count = 0
        self.offer = an_offer()
        self.terms = self._terms()
        self._tell()

    def _terms(self) -> Terms:
        return fix_terms(
            self.offer,
            agency=AGENCY,
            id_digest=anonymous_id_digest(ANONYMOUS_ID),
            order_key=self.keys["order"].kid,
            order_number=ORDER,
        )

    def _tell(self) -> None:
        self.say("agency_guarantee", an_agency_guarantee(self.keys["agency"]), "approval", ANYONE)
        self.say(
            "merchant_guarantee", a_merchant_guarantee(self.keys["merchant"]), "approval", ANYONE
        )
        self.say("offer", self.offer, "merchant", ANYONE)
        self._introduce()
        self._bill()
        self._confirm()
        self._record()

    def _introduce(self) -> None:
        self.say(
            "id_request",
            AnonymousIdRequest(
                amount=self.offer.amount,
                expires_at=START + 900,
                merchant=MERCHANT,
                offer_hash=self.terms.offer_hash,
                order_key=self.keys["order"].public.x,
            ),
            "device",
            "agency",
        )
        self.say(
            "introduction",
            AnonymousIdIntroduction(
                anonymous_id=ANONYMOUS_ID,
                expires_at=START + 900,
                offer_hash=self.terms.offer_hash,
                order_key=self.keys["order"].kid,
            ),
            "agency",
            "merchant",
        )
        self.say(
            "presented",
            AnonymousIdPresented(
                anonymous_id=ANONYMOUS_ID,
                expires_at=START + 900,
                key=self.keys["order"].public.x,
                offer_hash=self.terms.offer_hash,
            ),
            "order",
            "merchant",
        )

    def _bill(self) -> None:
        ref = reference(self.terms)
        by_agency = self._number_by_agency
        self.say(
            "billing",
            BillingRequest(
                anonymous_id=ANONYMOUS_ID,
                offer=self.offer,
                offer_hash=self.terms.offer_hash,
                order_key=self.keys["order"].kid,
                order_number=None if by_agency else ORDER,
                terms_hash=None if by_agency else terms_hash(self.terms),
            ),
            "merchant",
            "agency",
        )
        self.sign()
        self.say("search", MerchantSearch(order=ref, terms=self.terms), "agency", "approval")
        self.say(
            "found",
            MerchantFound(
                guarantee=self.text("merchant_guarantee"), order=ref, vouched_until=START + 720
            ),
            "approval",
            "agency",
            answers="search",
        )
        self.say(
            "notice",
            CompletionNotice(
                answer_by=START + 600,
                guarantee=self.text("merchant_guarantee"),
                merchant_name="The Tea Shop",
                order=ref,
                payment_method="invoice",
                terms=self.terms,
            ),
            "agency",
            "device",
        )
        self.sign()

    def _confirm(self) -> None:
        ref = reference(self.terms)
        self.say(
            "consent",
            Consent(decision="confirm", notice_digest=digest_text(self.raw["notice"]), order=ref),
            "device",
            "agency",
            answers="notice",
        )
        self.say(
            "completion",
            CompletionReport(order=ref, reason="", result="confirmed", terms=self.terms),
            "agency",
            "merchant",
        )
        self.say(
            "report",
            TransactionReport(
                consent_digest=digest_text(self.raw["consent"]),
                order=ref,
                payment_method="invoice",
                terms=self.terms,
            ),
            "agency",
            "approval",
        )

    def _record(self) -> None:
        ref = reference(self.terms)
        self.say(
            "request",
            VerificationRequest(
                completion_digest=digest_text(self.raw["completion"]), order=ref, terms=self.terms
            ),
            "merchant",
            "approval",
        )
        at = self.now // 1000
        self.say(
            "recorded",
            RecordedNotice(order=ref, record=7, recorded_at=at),
            "approval",
            "agency",
            answers="report",
        )
        self.say(
            "verification",
            Verification(order=ref, record=7, recorded_at=at, terms=self.terms),
            "approval",
            "merchant",
            answers="request",
        )
        self.say(
            "result",
            PurchaseResult(
                offer_hash=self.terms.offer_hash,
                order=ref,
                reason="",
                recorded=self.text("recorded"),
                result="recorded",
            ),
            "agency",
            "device",
        )
        self.sign()

    def text(self, name: str) -> str:
        return self.raw[name].decode()

    def say(
        self, name: str, message: Message, by: str, to: str, *, answers: str | None = None
    ) -> bytes:
        self.now += 400
        raw = self.sealed(name, message, by, to, answers=answers)
        self.raw[name] = raw
        subject = (
            None
            if isinstance(message, MerchantGuarantee | AgencyGuarantee)
            else self.terms.offer_hash
        )
        for node, direction in ((by, Direction.SENT), (to, Direction.RECEIVED)):
            if node in self.nodes:
                self.nodes[node].noise(self._noise, self.now)
                self.nodes[node].keep(raw, direction, self.now, subject)
        return raw

    def sealed(
        self, name: str, message: Message, by: str, to: str, *, answers: str | None = None
    ) -> bytes:
        self._count += 1
        claims: dict[str, Any] = {
            "issuer": self.principals[by],
            "audience": self.principals[to],
            "message_id": message_id(self.now, self._count.to_bytes(10, "big")),
            "issued_at": self.now // 1000,
            "expires_at": self.now // 1000 + min(type(message).lifetime, 3600),
            "answers": id_of(self.raw[answers]) if answers else None,
        }
        claims |= self._claims.get(name, {})
        return seal(self._change(name, message), self._signers.get(name, self.keys[by]), **claims)

    def sign(self) -> None:
        self.now += 400
        for node in self.nodes.values():
            node.noise(self._noise, self.now)
            node.sign(self.now)

    def bundle(
        self,
        *,
        nodes: Iterable[str] = ("agency", "approval", "merchant"),
        names: Iterable[str] | None = None,
    ) -> form.Bundle:
        """All that these nodes hold, with the guarantees."""
        chosen = set(self.raw if names is None else names)
        held = {row.raw for node in nodes for row in self.nodes[node].rows}
        held |= {self.raw["agency_guarantee"], self.raw["merchant_guarantee"]}
        raws = [raw for name, raw in self.raw.items() if name in chosen and raw in held]
        proofs = [self.nodes[node].proof(raws) for node in sorted(nodes)]
        chains = tuple(
            sorted(
                (one for one in proofs if one is not None), key=lambda one: (one.node, one.chain)
            )
        )
        return self.bundled(raws, chains)

    def bundled(self, raws: Iterable[bytes], chains: tuple[form.ChainProof, ...]) -> form.Bundle:
        ordered = sorted(set(raws), key=lambda raw: (claim(raw, "iat"), claim(raw, "jti"), raw))
        signed = [
            *ordered,
            *(one.checkpoint.encode() for proof in chains for one in proof.segments),
        ]
        kids = {kid_of(raw) for raw in signed}
        known = {key.kid: key for key in (*self.keys.values(), *self._signers.values())}
        return form.Bundle(
            chains=chains,
            keys=tuple(form.jwk_of(known[kid].public) for kid in sorted(kids)),
            messages=tuple(raw.decode() for raw in ordered),
            offer_hash=self.terms.offer_hash,
            order_number=ORDER,
            terms_hash=terms_hash(self.terms),
        )


def _part(raw: bytes, number: int) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(unb64url(raw.split(b".")[number]))
    return found


def claim(raw: bytes, name: str) -> Any:
    return _part(raw, 1)[name]


def id_of(raw: bytes) -> str:
    return str(claim(raw, "jti"))


def kid_of(raw: bytes) -> str:
    return str(_part(raw, 0)["kid"])


def an_offer(quantity: int = 2) -> Offer:
    return Offer(
        amount=Money(currency="GBP", minor=quantity * 1250),
        cancellation=CancellationPolicy(days=14, parts=True),
        expires_at=START + 86_400,
        introduction="agency",
        lines=(
            Line(
                description="Tea \u2013 first flush",
                minor=quantity * 1250,
                quantity=quantity,
                sku="TEA-1",
                unit_price="12.50",
            ),
        ),
        merchant=MERCHANT,
        offer_id="A" * 22,
    )


def an_agency_guarantee(key: SigningKey, party: str = AGENCY) -> AgencyGuarantee:
    return AgencyGuarantee(
        currencies=("GBP",),
        endpoint="https://agency.example",
        epoch=1,
        key=key.public.x,
        legal_name="Northern Billing",
        party=party,
        payment_methods=("invoice",),
        routing_code="ABCDEFGH",
        sealing_key=signing_key("sealing").public.x,
        source_networks=("192.0.2.0/24",),
    )


def a_merchant_guarantee(key: SigningKey, party: str = MERCHANT) -> MerchantGuarantee:
    return MerchantGuarantee(
        currencies=("GBP",),
        endpoint="",
        epoch=2,
        key=key.public.x,
        legal_name="The Tea Shop",
        party=party,
        payment_methods=("invoice",),
        source_networks=("198.51.100.0/24",),
    )
