"""A whole purchase with PostgreSQL under the three nodes, where a server can be started here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from core.sandbox.demo import Demo
from core.sandbox.network import Plan, free_port

PARTIES = ("approval", "agency", "merchant")


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_owner(*command: str) -> list[str]:
    # PostgreSQL refuses to run as root.
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


@pytest.fixture
def server() -> Generator[str]:
    programs = _programs()
    if programs is None or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("no PostgreSQL server is installed")
    port = free_port("127.0.0.1")
    # A folder of its own: the server's owner cannot enter pytest's.
    made = subprocess.run(
        _as_owner("mktemp", "-d"), check=True, capture_output=True, text=True, cwd="/"
    )
    folder = made.stdout.strip()
    control = [str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=on"
    _run(str(programs / "initdb"), "-D", f"{folder}/data", "-U", "surety", "-A", "trust")
    _run(*control, "-l", f"{folder}/log", "-o", options, "start")
    try:
        for party in PARTIES:
            _run(
                *(str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port)),
                *("-U", "surety", party),
            )
        yield f"postgresql+psycopg://surety@127.0.0.1:{port}"
    finally:
        _run(*control, "-m", "fast", "stop")
        _run("rm", "-rf", folder)


def _run(*command: str) -> None:
    subprocess.run(_as_owner(*command), check=True, capture_output=True, cwd="/", timeout=60)


@pytest.mark.anyio
async def test_a_purchase_is_recorded_on_postgresql(tmp_path: Path, server: str) -> None:
    databases = {party: f"{server}/{party}" for party in PARTIES}
    plan = Plan(folder=tmp_path, discovery="pull", databases=databases)
    story = await Demo(plan, lambda _text: None, lambda _passed: None).run()

    assert story.states == {
        "merchant": "VERIFIED",
        "agency": "RECORDED_SEEN",
        "approval": "RECORDED",
    }
    assert len(set(story.terms_hash.values())) == 1
    assert not any((tmp_path / party / "node.db").exists() for party in PARTIES)
