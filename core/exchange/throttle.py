"""A limit on what may be guessed: so many tries an address, refilled over time."""

from __future__ import annotations

from typing import Final

from core.protocol.faults import PeerFault, fault

MOST_ADDRESSES: Final = 10_000


class Throttle:
    """A token bucket an address. `burst` tries at once, one more every `seconds`."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._buckets: dict[str, tuple[float, int]] = {}

    def check(self, address: str, now: int) -> None:
        """Raises `too_many` where the address has no try left. `now` in milliseconds."""
        left, _ = self._level(address, now)
        if left < 1:
            raise PeerFault(fault("too_many"), "too many failed tries from this address")

    def failed(self, address: str, now: int) -> None:
        """The address has used a try."""
        left, _ = self._level(address, now)
        if len(self._buckets) >= MOST_ADDRESSES:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[address] = (left - 1, now)

    def _level(self, address: str, now: int) -> tuple[float, int]:
        left, then = self._buckets.get(address, (float(self._burst), now))
        return min(float(self._burst), left + (now - then) / 1000 / self._seconds), now
