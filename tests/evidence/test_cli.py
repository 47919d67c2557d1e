"""`surety evidence export` and `surety evidence verify`."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from core.cli.evidence import evidence
from core.evidence.trust import write_trust
from core.sandbox import places
from tests.world.evidence import MERCHANT, ORDER, World, signing_key
from tests.world.node_files import write_network


@pytest.fixture(autouse=True)
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SURETY_SANDBOX", str(tmp_path / "sandbox"))
    return tmp_path / "sandbox"


@pytest.fixture
def network(sandbox: Path) -> Path:
    world = World()
    folder = sandbox / "first"
    write_network(world, folder)
    (folder / "trust.json").write_bytes(write_trust(world.trusted))
    places.remember(folder)
    return folder


def surety(*arguments: str | Path) -> Result:
    return CliRunner().invoke(evidence, [str(one) for one in arguments])


def test_the_newest_network_is_the_default(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "order.json"
    made = surety("export", "--order", ORDER, out)
    assert made.exit_code == 0, made.output
    assert str(out) in made.output
    checked = surety("verify", out)
    assert checked.exit_code == 0, checked.output
    assert f"Order {ORDER}: 25.00 GBP" in checked.output
    assert "  proved     the sale is recorded and guaranteed by the institution\n" in checked.output
    assert "not shown" not in checked.output
    assert network.is_dir()


def test_one_database_and_a_trust_file(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "order.json"
    url = f"sqlite:///{network}/merchant/node.db"
    made = surety("export", "--order", ORDER, "--merchant", MERCHANT, "--database", url, out)
    assert made.exit_code == 0, made.output
    assert "  not shown  the member was shown these terms\n" in made.output
    checked = surety("verify", "--json", "--trust", network / "trust.json", out)
    assert checked.exit_code == 0
    report = json.loads(checked.output)
    assert report["ok"] is True
    assert "recorded" in report["proved"]
    assert "shown" in report["not_shown"]


def test_a_changed_bundle(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "order.json"
    assert surety("export", "--order", ORDER, out).exit_code == 0
    out.write_bytes(out.read_bytes() + b"\n")
    checked = surety("verify", out)
    assert checked.exit_code == 1
    assert checked.output.startswith("NOT PROVED. bundle: not canonical: byte ")
    as_json = surety("verify", "--json", out)
    assert as_json.exit_code == 1
    assert json.loads(as_json.output)["where"] == "bundle"
    assert network.is_dir()


def test_whom_one_does_not_trust(network: Path, tmp_path: Path) -> None:
    out, trust = tmp_path / "order.json", tmp_path / "other.json"
    assert surety("export", "--order", ORDER, out).exit_code == 0
    key = signing_key("another institution").public
    trust.write_text(json.dumps({"approval": "approval-zzzzzzzzzzzzzzzz", "keys": [key.jwk()]}))
    checked = surety("verify", "--trust", trust, out)
    assert checked.exit_code == 1
    assert "but approval-zzzzzzzzzzzzzzzz is trusted" in checked.output
    assert network.is_dir()


def test_what_is_left_out_is_said(sandbox: Path, tmp_path: Path) -> None:
    world = World()
    write_network(world, sandbox / "first", ["agency", "approval"])
    places.remember(sandbox / "first")
    device = world.keys["device"].kid
    engine = sa.create_engine(f"sqlite:///{sandbox}/first/agency/node.db")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM devices"))
    engine.dispose()
    made = surety("export", "--order", ORDER, tmp_path / "order.json")
    assert made.exit_code == 0, made.output
    assert f"left out: message (consent/1): signed with key {device}" in made.output


def test_an_order_that_nobody_has(network: Path, tmp_path: Path) -> None:
    made = surety("export", "--order", "M-0000-0000", tmp_path / "order.json")
    assert made.exit_code == 2
    assert "no order M-0000-0000 in sqlite:///" in made.output
    assert network.is_dir()
    assert not (tmp_path / "order.json").exists()


def test_without_a_network(tmp_path: Path) -> None:
    made = surety("export", "--order", ORDER, tmp_path / "order.json")
    assert made.exit_code == 2
    assert "give --database, or run `surety demo`" in made.output
    (tmp_path / "order.json").write_text("{}")
    checked = surety("verify", tmp_path / "order.json")
    assert checked.exit_code == 2
    assert "name the institution's with --trust" in checked.output


def test_files_that_are_missing(network: Path, tmp_path: Path) -> None:
    missing = surety("verify", tmp_path / "nothing.json")
    assert missing.exit_code == 2
    assert "nothing.json cannot be read" in missing.output
    assert "`surety evidence export`" in missing.output
    (tmp_path / "order.json").write_text("{}")
    untrusted = surety("verify", "--trust", tmp_path / "nothing.json", tmp_path / "order.json")
    assert untrusted.exit_code == 2
    assert "`surety approval trust`" in untrusted.output
    unwritable = surety("export", "--order", ORDER, tmp_path / "no" / "order.json")
    assert unwritable.exit_code == 2
    assert "cannot be written" in unwritable.output
    assert network.is_dir()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "trust file: "),
        ("\xff", "trust file: "),
        ('{"approval":"agency-bbbbbbbbbbbbbbbb","keys":[%s]}', "is not an approval server"),
        ('{"approval":"approval-aaaaaaaaaaaaaaaa","keys":[]}', "trust file: "),
    ],
)
def test_a_trust_file_that_is_none(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "order.json").write_text("{}")
    jwk = json.dumps(signing_key("x").public.jwk())
    (tmp_path / "trust.json").write_text(text % jwk if "%s" in text else text, encoding="latin-1")
    checked = surety("verify", "--trust", tmp_path / "trust.json", tmp_path / "order.json")
    assert checked.exit_code == 2
    assert expected in checked.output


def test_a_trust_file_may_say_more(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "order.json"
    assert surety("export", "--order", ORDER, out).exit_code == 0
    trust = json.loads((network / "trust.json").read_text())
    trust["endpoint"] = "https://approval.example"
    (network / "trust.json").write_text(json.dumps(trust, indent=2))
    assert surety("verify", out).exit_code == 0


def test_places(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.latest() is None
    assert places.network_dir("first") == sandbox / "first"
    places.remember(sandbox / "first")
    assert places.latest() is None
    (sandbox / "first").mkdir()
    assert places.latest() == sandbox / "first"
    assert places.databases(sandbox / "first") == []
    assert sorted(path.name for path in sandbox.iterdir()) == ["first", "latest"]
    monkeypatch.delenv("SURETY_SANDBOX")
    assert places.home().parts[-2:] == ("surety", "sandbox")
