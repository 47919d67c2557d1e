"""The search for identities finds what is there: a check that cannot fail would prove nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from core.evidence.chain import Direction
from core.protocol.control import Refusal
from core.protocol.purchase import PurchaseResult
from core.sandbox.members import identity_of
from core.sandbox.replay.leaks import Needles, needles, search
from core.storage.journal import entries
from core.storage.schema import NODE
from tests.world.messages import samples, sealed

KID = "kJ0fW9pZ0T8a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
MEMBER = "0f" * 16


def _sought() -> Needles:
    return needles([identity_of("17850"), identity_of("13047")], [KID], [MEMBER])


@pytest.mark.parametrize(
    "text",
    [
        identity_of("17850")["uuid"],
        identity_of("17850")["name"],
        identity_of("13047")["address"],
        KID,
        MEMBER,
        f"x{MEMBER}y",
    ],
)
def test_each_kind_of_identifier_is_found_in_any_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.log").write_bytes(b"\x00\xff before " + text.encode() + b" after")
    assert len(search([tmp_path], [], _sought())) == 1


def test_what_is_no_identifier_is_not_found(tmp_path: Path) -> None:
    clean = f"17850 {identity_of('99999')['uuid']} {'0e' * 16} Zephyr"
    (tmp_path / "node.log").write_text(clean)
    assert search([tmp_path], [], _sought()) == []


def _database(folder: Path, raw: bytes) -> str:
    url = f"sqlite:///{folder / 'node.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        NODE.create_all(connection)
        row = {
            "chain": "main",
            "position": 1,
            "at": 1,
            "direction": Direction.RECEIVED.value,
            "name": "refusal/1",
            "message_id": "0" * 32,
            "counterpart": "x",
            "subject": None,
            "digest": b"",
            "hash": b"",
            "raw": raw,
        }
        connection.execute(entries.insert(), [row])
    engine.dispose()
    return url


def test_what_a_message_holds_is_found_although_its_bytes_are_encoded(tmp_path: Path) -> None:
    name = identity_of("17850")["name"]
    inner = sealed(Refusal(code="refused", detail=name, subject=None))
    url = _database(tmp_path, inner)

    assert search([tmp_path], [], _sought()) == []
    assert search([], [url], _sought()) == ["refusal/1: name or address"]


def test_messages_inside_messages_are_opened_too(tmp_path: Path) -> None:
    inner = sealed(Refusal(code="refused", detail=f"device {KID}", subject=None))
    result = samples()["purchase.result/1"]
    assert isinstance(result, PurchaseResult)
    outer = sealed(msgspec.structs.replace(result, recorded=inner.decode()))
    url = _database(tmp_path, outer)

    assert search([], [url], _sought()) == ["refusal/1: device key"]
