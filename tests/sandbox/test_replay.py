"""`surety replay` on a small file; killing every node in the middle changes no figure."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
CUSTOMERS = 24
ROUNDS = 10


def orders(tmp_path: Path) -> Path:
    """240 good orders of 24 customers, and some that must be refused."""
    rows = [HEAD]
    for number in range(CUSTOMERS * ROUNDS):
        customer = 12_000 + number % CUSTOMERS
        rows.append(f"{500_000 + number},LANTERN,A lantern,{1 + number % 7},d,2.55,{customer},UK")
        rows.append(f"{500_000 + number},GIFT,Free of charge,1,d,0,{customer},UK")
    rows += [
        "600000,LANTERN,Nobody's,1,d,2.55,,UK",
        "600001,LOST,Damaged,-5,d,0,,UK",
        "600002,LANTERN,Not a number,x,d,2.55,12000,UK",
        "C600003,LANTERN,Back,-1,d,2.55,12000,UK",
    ]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def expected_minor() -> int:
    return sum((1 + number % 7) * 255 for number in range(CUSTOMERS * ROUNDS))


def check(figures: dict[str, Any]) -> None:
    assert figures["purchase_invoices"] == CUSTOMERS * ROUNDS + 2
    assert figures["cancellation_invoices"] == 1
    assert figures["verified"] == CUSTOMERS * ROUNDS
    assert figures["verified_minor"] == expected_minor()
    assert figures["refused"] == {"no_member": 1, "nonpositive_amount": 1}
    assert figures["unreadable_rows"] == 1
    assert figures["books_agree"] is True
    assert figures["identity_leaks"] == 0


def replay(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "core.cli", "replay", str(orders(tmp_path)), "--json"]
    return subprocess.Popen(
        [*command, "--folder", str(tmp_path / "network"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SURETY_SANDBOX": str(tmp_path / "home")},
    )


@pytest.mark.parametrize("discovery", ["lookup", "push", "pull"])
def test_the_figures_are_the_same_in_each_discovery_mode(tmp_path: Path, discovery: str) -> None:
    running = replay(tmp_path, "--discovery", discovery, "--concurrency", "8")
    out, err = running.communicate(timeout=100)

    assert running.returncode == 0, err
    check(json.loads(out))
    assert "line 484 refused" in err


def test_killing_each_node_in_the_middle_changes_no_figure(tmp_path: Path) -> None:
    running = replay(tmp_path, "--concurrency", "8")
    assert running.stderr is not None
    processes: dict[str, int] = {}
    while len(processes) < 3:
        line = running.stderr.readline()
        assert line, "the replay ended early"
        found = re.search(r"(approval|agency|merchant) runs as process (\d+)", line)
        if found:
            processes[found[1]] = int(found[2])
    log = tmp_path / "network" / "merchant" / "node.db"
    for pid in processes.values():
        _wait_for_growth(log)
        os.kill(pid, signal.SIGKILL)
    out, err = running.communicate(timeout=110)

    assert running.returncode == 0, err
    figures = json.loads(out)
    check(figures)
    assert figures["node_restarts"] == 3


def _wait_for_growth(file: Path) -> None:
    """Until orders are under way: the merchant's write-ahead log has grown."""
    log = file.with_name(file.name + "-wal")
    before = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if log.exists() and log.stat().st_size > before + 200_000:
            return
        time.sleep(0.01)
