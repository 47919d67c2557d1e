"""A party's transition table against a list of what may happen, pair by pair."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from core.protocol.faults import PeerFault
from core.protocol.transitions import Table


def expected(text: str) -> dict[tuple[str, str], str]:
    """Lines of `STATE: EVENT→STATE EVENT→STATE …`."""
    found: dict[tuple[str, str], str] = {}
    for line in text.strip().splitlines():
        state, _, moves = line.partition(":")
        for move in moves.split():
            event, _, then = move.partition("→")
            assert (state.strip(), event) not in found
            found[state.strip(), event] = then
    return found


def check_every_pair(
    table: Table[Any, Any], states: type[StrEnum], events: type[StrEnum], text: str
) -> None:
    """Each pair leads where the list says; a pair that is not listed is refused as out of order."""
    allowed = expected(text)
    for state in states:
        for event in events:
            then = allowed.pop((state, event), None)
            assert table.allows(state, event) is (then is not None), (state, event)
            if then is not None:
                row = table.next(state, event)
                assert (row.state, row.event, row.then) == (state, event, then)
                continue
            with pytest.raises(PeerFault) as caught:
                table.next(state, event)
            assert caught.value.fault.code == "out_of_order"
            assert caught.value.detail == f"{event} in state {state}"
    assert allowed == {}


def check_reach(table: Table[Any, Any], states: type[StrEnum], ends: set[str]) -> None:
    """Every state can be reached from the start; every state but the ends leads on to an end."""
    reached = {table.start}
    while True:
        more = {row.then for row in table.rows if row.state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(states)
    leaving = {row.state for row in table.rows if row.then is not row.state}
    assert {str(state) for state in states if state not in leaving} == ends
    ending: set[Any] = {state for state in states if state in ends}
    while True:
        more = {row.state for row in table.rows if row.then in ending} - ending
        if not more:
            break
        ending |= more
    assert ending == set(states)


def refused(code: str) -> Any:
    """`with refused("…"):` inside, a peer is refused with this code."""
    return pytest.raises(PeerFault, match=f"^{code}:")
