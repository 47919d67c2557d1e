from enum import StrEnum

import pytest

from core.protocol.faults import PeerFault
from core.protocol.transitions import Row, Table


class Light(StrEnum):
    RED = "RED"
    GREEN = "GREEN"
    BROKEN = "BROKEN"


class Event(StrEnum):
    TIMER = "timer"
    STONE = "stone"


TABLE = Table(
    "light",
    Light.RED,
    (
        Row(Light.RED, Event.TIMER, Light.GREEN, ("go/1", "cross/1")),
        Row(Light.GREEN, Event.TIMER, Light.RED),
        Row(Light.GREEN, Event.STONE, Light.BROKEN),
    ),
)


def test_every_pair_has_its_row_or_is_refused() -> None:
    found: dict[tuple[Light, Event], Light | str] = {}
    for state in Light:
        for event in Event:
            try:
                found[state, event] = TABLE.next(state, event).then
            except PeerFault as error:
                found[state, event] = error.fault.code
            assert TABLE.allows(state, event) == isinstance(found[state, event], Light)

    assert found == {
        (Light.RED, Event.TIMER): Light.GREEN,
        (Light.RED, Event.STONE): "out_of_order",
        (Light.GREEN, Event.TIMER): Light.RED,
        (Light.GREEN, Event.STONE): Light.BROKEN,
        (Light.BROKEN, Event.TIMER): "out_of_order",
        (Light.BROKEN, Event.STONE): "out_of_order",
    }


def test_a_refusal_names_event_and_state() -> None:
    with pytest.raises(PeerFault) as caught:
        TABLE.next(Light.BROKEN, Event.TIMER)
    assert caught.value.detail == "timer in state BROKEN"


def test_what_is_sent_stands_in_the_row() -> None:
    assert TABLE.next(Light.RED, Event.TIMER).sends == ("go/1", "cross/1")
    assert TABLE.final() == {Light.BROKEN}


def test_two_rows_for_a_pair_are_no_table() -> None:
    with pytest.raises(RuntimeError, match="twice: a"):
        Table("twice", Light.RED, (*TABLE.rows, Row(Light.RED, Event.TIMER, Light.RED)))


def test_the_diagram() -> None:
    assert TABLE.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> RED",
        "    RED --> GREEN: timer / go/1, cross/1",
        "    GREEN --> RED: timer",
        "    GREEN --> BROKEN: stone",
        "    BROKEN --> [*]",
    ]
