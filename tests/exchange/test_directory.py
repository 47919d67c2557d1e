from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.exchange.directory import Contact, Directory, Trust, open_guarantee
from core.exchange.tables import GUARANTEES, KnownGuarantee
from core.exchange.turn import Turn
from core.protocol.faults import PeerFault
from tests.world.keys import AGENCY, APPROVAL, MERCHANT, key, party
from tests.world.messages import (
    NOW,
    agency_guarantee,
    merchant_guarantee,
    offer,
    sealed,
)
from tests.world.network import Place, two

pytestmark = pytest.mark.anyio
TRUST = Trust(APPROVAL, key("approval").public, "http://approval")
SOMEBODY = party("agency", "somebody")


@pytest.fixture
async def merchant(tmp_path: Path) -> AsyncIterator[Place]:
    async with two(tmp_path, AGENCY, MERCHANT) as (_, second):
        yield second


def _learn(raw: bytes, directory: Directory, turn: Turn) -> Any:
    return directory.learn(turn.unit, raw, turn.now).message


async def _learned(merchant: Place, raw: bytes) -> Any:
    return await merchant.node.work(partial(_learn, raw, merchant.node.directory))


def _guarantee(epoch: int = 3, owner: str = "somebody", **options: Any) -> bytes:
    message = agency_guarantee(SOMEBODY, owner, epoch=epoch, endpoint="https://a.example")
    return sealed(message, **options)


async def _row(merchant: Place) -> KnownGuarantee | None:
    return await merchant.node.writer.submit(lambda unit: unit.get(GUARANTEES, SOMEBODY))


async def test_a_guarantee_makes_a_party_known(merchant: Place) -> None:
    directory = merchant.node.directory
    assert directory.by_name(SOMEBODY) is None
    raw = _guarantee()
    await _learned(merchant, raw)
    found = directory.by_name(SOMEBODY)

    assert found is not None
    assert found is directory.by_kid(key("somebody").kid)
    assert (found.endpoint, found.networks) == ("https://a.example", ("127.0.0.0/8",))
    assert found.expires_at == NOW + 60
    assert await _row(merchant) == KnownGuarantee(
        SOMEBODY, "agency", "ABCDEFG2", 3, raw, NOW, NOW + 60, 0
    )


async def test_a_merchants_guarantee_has_no_routing_code(merchant: Place) -> None:
    shop = party("merchant", "shop")
    await _learned(merchant, sealed(merchant_guarantee(shop, "shop")))
    row = await merchant.node.writer.submit(lambda unit: unit.get(GUARANTEES, shop))

    assert row is not None
    assert (row.kind, row.routing_code) == ("merchant", None)


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (_guarantee(sender="thief"), "bad_signature"),
        (_guarantee(sender="somebody", issuer=SOMEBODY), "bad_signature"),
        (_guarantee(issuer=party("approval", "other")), "not a guarantee of this"),
        (_guarantee(audience=MERCHANT), "wrong_audience"),
        (_guarantee(issued_at=NOW - 1000), "expired"),
        (_guarantee(issued_at=NOW + 1000), "not_yet_valid"),
        (_guarantee(expires_at=NOW + 8 * 86_400), "malformed"),
        (sealed(offer()), "not a guarantee"),
        (_guarantee()[:-3], ""),
        (b"", "malformed"),
        (b"\xff\xfe.a.b", "malformed"),
    ],
)
async def test_what_approval_did_not_say_is_not_learned(
    merchant: Place, raw: bytes, detail: str
) -> None:
    with pytest.raises(PeerFault) as caught:
        await _learned(merchant, raw)

    assert caught.value.fault.code == "guarantee_invalid"
    assert detail in caught.value.detail
    assert merchant.node.directory.by_name(SOMEBODY) is None
    assert await _row(merchant) is None


async def test_text_that_is_no_ascii_is_no_guarantee() -> None:
    for text in ("é.b.c", "\ud800", ""):
        with pytest.raises(PeerFault, match="guarantee_invalid"):
            open_guarantee(text, TRUST, NOW)
    assert open_guarantee(_guarantee().decode(), TRUST, NOW).message.party == SOMEBODY


async def test_a_directory_only_moves_forward(merchant: Place) -> None:
    directory = merchant.node.directory
    await _learned(merchant, _guarantee(5, "new key"))
    for epoch in (0, 4):
        with pytest.raises(PeerFault) as caught:
            await _learned(merchant, _guarantee(epoch, "old key"))
        assert caught.value.fault.code == "guarantee_invalid"
    assert directory.by_kid(key("old key").kid) is None
    await _learned(merchant, _guarantee(5, "new key"))
    await _learned(merchant, _guarantee(6, "newest key"))

    found = directory.by_name(SOMEBODY)
    assert found is not None
    assert found.key.kid == key("newest key").kid
    assert directory.by_kid(key("new key").kid) is None


async def test_what_was_withdrawn_comes_back_with_a_newer_epoch_only(merchant: Place) -> None:
    await _learned(merchant, _guarantee(5))

    def withdraw(turn: Turn) -> None:
        row = turn.unit.get(GUARANTEES, SOMEBODY)
        assert row is not None
        turn.unit.put(GUARANTEES, msgspec.structs.replace(row, withdrawn=1))
        turn.unit.after(lambda: merchant.node.directory.forget(SOMEBODY))

    await merchant.node.work(withdraw)
    # The guarantee of before the revocation is still in date, and still approval's word.
    with pytest.raises(PeerFault, match="guarantee_invalid"):
        await _learned(merchant, _guarantee(5))
    assert merchant.node.directory.by_name(SOMEBODY) is None
    await _learned(merchant, _guarantee(6))

    row = await _row(merchant)
    assert row is not None
    assert (row.epoch, row.withdrawn) == (6, 0)
    assert merchant.node.directory.by_name(SOMEBODY) is not None


async def test_a_work_that_fails_teaches_nothing(merchant: Place) -> None:
    def fails(turn: Turn) -> None:
        _learn(_guarantee(), merchant.node.directory, turn)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await merchant.node.work(fails)

    assert merchant.node.directory.by_name(SOMEBODY) is None
    assert await _row(merchant) is None


async def test_without_an_approval_server_nothing_is_learned(merchant: Place) -> None:
    with pytest.raises(PeerFault, match="no approval server"):
        await merchant.node.work(partial(_learn, _guarantee(), Directory()))
    await merchant.node.writer.submit(Directory().load)


async def test_what_was_known_is_known_after_a_restart(merchant: Place) -> None:
    shop = party("merchant", "shop")
    await _learned(merchant, _guarantee())
    await _learned(merchant, sealed(merchant_guarantee(shop, "shop")))
    again = Directory(TRUST)
    await merchant.node.writer.submit(again.load)

    found = again.by_name(SOMEBODY)
    assert found is not None
    assert found is again.by_kid(key("somebody").kid)
    assert (found.endpoint, found.expires_at) == ("https://a.example", NOW + 60)
    assert again.by_name(shop) is not None
    other = Directory(Trust(APPROVAL, key("thief").public, ""))
    with pytest.raises(PeerFault, match="bad_signature"):
        await merchant.node.writer.submit(other.load)


def test_contacts_are_found_by_key_and_name() -> None:
    directory = Directory(TRUST)
    directory.add(Contact("a", key("1").public, "", (), 0))
    directory.add(Contact("a", key("2").public, "x", (), 0))
    directory.forget("nobody")

    assert directory.by_kid(key("1").kid) is None
    found = directory.by_kid(key("2").kid)
    assert found is not None
    assert found.endpoint == "x"
    directory.forget("a")
    assert (directory.by_name("a"), directory.by_kid(key("2").kid)) == (None, None)
    approval = directory.by_name(APPROVAL)
    assert approval is not None
    assert approval.key.kid == key("approval").kid


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.1", True),
        ("192.0.2.255", True),
        ("192.0.3.1", False),
        ("::ffff:192.0.2.1", True),
        ("::ffff:192.0.3.1", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("::192.0.2.1", False),
        ("127.0.0.1", False),
        ("", False),
        ("192.0.2.1:80", False),
        ("192.0.2", False),
        ("192.0.2.01", False),
        ("3221225985", False),
        ("unknown", False),
    ],
)
def test_where_a_party_calls_from(address: str, inside: bool) -> None:  # noqa: FBT001 - a column
    networks = ("999.0.0.0/8", "1.2.3.4/99", "192.0.2.7/24", "2001:db8::/32")

    assert Contact("a", key("1").public, "", networks, 0).calls_from(address) is inside
    assert not Contact("a", key("1").public, "", (), 0).calls_from(address)
