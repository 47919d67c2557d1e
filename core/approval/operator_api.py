"""What the institution's operator may do: serial numbers, standing of parties, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from litestar import get, post
from msgspec import Meta

from core.approval.books import orders, parties
from core.approval.rows import Standing
from core.exchange.operator import operator_app
from core.protocol.money import Money
from core.protocol.names import Kind, Label, Serial, Text

if TYPE_CHECKING:
    from litestar import Litestar

    from core.approval.server import ApprovalServer

_STATES = {"suspend": Standing.SUSPENDED, "revoke": Standing.REVOKED, "reinstate": Standing.ACTIVE}


class SerialOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A contract for which a serial number is wanted."""

    kind: Kind
    legal_name: Label
    caps: Annotated[tuple[Money, ...], Meta(min_length=1, max_length=40)]


class SerialText(msgspec.Struct, forbid_unknown_fields=True):
    """A serial number."""

    serial: Serial


class StandingOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Why a party's standing changes."""

    reason: Text = ""


_SHOWN = (
    "party",
    "kind",
    "legal_name",
    "state",
    "reason",
    "epoch",
    "endpoint",
    "lease_until",
    "last_seen",
)
_LISTED = sa.select(*(parties.c[name] for name in _SHOWN)).order_by(parties.c.party)


def approval_api(server: ApprovalServer, token: bytes, endpoint: str) -> Litestar:
    """The operator API of an approval server."""
    node = server.node

    @post("/serials")
    async def issue(data: SerialOrder) -> SerialText:
        """A new serial number; shown once, kept as a hash."""
        serial = await node.work(
            lambda turn: server.licenses.issue_serial(turn, data.kind, data.legal_name, data.caps)
        )
        return SerialText(serial)

    @post("/serials/withdraw", status_code=200)
    async def withdraw(data: SerialText) -> dict[str, str]:
        """Make an unused serial number unusable."""
        await node.work(lambda turn: server.licenses.withdraw_serial(turn, data.serial))
        return {"state": "WITHDRAWN"}

    @get("/parties")
    async def listed() -> list[dict[str, Any]]:
        """All registered parties."""
        rows = await node.writer.submit(lambda unit: unit.query(_LISTED))
        return [dict(zip(_SHOWN, row, strict=True)) for row in rows]

    @post("/parties/{party:str}/{action:str}", status_code=200)
    async def standing(
        party: str, action: Literal["suspend", "revoke", "reinstate"], data: StandingOrder
    ) -> dict[str, str]:
        """Suspend, revoke or reinstate; in force with this commit."""
        row = await node.work(
            lambda turn: server.licenses.set_standing(turn, party, _STATES[action], data.reason)
        )
        return {"party": row.party, "state": row.state.value}

    @get("/trust")
    async def trust() -> dict[str, Any]:
        """What other parties have to be told of this server."""
        return server.trust(endpoint)

    @get("/status")
    async def status() -> dict[str, Any]:
        """How many orders are in which state, and what waits to be sent."""
        counted = sa.select(orders.c.state, sa.func.count()).group_by(orders.c.state)
        rows = await node.writer.submit(lambda unit: unit.query(counted))
        return {"orders": {row[0]: row[1] for row in rows}, "queued": node.outbox.waiting}

    return operator_app("approval", [issue, withdraw, listed, standing, trust, status], token)
