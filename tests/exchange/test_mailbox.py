import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from core.exchange.mailbox import AT_ONCE
from core.exchange.node import PURGE_SECONDS
from core.exchange.turn import RETRY_GRACE, Turn
from core.protocol.canonical import digest
from core.protocol.envelope import unwrap, verify_as_evidence
from core.protocol.faults import OurFault
from core.protocol.identifiers import device
from core.protocol.purchase import StateQuery
from tests.world.keys import AGENCY, MERCHANT, key
from tests.world.network import HASTE, Place, place, two

pytestmark = pytest.mark.anyio
WALLET = device(key("device").kid)
OTHER = device(key("other").kid)


@pytest.fixture
async def agency(tmp_path: Path) -> AsyncIterator[Place]:
    async with two(tmp_path, AGENCY, MERCHANT) as (first, _):
        yield first


def _send(number: int, to: str, turn: Turn, seconds: int = 60) -> str:
    query = StateQuery(offer_hash=digest(f"{number}".encode()))
    return turn.send(query, to, turn.now + seconds).message_id


async def _sent(agency: Place, number: int, to: str = WALLET, seconds: int = 60) -> str:
    agency.clock.at += 1
    return await agency.node.work(lambda turn: _send(number, to, turn, seconds))


def _ids(lines: list[bytes]) -> list[str]:
    return [verify_as_evidence(unwrap(line), key("agency").public).message_id for line in lines]


async def _collect(agency: Place, *received: str, wait: float = 0, who: str = WALLET) -> list[str]:
    return _ids(await agency.node.mailbox.collect(who, received, wait))


async def test_what_waits_is_collected_until_it_is_acknowledged(agency: Place) -> None:
    sent = [await _sent(agency, at) for at in range(3)]
    await _sent(agency, 9, OTHER)

    assert await _collect(agency) == sent
    assert await _collect(agency) == sent
    assert await _collect(agency, sent[0]) == sent[1:]
    assert await _collect(agency, sent[0], *sent[1:]) == []
    assert agency.count("outbox") == 1
    assert agency.wire.calls == []


async def test_what_arrives_ends_the_wait(agency: Place) -> None:
    waiting = asyncio.create_task(_collect(agency, wait=20))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await _sent(agency, 9, OTHER)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    sent = await _sent(agency, 1)

    async with asyncio.timeout(2):
        assert await waiting == [sent]
    assert agency.node.mailbox._readers == {}


async def test_two_who_wait_are_both_woken(agency: Place) -> None:
    waiting = [asyncio.create_task(_collect(agency, wait=20)) for _ in range(2)]
    await asyncio.sleep(0.05)
    waiting.append(asyncio.create_task(_collect(agency, wait=20)))
    sent = await _sent(agency, 1)

    async with asyncio.timeout(2):
        assert await asyncio.gather(*waiting) == [[sent]] * 3


async def test_the_wait_ends_by_itself(agency: Place) -> None:
    async with asyncio.timeout(2):
        assert await _collect(agency, wait=0.05) == []
    assert agency.node.mailbox._readers == {}


async def test_whoever_hangs_up_is_forgotten(agency: Place) -> None:
    waiting = asyncio.create_task(_collect(agency, wait=20))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert agency.node.mailbox._readers == {}
    sent = await _sent(agency, 1)
    assert await _collect(agency) == [sent]


async def test_nobody_acknowledges_for_another(agency: Place) -> None:
    mine, theirs = await _sent(agency, 1), await _sent(agency, 2, OTHER)

    assert await _collect(agency, mine, theirs, "0" * 32, who=OTHER) == []
    assert await _collect(agency) == [mine]
    assert agency.count("outbox") == 1


async def test_more_than_fits_comes_in_order_and_without_a_pause(agency: Place) -> None:
    sent = [await _sent(agency, at) for at in range(AT_ONCE * 2 + 5)]
    taken: list[str] = []
    batch = await _collect(agency)
    async with asyncio.timeout(5):
        while batch:
            assert len(batch) <= AT_ONCE
            taken += batch
            # Acknowledging a whole batch must not hide that more waits.
            batch = await _collect(agency, *batch, wait=20 if len(taken) < len(sent) else 0)

    assert taken == sent
    assert agency.count("outbox") == 0


async def test_what_has_expired_is_neither_given_out_nor_in_the_way(agency: Place) -> None:
    for at in range(AT_ONCE + 3):
        await _sent(agency, at, seconds=1)
    agency.clock.at += 1000 * (1 + RETRY_GRACE + 1)
    sent = await _sent(agency, 99)

    assert await _collect(agency) == [sent]
    assert agency.count("outbox") == AT_ONCE + 4
    agency.clock.at += 1000 * (RETRY_GRACE + 1)
    async with asyncio.timeout(PURGE_SECONDS / HASTE + 3):
        while agency.count("outbox") > 1:
            await asyncio.sleep(0.05)
    assert await _collect(agency) in ([sent], [])


async def test_it_waits_over_a_restart(agency: Place) -> None:
    sent = await _sent(agency, 1)
    await agency.stop()
    again = await place(AGENCY, "agency", agency.path, agency.wire)
    await again.node.start()

    assert await _collect(again) == [sent]
    await again.stop()


async def test_a_party_without_an_endpoint_collects(agency: Place) -> None:
    shop = Place(MERCHANT, "merchant", agency.path, agency.wire, agency.node, agency.party,
                 agency.clock, key("merchant"))  # fmt: skip
    agency.knows(shop, endpoint=False)
    waiting = asyncio.create_task(_collect(agency, wait=20, who=MERCHANT))
    await asyncio.sleep(0.05)
    sent = await _sent(agency, 1, MERCHANT)

    async with asyncio.timeout(2):
        assert await waiting == [sent]
    assert agency.wire.calls == []


async def test_stopping_lets_everybody_go(agency: Place) -> None:
    waiting = asyncio.create_task(_collect(agency, wait=20))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await agency.stop()
        result = (await asyncio.gather(waiting, return_exceptions=True))[0]

    assert result == [] or isinstance(result, OurFault)
    with pytest.raises(OurFault, match="shutting_down"):
        await agency.node.work(partial(_send, 2, WALLET))
