"""The shop's own web server, as far as a purchase needs it: it makes offers at its node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from core.exchange.peers import Caller
from core.protocol.faults import OurFault, PeerFault, fault

T = TypeVar("T")
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Made:
    """An offer. `link`: what the buyer's wallet opens."""

    offer_id: str
    offer_hash: str
    link: str
    minor: int


class Shop:
    """Calls the merchant node's shop API. `headers`: the operator's authorization."""

    def __init__(self, caller: Caller, url: str, headers: dict[str, str]) -> None:
        self._caller = caller
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json"}

    async def offer(self, order: dict[str, Any], key: str) -> Made:
        """Make an offer; `key` makes it safe to ask again, which is done while the node is away.

        Raises `PeerFault` with the node's fault (`nonpositive_amount`, …).
        """
        body = msgspec.json.encode(order)
        headers = {**self._headers, "Idempotency-Key": key}
        answer = await patiently(
            lambda: self._caller.call("POST", f"{self._url}/offers", body, headers)
        )
        content = msgspec.json.decode(answer.body)
        if answer.status != 200:  # noqa: PLR2004
            raise PeerFault(fault(str(content.get("code"))), str(content.get("detail", "")))
        return Made(**content)


async def patiently(do: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """Try again while it is our own or the network's fault, for so long.

    As a person does whose page does not load. Raises the last `OurFault`.
    """
    pause = 0.1
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await do()
        except OurFault:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)
