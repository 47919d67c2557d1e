"""Anonymous IDs: made here (claim 1) or by the wallet (claims 10, 19), opened here alone.

Each is good once, for one merchant and one offer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from core.agency import rules
from core.agency.books import DEVICES, INTRODUCTIONS, REGISTRATIONS
from core.agency.rows import IntroductionRow, RegistrationRow
from core.protocol.canonical import b64url, unb64url
from core.protocol.discovery import (
    AnonymousIdIntroduction,
    AnonymousIdRegistration,
    AnonymousIdRequest,
    SealedIntroduction,
)
from core.protocol.envelope import unwrap, verify
from core.protocol.faults import PeerFault, fault
from core.protocol.keys import PublicKey, open_sealed
from core.protocol.terms import anonymous_id_digest

if TYPE_CHECKING:
    from core.agency.membership import Membership
    from core.exchange.tables import Waiting
    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified
    from core.protocol.purchase import BillingRequest

LIFETIME: Final = 900


class AnonymousIds:
    """Makes, registers, introduces and opens anonymous IDs.

    `sealing_seed`: of the X25519 key that wallets seal to.
    """

    def __init__(self, sealing_seed: bytes, membership: Membership, approval: str) -> None:
        self._seed = sealing_seed
        self._membership = membership
        self._approval = approval

    def requested(self, turn: Turn, received: Verified[AnonymousIdRequest]) -> None:
        """A member wants to be introduced (claim 1).

        The digest is registered first, so that the merchant's search finds it.
        """
        message = received.message
        member = self._membership.member_of(turn, received.kid)
        rules.check_member(member, message.amount)
        anonymous_id = f"{turn.setting('routing_code')}.{b64url(turn.clock.entropy(32))}"
        fingerprint = anonymous_id_digest(anonymous_id)
        expires_at = min(turn.now + LIFETIME, message.expires_at)
        turn.unit.add(
            INTRODUCTIONS,
            IntroductionRow(
                digest=fingerprint,
                kid=received.kid,
                merchant=message.merchant,
                offer_hash=message.offer_hash,
                order_key=PublicKey(message.order_key).kid,
                expires_at=expires_at,
                used=0,
                anonymous_id=anonymous_id,
            ),
        )
        registration = AnonymousIdRegistration(
            anonymous_id_digest=fingerprint, expires_at=expires_at
        )
        sealed = turn.send(registration, self._approval, expires_at)
        turn.unit.add(REGISTRATIONS, RegistrationRow(sealed.message_id, fingerprint))

    def registered(self, turn: Turn, waiting: Waiting) -> None:
        """Approval has the digest: introduce the buyer to the merchant (row 2)."""
        registration = turn.unit.get(REGISTRATIONS, waiting.message_id)
        row = turn.unit.get(INTRODUCTIONS, registration.digest) if registration else None
        if row is None or row.anonymous_id is None:
            return
        message = AnonymousIdIntroduction(
            anonymous_id=row.anonymous_id,
            expires_at=row.expires_at,
            offer_hash=row.offer_hash,
            order_key=row.order_key,
        )
        turn.unit.remove(REGISTRATIONS, waiting.message_id)
        turn.unit.put(INTRODUCTIONS, msgspec.structs.replace(row, anonymous_id=None))
        turn.send(message, row.merchant, row.expires_at)

    def given_up(self, turn: Turn, waiting: Waiting) -> IntroductionRow | None:
        """Approval refused the digest: nobody is introduced. Returns whose ID it was."""
        registration = turn.unit.get(REGISTRATIONS, waiting.message_id)
        row = turn.unit.get(INTRODUCTIONS, registration.digest) if registration else None
        if row is not None:
            turn.unit.remove(REGISTRATIONS, waiting.message_id)
            turn.unit.put(INTRODUCTIONS, msgspec.structs.replace(row, anonymous_id=None))
        return row

    def open(self, turn: Turn, request: BillingRequest, merchant: str) -> IntroductionRow:
        """Who is behind an anonymous ID that this merchant may bill on now, for this offer.

        Raises `anonymous_id_unknown`, `_wrong_merchant`, `_expired`, `_reused`. The ID is used up
        with this commit.
        """
        fingerprint = anonymous_id_digest(request.anonymous_id)
        row = turn.unit.get(INTRODUCTIONS, fingerprint) or self._unsealed(
            turn, request, fingerprint
        )
        rules.check_introduction(row, request, merchant, turn.now)
        row = msgspec.structs.replace(row, used=1)
        turn.unit.put(INTRODUCTIONS, row)
        return row

    def _unsealed(self, turn: Turn, request: BillingRequest, fingerprint: str) -> IntroductionRow:
        code, _, sealed = request.anonymous_id.partition(".")
        if code != turn.setting("routing_code"):
            raise PeerFault(fault("anonymous_id_unknown"), "another agency's")
        try:
            opened = self._opened(turn, unb64url(sealed))
        except PeerFault as error:
            expired = error.fault.code == "expired"
            code = "anonymous_id_expired" if expired else "anonymous_id_unknown"
            raise PeerFault(fault(code)) from error
        message: SealedIntroduction = opened.message
        return IntroductionRow(
            digest=fingerprint,
            kid=opened.kid,
            merchant=message.merchant,
            offer_hash=message.offer_hash,
            order_key=message.order_key,
            expires_at=message.expires_at,
            used=0,
            anonymous_id=None,
        )

    def _opened(self, turn: Turn, sealed: bytes) -> Verified[SealedIntroduction]:
        inner = unwrap(open_sealed(self._seed, sealed))
        found = turn.unit.get(DEVICES, inner.kid)
        if found is None or inner.kind is not SealedIntroduction:
            raise PeerFault(fault("anonymous_id_unknown"))
        opened: Verified[Any] = verify(
            inner, PublicKey(found.key), audience=turn.identity.principal, now=turn.now
        )
        return opened
