"""A party whose every message is made by hand: with keys of its own, really registered."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from core.exchange.peers import LINES
from core.protocol.canonical import b64url, digest, unb64url
from core.protocol.control import Receipt, Refusal
from core.protocol.discovery import SealedIntroduction
from core.protocol.envelope import Verified, seal, unwrap, verify
from core.protocol.identifiers import device, message_id, order_number
from core.protocol.keys import SigningKey, seal_to, sealing_public
from core.protocol.membership import EnrolmentGranted, EnrolmentRequest
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.purchase import BillingRequest
from core.protocol.standing import AgencyGuarantee, RegistrationGranted, RegistrationRequest
from core.protocol.terms import (
    CancellationPolicy,
    Line,
    Offer,
    Terms,
    anonymous_id_digest,
    fix_terms,
    offer_hash,
    terms_hash,
)
from tests.world.nodes import Place, Running

MEMBER = "127.0.0.5"
"""Where members call from."""


def now() -> int:
    return int(time.time())


def fresh_id() -> str:
    return message_id(int(time.time() * 1000), os.urandom(10))


def a_key() -> SigningKey:
    return SigningKey(os.urandom(32))


def post(url: str, body: bytes, address: str, headers: dict[str, str] | None = None) -> Any:
    """Bytes, from a chosen local address."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, trust_env=False, timeout=30) as client:
        sent = {"Content-Type": LINES, **(headers or {})}
        return client.post(url, content=body, headers=sent)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for hand-made messages, its signatures checked."""

    status: int
    headers: dict[str, str]
    problems: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    messages: list[Verified[Any]] = field(default_factory=list[Verified[Any]])

    @property
    def message(self) -> Any:
        """The only signed answer."""
        assert len(self.messages) == 1, (self.problems, self.messages)
        return self.messages[0].message

    @property
    def refusal(self) -> str:
        """The code of the signed refusal."""
        assert isinstance(self.message, Refusal), self.message
        return self.message.code

    @property
    def problem(self) -> str:
        """The code of the unsigned problem, of one who is not heard at all."""
        assert self.messages == []
        assert len(self.problems) == 1, self.problems
        return str(self.problems[0]["code"])

    @property
    def receipted(self) -> bool:
        return isinstance(self.message, Receipt)


def send(
    place: Place,
    message: Message,
    key: SigningKey,
    issuer: str,
    *,
    address: str,
    headers: dict[str, str] | None = None,
    audience: str | None = None,
    identifier: str | None = None,
    issued_at: int | None = None,
    expires_at: int | None = None,
) -> Reply:
    """One message to a node's door, as this issuer."""
    issued = now() if issued_at is None else issued_at
    raw = seal(
        message,
        key,
        issuer=issuer,
        audience=audience or place.principal,
        message_id=identifier or fresh_id(),
        issued_at=issued,
        expires_at=issued + 60 if expires_at is None else expires_at,
    )
    return send_raw(place, raw, address=address, headers=headers, audience=issuer)


def send_raw(
    place: Place, raw: bytes, *, address: str, headers: dict[str, str] | None, audience: str
) -> Reply:
    """Bytes to a node's door; its signed answers must be for this audience."""
    answer = post(f"{place.url}/messages", raw, address, headers)
    lines = [line for line in answer.content.split(b"\n") if line]
    return Reply(
        answer.status_code,
        dict(answer.headers),
        [json.loads(line) for line in lines if line.startswith(b"{")],
        [
            verify(unwrap(line), place.key, audience=audience, now=now())
            for line in lines
            if not line.startswith(b"{")
        ],
    )


class Puppet:
    """A registered agency or merchant that has no program, only a key, a license and an address."""

    def __init__(self, kind: str, address: str, legal_name: str = "") -> None:
        self.kind = kind
        self.address = address
        self.legal_name = legal_name or f"Puppet at {address}"
        self.key = a_key()
        self.sealing_seed = os.urandom(32)
        self.instance = os.urandom(16).hex()
        self.license = ""
        self.party = "unregistered"
        self.granted: RegistrationGranted | None = None

    def registration(self, serial: str, **changes: Any) -> RegistrationRequest:
        """What the program would ask when it is installed."""
        fields: dict[str, Any] = {
            "currencies": ("GBP",),
            "discovery": "lookup" if self.kind == "merchant" else None,
            "endpoint": "",
            "instance": self.instance,
            "key": self.key.public.x,
            "kind": self.kind,
            "legal_name": self.legal_name,
            "payment_methods": ("monthly account",),
            "payout_account": f"GB22 PUPPET {self.address}",
            "sealing_key": sealing_public(self.sealing_seed) if self.kind == "agency" else None,
            "serial": serial,
            "source_networks": (f"{self.address}/32",),
        }
        return RegistrationRequest(**(fields | changes))

    def ask_registration(self, approval: Place, request: RegistrationRequest, **how: Any) -> Reply:
        """Ask, and keep nothing of the answer."""
        chosen: dict[str, Any] = {"address": self.address, **how}
        return send(approval, request, self.key, "unregistered", **chosen)

    def register(self, running: Running, minor: int = 10**9, **changes: Any) -> Puppet:
        """Become a party."""
        serial = running.serial(self.kind, self.legal_name, minor)
        reply = self.ask_registration(
            running.place("approval"), self.registration(serial, **changes)
        )
        assert isinstance(reply.message, RegistrationGranted)
        self.granted = reply.message
        self.license = reply.headers["surety-license"]
        self.party = reply.message.party
        return self

    def send(self, place: Place, message: Message, **how: Any) -> Reply:
        """One message as this party, with its license, from its address, unless told otherwise."""
        license_key = how.pop("license", self.license)
        headers = {"Surety-License": license_key} if license_key else {}
        chosen: dict[str, Any] = {"address": self.address, "headers": headers, **how}
        key = chosen.pop("key", self.key)
        return send(place, message, key, chosen.pop("issuer", self.party), **chosen)


class Device:
    """A member's device without a wallet: its key, and the session that its enrolment opened."""

    def __init__(self, running: Running, minor: int = 10**7, invitation: str = "") -> None:
        self.key = a_key()
        self.principal = device(self.key.kid)
        link = invitation or running.invite(minor)["invitation"]
        code = link.partition("#")[0].rpartition("/")[2]
        request = EnrolmentRequest(invitation=code, key=self.key.public.x)
        reply = send(running.place("agency"), request, self.key, self.principal, address=MEMBER)
        assert isinstance(reply.message, EnrolmentGranted)
        self.session = {"Surety-Session": reply.headers["surety-session"]}
        self.agency = AgencyGuarantee(
            **json.loads(unb64url(reply.message.guarantee.split(".")[1]))["body"]
        )

    def send(self, place: Place, message: Message, **how: Any) -> Reply:
        """One message as this device, with its session unless told otherwise."""
        chosen: dict[str, Any] = {"address": MEMBER, "headers": self.session, **how}
        return send(place, message, self.key, self.principal, **chosen)

    def anonymous_id(self, offer: Offer, order_kid: str, expires_at: int | None = None) -> str:
        """As a wallet makes it, sealed to the agency."""
        held = self.agency
        return sealed_id(
            self.key,
            held.party,
            held.sealing_key,
            held.routing_code,
            offer,
            order_kid,
            expires_at,
        )


def an_offer(merchant: str, minor: int = 1250, currency: str = "GBP", **changes: Any) -> Offer:
    """One thing for so many pence."""
    price = f"{minor // 100}.{minor % 100:02}"
    line = Line(description="Tea", minor=minor, quantity=1, sku="T-1", unit_price=price)
    fields: dict[str, Any] = {
        "amount": Money(currency=currency, minor=minor),
        "cancellation": CancellationPolicy(days=14, parts=True),
        "expires_at": now() + 600,
        "introduction": "member",
        "lines": (line,),
        "merchant": merchant,
        "offer_id": b64url(os.urandom(16)),
    }
    return Offer(**(fields | changes))


def some_terms(agency: str, offer: Offer, **changes: Any) -> Terms:
    """The terms of an order on an offer whose buyer nobody knows."""
    fields: dict[str, Any] = {
        "agency": agency,
        "id_digest": digest(os.urandom(32)),
        "order_key": digest(os.urandom(32)),
        "order_number": order_number("M", int(time.time() * 1000), os.urandom(5)),
    }
    return fix_terms(offer, **(fields | changes))


def sealed_id(
    device_key: SigningKey,
    agency: str,
    sealing_key: str,
    routing_code: str,
    offer: Offer,
    order_kid: str,
    expires_at: int | None = None,
) -> str:
    """An anonymous ID as a wallet makes it."""
    until = now() + 600 if expires_at is None else expires_at
    inner = SealedIntroduction(
        expires_at=until,
        merchant=offer.merchant,
        nonce=fresh_id(),
        offer_hash=offer_hash(offer),
        order_key=order_kid,
    )
    signed = seal(
        inner,
        device_key,
        issuer=device(device_key.kid),
        audience=agency,
        message_id=inner.nonce,
        issued_at=min(now(), until),
        expires_at=until,
    )
    return f"{routing_code}.{b64url(seal_to(sealing_key, signed))}"


def billing(agency: str, offer: Offer, anonymous_id: str, order_kid: str, **changes: Any) -> Any:
    """A billing request with the merchant's number; it holds together, unless told otherwise."""
    number = changes.pop("number", None)
    numbered = {} if number is None else {"order_number": number}
    terms = some_terms(
        agency,
        offer,
        id_digest=anonymous_id_digest(anonymous_id),
        order_key=order_kid,
        **numbered,
    )
    fields: dict[str, Any] = {
        "anonymous_id": anonymous_id,
        "offer": offer,
        "offer_hash": offer_hash(offer),
        "order_key": order_kid,
        "order_number": terms.order_number,
        "terms_hash": terms_hash(terms),
    }
    return BillingRequest(**(fields | changes))
