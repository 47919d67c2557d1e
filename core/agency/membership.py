"""Members: invitations, devices, log-in (row 1).

A member's identity never leaves this room's tables.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from core.agency import rules
from core.agency.books import DEVICES, INVITATIONS, MEMBERS, SESSIONS
from core.agency.rows import DeviceRow, InvitationRow, MemberRow, MemberState, SessionRow
from core.exchange.directory import Contact
from core.protocol.canonical import b64url, digest, unb64url
from core.protocol.faults import PeerFault, fault
from core.protocol.identifiers import device
from core.protocol.keys import PublicKey
from core.protocol.membership import (
    EnrolmentGranted,
    EnrolmentRequest,
    SessionChallenge,
    SessionGranted,
    SessionRequest,
)
from core.protocol.money import Money, exponent

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.exchange.turn import Turn
    from core.protocol.envelope import Verified
    from core.storage.unit import Unit

SESSION_SECONDS: Final = 12 * 3600
CHALLENGE_SECONDS: Final = 120
NEVER: Final = 2**53


class Membership:
    """Who is a member, by which device.

    `secret`: 32 bytes, for challenges that need not be stored.
    """

    def __init__(
        self, secret: bytes, known: Callable[[Contact], None], methods: tuple[str, ...]
    ) -> None:
        self._secret = secret
        self._known = known
        self._methods = methods

    def invite(
        self, turn: Turn, identity: dict[str, Any], limit: Money, expires_at: int
    ) -> tuple[str, str]:
        """A new member and an invitation for his first device.

        Returns (member, invitation code).
        """
        exponent(limit.currency)
        member = turn.clock.entropy(16).hex()
        row = MemberRow(
            member,
            json.dumps(identity, ensure_ascii=False),
            MemberState.ACTIVE,
            limit.currency,
            limit.minor,
            0,
            0,
            turn.now,
        )
        turn.unit.add(MEMBERS, row)
        return member, self.invite_device(turn, member, expires_at)

    def invite_device(self, turn: Turn, member: str, expires_at: int) -> str:
        """An invitation for one more device of a member; only its hash is kept."""
        if turn.unit.get(MEMBERS, member) is None:
            raise PeerFault(fault("no_member"))
        code = b64url(turn.clock.entropy(16))
        turn.unit.add(INVITATIONS, InvitationRow(digest(code.encode()), member, expires_at, None))
        return code

    def enrol(self, turn: Turn, received: Verified[EnrolmentRequest]) -> EnrolmentGranted:
        """A device joins.

        An invitation that this very device has used is honoured again: its answer may have been
        lost. Raises `invitation_refused`, and what `check_member` raises.
        """
        message = received.message
        invitation = turn.unit.get(INVITATIONS, digest(message.invitation.encode()))
        if (
            invitation is None
            or invitation.kid not in {None, received.kid}
            or invitation.expires_at < turn.now
        ):
            raise PeerFault(fault("invitation_refused"))
        row = rules.check_member(turn.unit.get(MEMBERS, invitation.member))
        turn.unit.put(INVITATIONS, msgspec.structs.replace(invitation, kid=received.kid))
        if turn.unit.get(DEVICES, received.kid) is None:
            turn.unit.put(DEVICES, DeviceRow(received.kid, message.key, row.member, turn.now))
        contact = device_contact(message.key)
        turn.unit.after(lambda: self._known(contact))
        self._open_session(turn, received.kid)
        return EnrolmentGranted(
            agency=turn.identity.principal,
            guarantee=turn.setting("guarantee") or "",
            limit=Money(currency=row.currency, minor=row.limit_minor),
            payment_methods=self._methods,
        )

    def challenge(self, now: int) -> SessionChallenge:
        """Something to sign that nobody could have signed earlier.

        It carries its own time and proof, so nothing is stored.
        """
        stamp = now.to_bytes(8, "big")
        return SessionChallenge(nonce=b64url(stamp + self._proof(stamp)))

    def log_in(self, turn: Turn, received: Verified[SessionRequest]) -> SessionGranted:
        """The device proves that it holds its key now; the member behind it is verified (row 1)."""
        nonce = unb64url(received.message.nonce)
        stamp, proof = nonce[:8], nonce[8:]
        age = turn.now - int.from_bytes(stamp, "big")
        if not hmac.compare_digest(proof, self._proof(stamp)) or not 0 <= age <= CHALLENGE_SECONDS:
            raise PeerFault(fault("expired"), "the challenge")
        row = self.member_of(turn, received.kid)
        expires_at = self._open_session(turn, received.kid)
        return SessionGranted(
            available=row.available,
            expires_at=expires_at,
            guarantee=turn.setting("guarantee") or "",
            limit=Money(currency=row.currency, minor=row.limit_minor),
        )

    def member_of(self, turn: Turn, kid: str) -> MemberRow:
        """The active member whose device this is. Raises `no_member`, `member_suspended`."""
        found = turn.unit.get(DEVICES, kid)
        return rules.check_member(turn.unit.get(MEMBERS, found.member) if found else None)

    def check_session(self, turn: Turn, kid: str) -> None:
        """Raises `session_required` unless the request came with a session of this device."""
        session = session_row(turn.unit, turn.arrival.session)
        if session is None or session.kid != kid:
            raise PeerFault(fault("session_required"))

    def _open_session(self, turn: Turn, kid: str) -> int:
        token = b64url(turn.clock.entropy(32))
        expires_at = turn.now + SESSION_SECONDS
        turn.unit.add(SESSIONS, SessionRow(digest(token.encode()), kid, expires_at))
        turn.reply_headers["Surety-Session"] = token
        return expires_at

    def _proof(self, stamp: bytes) -> bytes:
        return hmac.digest(self._secret, b"surety challenge " + stamp, "sha256")[:24]


def session_row(unit: Unit, token: str | None) -> SessionRow | None:
    """The session of this token, while it lasts."""
    if token is None or len(token) > 100:  # noqa: PLR2004 - tokens have 43 letters
        return None
    row = unit.get(SESSIONS, digest(token.encode("utf-8", "replace")))
    return row if row is not None and row.expires_at * 1000 > unit.now else None


def device_contact(x: str) -> Contact:
    """A device as somebody whose signature is known."""
    key = PublicKey(x)
    return Contact(device(key.kid), key, "", (), NEVER)
