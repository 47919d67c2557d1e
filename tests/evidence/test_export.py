"""From nodes' databases to a bundle that proves itself."""

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from core.evidence import form
from core.evidence.bundle import verify
from core.evidence.chain import Direction
from core.evidence.unproved import Unproved
from core.exchange import tables
from core.protocol.control import Refusal
from core.protocol.faults import OurFault
from core.protocol.message import Message
from core.protocol.money import Money
from core.protocol.purchase import Consent, StateQuery
from core.protocol.standing import ANYONE
from core.protocol.terms import reference
from core.storage.evidence_export import CannotExport, Export, export
from core.storage.journal import entries
from tests.world.evidence import (
    APPROVAL,
    MERCHANT,
    ORDER,
    STRANGER,
    World,
    a_merchant_guarantee,
    signing_key,
)
from tests.world.node_files import ORDERS, sign_again, url_of, write_network, write_node


def never(_seconds: float) -> None:
    raise AssertionError("nothing to wait for")


def exported(urls: list[str], merchant: str | None = None) -> Export:
    return export(urls, ORDER, merchant, never)


def run(url: str, *statements: sa.Executable) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)
    engine.dispose()


def test_three_databases_prove_the_whole_sale(tmp_path: Path) -> None:
    world = World()
    made = exported(write_network(world, tmp_path))
    assert made.trusted.principal == APPROVAL
    assert made.trusted.kids == world.trusted.kids
    assert made.left_out == ()
    report = verify(made.data, world.trusted)
    assert report.not_shown == ()
    assert form.read(made.data).messages == world.bundle().messages


@pytest.mark.parametrize("node", ["agency", "approval", "merchant"])
def test_one_database_proves_the_sale(tmp_path: Path, node: str) -> None:
    world = World()
    made = exported([write_node(world, tmp_path, node)])
    assert verify(made.data, world.trusted).proves("recorded")
    assert {found.node for found in form.read(made.data).chains} == {world.nodes[node].principal}


def test_the_order_of_the_databases_changes_nothing(tmp_path: Path) -> None:
    urls = write_network(World(), tmp_path)
    assert exported(urls).data == exported(urls[::-1]).data


def test_a_database_that_was_named_twice(tmp_path: Path) -> None:
    world = World()
    urls = write_network(world, tmp_path)
    assert exported([*urls, urls[0]]).data == exported(urls).data


def test_bytes_that_are_no_message(tmp_path: Path) -> None:
    world = World()
    url = write_node(world, tmp_path, "merchant")
    raw = world.raw["offer"]
    run(url, sa.update(entries).values(raw=b"garbage").where(entries.c.raw == raw))
    made = exported([url])
    assert len(made.left_out) == 1
    assert made.left_out[0].startswith("message: The message is not in the form")
    assert verify(made.data, world.trusted).proves("recorded")


def test_only_what_is_about_this_order(tmp_path: Path) -> None:
    world = World()
    ref = reference(world.terms)
    wrong = msgspec.structs.replace(ref, order_number="M-9999-9999")
    consent = Consent(decision="decline", notice_digest="A" * 43, order=wrong)
    world.say("other order", consent, "device", "agency")
    world.say("query", StateQuery(offer_hash=ref.offer_hash), "merchant", "agency")
    world.say("stranger", a_merchant_guarantee(signing_key("x"), STRANGER), "approval", ANYONE)
    refusal = Refusal(code="expired", detail="", subject=ref.offer_hash)
    world.say("refusal", refusal, "agency", "device", answers="other order")
    world.sign()
    made = exported(write_network(world, tmp_path))
    kept = {message.encode() for message in form.read(made.data).messages}
    left = {name for name, raw in world.raw.items() if raw not in kept}
    assert left == {"other order", "query", "stranger", "refusal"}
    assert len(made.left_out) == 2
    assert "consent/1" in made.left_out[0]
    assert made.left_out[1].endswith("rests on a message that is left out")
    assert verify(made.data, world.trusted).not_shown == ()


def test_approvals_word_decides_which_terms_are_the_orders(tmp_path: Path) -> None:
    terms = msgspec.structs.replace(World().terms, amount=Money(currency="GBP", minor=1))

    def change(name: str, message: Message) -> Message:
        return msgspec.structs.replace(message, terms=terms) if name == "completion" else message

    world = World(change=change)
    made = exported(write_network(world, tmp_path))
    assert len(made.left_out) == 1
    assert made.left_out[0].endswith("terms is not that of this order: amount")
    report = verify(made.data, world.trusted)
    assert report.proves("recorded")
    assert not report.proves("confirmed")


def test_a_message_of_an_unknown_key_is_left_out(tmp_path: Path) -> None:
    world = World()
    url = write_node(world, tmp_path, "agency")
    run(url, sa.text("DELETE FROM devices"))
    made = exported([url])
    assert any("which is not in the bundle" in trouble for trouble in made.left_out)
    assert not verify(made.data, world.trusted).proves("consented")


def test_a_node_that_refused_a_message_does_not_show_it(tmp_path: Path) -> None:
    world = World()
    url = write_node(world, tmp_path, "merchant")
    refused = sa.update(entries).values(direction=Direction.REFUSED.value)
    run(url, refused.where(entries.c.raw == world.raw["introduction"]))
    # The chain was edited: what is left does not lead to what the node signed.
    with pytest.raises(Unproved, match="do not lead to the checkpoint"):
        verify(exported([url]).data, world.trusted)


def test_an_edited_message_is_not_exported(tmp_path: Path) -> None:
    world = World()
    url = write_node(world, tmp_path, "merchant")
    raw = world.raw["verification"]
    run(url, sa.update(entries).values(raw=raw[:-4] + b"AAAA").where(entries.c.raw == raw))
    made = exported([url])
    assert len(made.left_out) == 1
    assert not verify(made.data, world.trusted).proves("recorded")


def test_waits_for_the_next_checkpoint(tmp_path: Path) -> None:
    world = World()
    world.say("query", StateQuery(offer_hash=world.terms.offer_hash), "merchant", "agency")
    world.say("again", world.offer, "merchant", ANYONE)
    urls = write_network(world, tmp_path)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            sign_again(world, tmp_path, "merchant")

    made = export(urls, ORDER, None, pause)
    assert len(waited) == 3
    assert verify(made.data, world.trusted).not_shown == ()


def test_says_when_no_checkpoint_comes(tmp_path: Path) -> None:
    world = World()
    world.say("again", world.offer, "merchant", ANYONE)
    urls = write_network(world, tmp_path)
    waited: list[float] = []
    with pytest.raises(CannotExport, match="not under a signed checkpoint yet") as caught:
        export(urls, ORDER, None, waited.append)
    assert "merchant/node.db" in str(caught.value)
    assert sum(waited) == 3.0


def test_a_node_that_never_signed(tmp_path: Path) -> None:
    world = World()
    world.nodes["merchant"].signed.clear()
    with pytest.raises(CannotExport, match="not under a signed checkpoint yet"):
        export([write_node(world, tmp_path, "merchant")], ORDER, None, lambda _seconds: None)


def test_an_order_that_nobody_has(tmp_path: Path) -> None:
    urls = write_network(World(), tmp_path)
    with pytest.raises(CannotExport, match="no order M-0000-0000 in sqlite:///"):
        export(urls, "M-0000-0000", None, never)
    with pytest.raises(CannotExport, match=f"no order {ORDER} at {STRANGER} in"):
        exported(urls, STRANGER)


def test_several_merchants_with_one_number(tmp_path: Path) -> None:
    world = World()
    urls = write_network(world, tmp_path)
    row = {"order_number": ORDER, "merchant": STRANGER, "offer_hash": "B" * 43}
    run(urls[0], ORDERS.insert().values(row))
    with pytest.raises(CannotExport, match=f"--merchant \\({MERCHANT}, {STRANGER}\\)"):
        exported(urls)
    assert verify(exported(urls, MERCHANT).data, world.trusted).terms == world.terms
    with pytest.raises(Unproved, match=f"no message here states the terms of {ORDER}"):
        exported(urls, STRANGER)


def test_one_number_for_two_orders(tmp_path: Path) -> None:
    urls = write_network(World(), tmp_path)
    row = {"order_number": ORDER, "merchant": MERCHANT, "offer_hash": "B" * 43}
    run(urls[0], ORDERS.insert().values(row))
    with pytest.raises(CannotExport, match="export from one at a time"):
        exported(urls)


def test_databases_of_different_networks(tmp_path: Path) -> None:
    urls = write_network(World(), tmp_path)
    settings = tables.settings
    run(
        urls[0],
        sa.update(settings)
        .values(value="approval-zzzzzzzzzzzzzzzz")
        .where(settings.c.name == "approval"),
    )
    with pytest.raises(CannotExport, match="different networks"):
        exported(urls)


def test_a_node_that_trusts_nobody_yet(tmp_path: Path) -> None:
    url = write_node(World(), tmp_path, "merchant")
    run(url, sa.delete(tables.settings))
    with pytest.raises(CannotExport, match="knows no approval server yet"):
        exported([url])


def test_databases_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CannotExport, match=r"there is no database at .*nowhere\.db"):
        exported([f"sqlite:///{tmp_path}/nowhere.db"])
    with pytest.raises(CannotExport, match="not a database URL"):
        exported([str(tmp_path)])
    with pytest.raises(OurFault, match="storage_unavailable"):
        exported(["mysql://localhost/x"])
    (tmp_path / "text.db").write_text("nothing like a database, but long enough to be one" * 9)
    with pytest.raises(CannotExport, match="cannot be read"):
        exported([f"sqlite:///{tmp_path}/text.db"])
    (tmp_path / "empty.db").touch()
    with pytest.raises(CannotExport, match="no table named evidence"):
        exported([f"sqlite:///{tmp_path}/empty.db"])


def test_a_database_that_lacks_a_column(tmp_path: Path) -> None:
    url = write_node(World(), tmp_path, "merchant")
    run(url, sa.text("ALTER TABLE orders RENAME COLUMN offer_hash TO hash"))
    with pytest.raises(CannotExport, match="cannot be read: OperationalError"):
        exported([url])


def test_nothing_is_written(tmp_path: Path) -> None:
    world = World()
    urls = write_network(world, tmp_path)
    before = {node: (tmp_path / node / "node.db").read_bytes() for node in world.nodes}
    exported(urls)
    assert before == {node: (tmp_path / node / "node.db").read_bytes() for node in world.nodes}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["node.db"] * 3


def test_beside_a_writer(tmp_path: Path) -> None:
    world = World()
    url = write_node(world, tmp_path, "merchant")
    assert url == url_of(tmp_path, "merchant")
    run(url, sa.text("PRAGMA journal_mode=WAL"))
    engine = sa.create_engine(url)
    with engine.connect() as writer:
        writer.execute(sa.text("BEGIN IMMEDIATE"))
        assert verify(exported([url]).data, world.trusted).proves("recorded")
    engine.dispose()


def test_a_node_without_orders_still_shows_its_messages(tmp_path: Path) -> None:
    world = World()
    urls = write_network(world, tmp_path)
    run(urls[0], sa.text("DROP TABLE orders"))
    assert verify(exported(urls).data, world.trusted).not_shown == ()
