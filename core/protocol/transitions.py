"""Transition tables: a party's whole behaviour as rows to read, draw and test pair by pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from core.protocol.faults import PeerFault, fault

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Row(Generic[S, E]):
    """In `state`, on `event`: go to `then` and send the messages named in `sends`."""

    state: S
    event: E
    then: S
    sends: tuple[str, ...] = ()


class Table(Generic[S, E]):
    """All rows of a party. A pair without a row is refused as `out_of_order`; nothing changes."""

    def __init__(self, name: str, start: S, rows: Iterable[Row[S, E]]) -> None:
        self.name = name
        self.start = start
        self.rows = tuple(rows)
        self._by_pair = {(row.state, row.event): row for row in self.rows}
        if len(self._by_pair) != len(self.rows):
            raise RuntimeError(f"{name}: a (state, event) pair has two rows")

    def next(self, state: S, event: E) -> Row[S, E]:
        """The row for this pair. Raises `PeerFault("out_of_order")` where there is none."""
        row = self._by_pair.get((state, event))
        if row is None:
            raise PeerFault(fault("out_of_order"), f"{event} in state {state}")
        return row

    def allows(self, state: S, event: E) -> bool:
        """Whether the pair has a row."""
        return (state, event) in self._by_pair

    def final(self) -> frozenset[S]:
        """The states that no row leaves."""
        return frozenset(row.then for row in self.rows) - frozenset(row.state for row in self.rows)

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        for row in self.rows:
            sends = f" / {', '.join(row.sends)}" if row.sends else ""
            lines.append(f"    {row.state} --> {row.then}: {row.event}{sends}")
        lines += [f"    {state} --> [*]" for state in sorted(self.final())]
        return "\n".join(lines)
