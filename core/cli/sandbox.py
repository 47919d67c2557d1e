"""`surety demo` and `surety replay`: a whole network on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.protocol.catalogue import BY_NAME
from core.protocol.money import Money, in_words
from core.sandbox import places
from core.sandbox.members import new_folder
from core.storage.evidence_export import export

if TYPE_CHECKING:
    # Loaded when they are needed: most commands run no network.
    from core.sandbox.network import Discovery, Maker, Network
    from core.sandbox.replay.run import Outcome
    from core.sandbox.tail import Passed

T = TypeVar("T")

_DISCOVERY = click.option(
    "--discovery",
    type=click.Choice(["lookup", "push", "pull"]),
    default="lookup",
    show_default=True,
)
_NUMBERS = click.option(
    "--order-numbers",
    type=click.Choice(["merchant", "agency"]),
    default="merchant",
    show_default=True,
)
_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Where the network's files go; emptied first.",
)


def _folder(given: Path | None, name: str) -> Path:
    folder = new_folder(given or places.network_dir(name))
    places.remember(folder)
    return folder


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as JSON, and nothing else."
)
@_DISCOVERY
@_NUMBERS
@_FOLDER
def demo(*, as_json: bool, discovery: Discovery, order_numbers: Maker, folder: Path | None) -> None:
    """Run a purchase in a whole network on this machine; show its messages and the three books."""
    from core.sandbox.demo import Demo  # noqa: PLC0415
    from core.sandbox.network import Plan  # noqa: PLC0415

    plan = Plan(folder=_folder(folder, "demo"), discovery=discovery, order_numbers=order_numbers)

    def say(text: str) -> None:
        if not as_json:
            click.echo(text)

    running = Demo(plan, say, lambda passed: say(_shown(passed)))
    story = _run(running.run())
    story.evidence = str(_export(plan.folder, story.order_number))
    if as_json:
        click.echo(json.dumps(story.as_json(), indent=2))
        return
    click.echo("\nThe three books:")
    for party, row in story.books.items():
        amount = in_words(Money(currency=row["currency"], minor=row["minor"]))
        click.echo(
            f"  {party:>8}  {row['order_number']}  {row['state']:<14} {amount:>12}"
            f"  terms {row['terms_hash']}"
        )
    click.echo(
        f"\nEvidence: {story.evidence}\nCheck it with: surety evidence verify {story.evidence}"
    )


def _shown(passed: Passed) -> str:
    proves = BY_NAME[passed.name].proves if passed.name in BY_NAME else ""
    return f"  {passed.sender:>8} → {passed.receiver:<11} {passed.name:<28} {proves}"


def _export(folder: Path, order_number: str) -> Path:
    out = folder / f"{order_number}.evidence.json"
    out.write_bytes(export(places.databases(folder), order_number, None, time.sleep).data)
    return out


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--concurrency",
    type=click.IntRange(1, 512),
    default=1,
    show_default=True,
    help="Customers side by side.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@_DISCOVERY
@_NUMBERS
@_FOLDER
def replay(  # noqa: PLR0913 - one a click option
    *,
    file: Path,
    concurrency: int,
    as_json: bool,
    discovery: Discovery,
    order_numbers: Maker,
    folder: Path | None,
) -> None:
    """Run a shop's real orders (UCI "Online Retail" columns) as guaranteed purchases."""
    from core.sandbox.replay.invoices import read  # noqa: PLC0415
    from core.sandbox.replay.run import Replay, plan_for  # noqa: PLC0415

    logging.getLogger("core.exchange").setLevel(logging.ERROR)
    reading = read(file)
    for number, why in reading.refused:
        click.echo(f"line {number} refused: {why}", err=True)
    network_folder = _folder(folder, "replay")
    terminal = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=terminal,
    )
    customers = len(
        {each.customer for each in reading.invoices if each.customer and not each.cancels}
    )
    purchases = sum(not each.cancels for each in reading.invoices)
    with bar if terminal.is_terminal else nullcontext():
        tasks = {
            "enrolled": bar.add_task("members join", total=customers),
            "ordered": bar.add_task("purchases", total=purchases),
        }
        running = Replay(
            plan_for(network_folder, discovery, order_numbers),
            reading,
            concurrency,
            lambda what: bar.advance(tasks[what]),
        )
        outcome = _run(running.run(_say_where))
    _report(outcome, as_json=as_json)
    if outcome.leaks or outcome.failed or not outcome.comparison.agree:
        sys.exit(1)


def _report(outcome: Outcome, *, as_json: bool) -> None:
    figures = outcome.as_json()
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            click.echo(f"{name:>24}  {value}")
    for difference in outcome.comparison.differences[:20]:
        click.echo(f"books differ: {difference}", err=True)
    for leak in outcome.leaks[:20]:
        click.echo(f"identity leaked: {leak}", err=True)
    for failure in outcome.failed[:20]:
        click.echo(f"failed: {failure}", err=True)


def _say_where(network: Network) -> None:
    for name, node in network.nodes.items():
        click.echo(f"{name:>9} runs as process {node.pid} at {node.public}", err=True)
    click.echo(f"    files in {network.plan.folder}", err=True)


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
