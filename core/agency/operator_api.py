"""What the agency's operator may do: register, invite members, see figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import get, post
from msgspec import Meta

from core.agency.books import MEMBERS, members, orders
from core.agency.rows import MemberState
from core.exchange.operator import operator_app
from core.licensee.operator import licensee_routes
from core.protocol.faults import PeerFault, fault
from core.protocol.money import Money

if TYPE_CHECKING:
    from litestar import Litestar

    from core.agency.server import AgencyServer
    from core.exchange.turn import Turn

MAX_IDENTITY = 4000


class InvitationWish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new member: what the agency knows him by, and his credit limit.

    `expires_in`: how long the invitation holds, in seconds.
    """

    identity: dict[str, str]
    limit: Money
    expires_in: Annotated[int, Meta(ge=60, le=90 * 86_400)] = 7 * 86_400


class InvitationMade(msgspec.Struct):
    """The member's number at the agency, and the link for the wallet."""

    member: str
    invitation: str


class MemberChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new limit or standing; what is left out stays."""

    limit_minor: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    state: MemberState | None = None


def agency_api(server: AgencyServer, token: bytes, endpoint: str) -> Litestar:
    """The operator API of an agency node."""
    node = server.node

    @post("/invitations", status_code=200)
    async def invite(data: InvitationWish) -> InvitationMade:
        """A new member and an invitation for his wallet; shown once, kept as a hash."""
        if len(str(data.identity)) > MAX_IDENTITY:
            raise PeerFault(fault("too_large"), "identity")

        def do(turn: Turn) -> tuple[str, str]:
            return server.membership.invite(
                turn, dict(data.identity), data.limit, turn.now + data.expires_in
            )

        member, code = await node.work(do)
        return InvitationMade(member, invitation_link(endpoint, server, code))

    @post("/members/{member:str}", status_code=200)
    async def change(member: str, data: MemberChange) -> dict[str, Any]:
        """Change a member's limit or standing."""

        def do(turn: Turn) -> dict[str, Any]:
            row = turn.unit.get(MEMBERS, member)
            if row is None:
                raise PeerFault(fault("no_member"))
            limit = row.limit_minor if data.limit_minor is None else data.limit_minor
            row = msgspec.structs.replace(row, limit_minor=limit, state=data.state or row.state)
            turn.unit.put(MEMBERS, row)
            return {"member": member, "state": row.state.value, "available": row.available}

        return await node.work(do)

    @get("/figures")
    async def figures() -> dict[str, Any]:
        """How many members, and orders in which state."""
        counted = sa.select(orders.c.state, sa.func.count()).group_by(orders.c.state)
        rows = await node.writer.submit(lambda unit: unit.query(counted))
        many = await node.writer.submit(
            lambda unit: unit.query(sa.select(sa.func.count()).select_from(members))
        )
        return {"orders": {row[0]: row[1] for row in rows}, "members": many[0][0]}

    routes = licensee_routes(server.licensee, server.register)
    return operator_app("agency", [*routes, invite, change, figures], token)


def invitation_link(endpoint: str, server: AgencyServer, code: str) -> str:
    """Whom to join, and whose word to trust.

    `surety://join/<agency host>/<code>#<approval>.<approval's key>`.
    """
    trust = server.licensee.trust
    return f"surety://join/{endpoint.partition('://')[2]}/{code}#{trust.principal}.{trust.key.x}"
