"""What agencies' and merchants' operator APIs share: registration, information, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import get, post

from core.licensee.licensee import Profile
from core.protocol.names import Endpoint, Label, Serial, Text
from core.protocol.standing import Currencies, Discovery, InformationChange, Methods, Networks

if TYPE_CHECKING:
    from core.licensee.licensee import Licensee


class Registration(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A serial number and what the program says of itself."""

    serial: Serial
    legal_name: Label
    currencies: Currencies
    endpoint: Endpoint
    payment_methods: Methods
    payout_account: Text
    source_networks: Networks


class Change(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What changed; what is left out stays as it is."""

    discovery: Discovery | None = None
    endpoint: Endpoint | None = None
    payment_methods: Methods | None = None
    payout_account: Text | None = None
    source_networks: Networks | None = None


def licensee_routes(
    licensee: Licensee, register: Callable[[str, Profile], Awaitable[str]]
) -> list[Any]:
    """`POST /registration`, `POST /information`, `GET /status`."""

    @post("/registration", status_code=200)
    async def registration(data: Registration) -> dict[str, str]:
        """Exchange a serial number for a license (claims 4, 5)."""
        fields = msgspec.structs.asdict(data)
        serial = fields.pop("serial")
        return {"party": await register(serial, Profile(**fields))}

    @post("/information", status_code=200)
    async def information(data: Change) -> dict[str, int]:
        """Report changed information to approval (claims 6, 7)."""
        changed = await licensee.change(InformationChange(**msgspec.structs.asdict(data)))
        return {"epoch": changed.epoch}

    @post("/lease", status_code=200)
    async def lease() -> dict[str, int]:
        """Renew the lease now."""
        await licensee.renew()
        return {"lease_until": licensee.lease_until}

    @get("/status")
    async def status() -> dict[str, Any]:
        """Who this node is, what is wrong, and what waits to be sent."""
        node = licensee.node
        return {
            "party": licensee.party,
            "wrong": licensee.wrong(),
            "queued": node.outbox.waiting,
            "lease_until": licensee.lease_until,
        }

    return [registration, information, lease, status]
