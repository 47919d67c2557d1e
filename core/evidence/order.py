"""One order: which terms it has, and whether a message is about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.evidence.unproved import Unproved, at, named
from core.protocol.discovery import AnonymousIdRequest
from core.protocol.identifiers import kind_of
from core.protocol.keys import thumbprint
from core.protocol.purchase import BillingRequest
from core.protocol.standing import AgencyGuarantee, MerchantGuarantee
from core.protocol.terms import (
    Offer,
    Terms,
    anonymous_id_digest,
    check_offer,
    fix_terms,
    offer_hash,
    reference,
    terms_hash,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.evidence.form import Bundle
    from core.protocol.envelope import Verified
    from core.protocol.message import Message

_Binding = tuple[str, object, object]
_Guarantees = MerchantGuarantee | AgencyGuarantee
_ANCHORS: Final = frozenset(
    {"anonymous_id", "anonymous_id_digest", "offer", "offer_hash", "order", "subject", "terms"}
)
"""Fields that tie a message to one order; a party's name alone does not."""


def stated_terms(found: Verified[Message], number: str) -> Terms | None:
    """The terms that a message states, or that a billing request comes to with this number."""
    message = found.message
    if isinstance(message, BillingRequest) and message.order_number in {None, number}:
        return _billed(found, message, number)
    terms = getattr(message, "terms", None)
    return terms if isinstance(terms, Terms) else None


def _billed(found: Verified[Message], request: BillingRequest, number: str) -> Terms:
    return fix_terms(
        request.offer,
        agency=found.audience,
        id_digest=anonymous_id_digest(request.anonymous_id),
        order_key=request.order_key,
        order_number=number,
    )


def terms_of(bundle: Bundle, messages: tuple[Verified[Message], ...]) -> Terms:
    """The terms of the bundle's order.

    Raises `Unproved` if no message states them, or not as the bundle says.
    """
    for found in messages:
        terms = stated_terms(found, bundle.order_number)
        if terms is not None:
            _check_head(bundle, terms, named(found))
            return terms
    raise Unproved("bundle", "no message in it states the terms of the order")


def _check_head(bundle: Bundle, terms: Terms, where: str) -> None:
    if bundle.order_number != terms.order_number:
        raise Unproved(
            "bundle",
            f"order_number is {bundle.order_number}, but {where} says {terms.order_number}",
        )
    if bundle.offer_hash != terms.offer_hash:
        raise Unproved("bundle", f"offer_hash is not that of {where}")
    if bundle.terms_hash != terms_hash(terms):
        raise Unproved("bundle", f"terms_hash is not the hash of the terms in {where}")


def check_about(found: Verified[Message], terms: Terms, approval: str) -> None:
    """Raises `Unproved` unless all that the message says of an order is about this one."""
    _check_parties(found, terms, approval)
    if isinstance(found.message, MerchantGuarantee | AgencyGuarantee):
        _check_guaranteed(found, found.message, terms)
        return
    bindings = tuple(_bindings(found, terms))
    if _ANCHORS.isdisjoint(field for field, _, _ in bindings):
        raise Unproved(named(found), "is not about this order")
    with at(named(found), "its offer: "):
        _check_offer(found.message)
    for field, stated, expected in bindings:
        if stated != expected:
            raise Unproved(
                named(found), f"{field} is not that of this order{_differing(stated, expected)}"
            )


def _check_offer(message: Message) -> None:
    if isinstance(message, Offer):
        check_offer(message)
    elif isinstance(message, BillingRequest):
        check_offer(message.offer)


def _check_parties(found: Verified[Message], terms: Terms, approval: str) -> None:
    involved = {"approval": approval, "agency": terms.agency, "merchant": terms.merchant}
    for role, principal in (("issued by", found.issuer), ("meant for", found.audience)):
        if principal != involved.get(kind_of(principal), principal):
            raise Unproved(named(found), f"{role} {principal}, who has no part in this order")


def _check_guaranteed(found: Verified[Message], guarantee: _Guarantees, terms: Terms) -> None:
    merchant = isinstance(guarantee, MerchantGuarantee)
    if guarantee.party != (terms.merchant if merchant else terms.agency):
        raise Unproved(named(found), f"guarantees {guarantee.party}, who has no part in this order")


def _differing(stated: object, expected: object) -> str:
    """Where both are structs, the fields that differ."""
    names: tuple[str, ...] = getattr(expected, "__struct_fields__", ())
    fields = [name for name in names if getattr(stated, name, None) != getattr(expected, name)]
    return f": {', '.join(fields)}" if fields else ""


def _bindings(found: Verified[Message], terms: Terms) -> Iterator[_Binding]:
    """What the message says of its order, beside what the terms say; null says nothing."""
    message: Any = found.message
    ref = reference(terms)
    plain: dict[str, object] = {
        "agency": terms.agency,
        "anonymous_id_digest": terms.anonymous_id_digest,
        "merchant": terms.merchant,
        "offer_hash": terms.offer_hash,
        "order": ref,
        "order_number": terms.order_number,
        "subject": terms.offer_hash,
        "terms": terms,
        "terms_hash": ref.terms_hash,
    }
    for field, expected in plain.items():
        stated = getattr(message, field, None)
        if stated is not None:
            yield field, stated, expected
    yield from _derived(found, terms)
    if isinstance(message, Offer):
        yield "offer", offer_hash(message), terms.offer_hash
    if isinstance(message, BillingRequest):
        yield "offer", offer_hash(message.offer), terms.offer_hash
        yield "what is billed", _billed(found, message, terms.order_number), terms
    if isinstance(message, AnonymousIdRequest):
        yield "amount", message.amount, terms.amount


def _derived(found: Verified[Message], terms: Terms) -> Iterator[_Binding]:
    message: Any = found.message
    anonymous_id = getattr(message, "anonymous_id", None)
    if anonymous_id is not None:
        yield "anonymous_id", anonymous_id_digest(anonymous_id), terms.anonymous_id_digest
    own_key = getattr(message, "order_key", None)
    if own_key is not None:
        whole = isinstance(message, AnonymousIdRequest)  # the others name the key by its thumbprint
        yield "order_key", thumbprint(own_key) if whole else own_key, terms.order_key
    if message.self_signed and "offer_hash" in message.__struct_fields__:
        yield "key", thumbprint(message.key), terms.order_key
