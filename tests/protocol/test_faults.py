import re
from pathlib import Path

import msgspec
import pytest

from core.protocol import names
from core.protocol.canonical import canonical
from core.protocol.faults import (
    CATALOGUE,
    Fault,
    OurFault,
    PeerFault,
    SuretyError,
    Whose,
    _catalogue,
    fault,
)

CORE = Path(__file__).parents[2] / "core"


def test_codes_are_unique() -> None:
    row = fault("malformed")
    with pytest.raises(RuntimeError, match="share a code"):
        _catalogue(row, row)
    assert [code for code, kind in CATALOGUE.items() if kind.code != code] == []
    assert len({(kind.title, kind.advice) for kind in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_every_fault_says_what_is_wrong_and_what_to_do(kind: Fault) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert msgspec.convert(kind.code, names.Label) == kind.code
    assert kind.title
    assert not kind.title.endswith(".")
    assert kind.advice.endswith(".")
    assert kind.whose in Whose
    assert 400 <= kind.status < 600
    assert not kind.again or kind.status in {401, 408, 409, 429, 500, 503, 504}


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_a_problem_has_the_members_of_rfc_9457(kind: Fault) -> None:
    problem = PeerFault(kind, "just so").problem()

    assert problem == msgspec.json.decode(canonical(problem))
    assert problem["type"] == f"urn:surety:fault:{kind.code}"
    assert (problem["title"], problem["status"], problem["detail"]) == (
        kind.title,
        kind.status,
        "just so",
    )
    assert {"code", "whose", "advice", "again"} < set(problem)


def test_an_unknown_code_reads_as_refused() -> None:
    assert fault("something_new") is fault("refused")


def test_every_code_that_the_program_names_is_in_the_catalogue() -> None:
    named = {
        (code, path.name)
        for path in CORE.rglob("*.py")
        for code in re.findall(r'\bfault\(\s*"([^"]*)"', path.read_text("utf-8"))
    }

    assert {each for each in named if each[0] not in CATALOGUE} == set()
    assert len({code for code, _ in named}) > 20


def test_what_an_error_reads_like() -> None:
    error = OurFault(fault("peer_unreachable"), "merchant")

    assert str(error) == "peer_unreachable: The other party cannot be reached (merchant)"
    assert str(PeerFault(fault("declined"))) == "declined: The member declined"
    assert isinstance(error, SuretyError)
    assert not isinstance(error, PeerFault)
