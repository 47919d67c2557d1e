"""Time and randomness as ports: the simulator hands in its own."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol


class Clock(Protocol):
    """What a node knows of time and chance."""

    def milliseconds(self) -> int:
        """Now, in milliseconds since 1970."""
        ...

    def entropy(self, size: int) -> bytes:
        """Unpredictable bytes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        ...


class SystemClock:
    """The machine's.

    Anchored to the wall once and carried on by the monotonic clock, so that setting the wall clock
    while a node runs neither expires nor revives an order; a restart anchors anew.
    """

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def milliseconds(self) -> int:
        """Now, in milliseconds since 1970."""
        return int((self._anchor + time.monotonic()) * 1000)

    def entropy(self, size: int) -> bytes:
        """Unpredictable bytes from the operating system."""
        return os.urandom(size)

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds)
