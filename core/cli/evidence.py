"""`surety evidence`: export an order's evidence from nodes' databases, check it anywhere."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from core.evidence.bundle import Report, verify
from core.evidence.trust import Trusted, read_trust
from core.evidence.unproved import Unproved
from core.protocol.faults import SuretyError
from core.protocol.money import in_words
from core.sandbox import places
from core.storage.evidence_export import CannotExport, export


class CannotBegin(click.ClickException):
    """Something is missing that the user has to give: exit code 2."""

    exit_code = 2


@click.group()
def evidence() -> None:
    """Export what proves an order, and check it with the institution's public key alone."""


@evidence.command("export")
@click.option("--order", "order_number", required=True, help="The order's number.")
@click.option(
    "--database",
    "urls",
    multiple=True,
    help="A node's database URL; may be given again. Default: the newest sandbox network's.",
)
@click.option("--merchant", help="Which merchant's order, where several have one of this number.")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def export_command(
    order_number: str, urls: tuple[str, ...], merchant: str | None, out: Path
) -> None:
    """Write the evidence of one order to OUT, and say what it proves."""
    try:
        made = export(urls or _sandbox_databases(), order_number, merchant, time.sleep)
    except (CannotExport, Unproved, SuretyError) as error:
        raise CannotBegin(str(error)) from error
    try:
        out.write_bytes(made.data)
    except OSError as error:
        raise CannotBegin(f"{out} cannot be written: {error.strerror}") from error
    for trouble in made.left_out:
        click.echo(f"left out: {trouble}", err=True)
    click.echo(f"{out}: {len(made.data)} bytes")
    _show(_checked(made.data, made.trusted))


@evidence.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(path_type=Path),
    help="The institution's trust file. Default: that of the newest sandbox network.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_command(file: Path, trust_file: Path | None, *, as_json: bool) -> None:
    """Check the bundle in FILE: say what it proves, or name the first thing wrong (exit 1)."""
    data = _read(file, "Make one with `surety evidence export`.")
    report = _checked(data, _trust(trust_file), as_json=as_json)
    if as_json:
        click.echo(json.dumps({"ok": True, **report.plain()}, indent=2))
    else:
        _show(report)


def _checked(data: bytes, trusted: Trusted, *, as_json: bool = False) -> Report:
    try:
        return verify(data, trusted)
    except Unproved as error:
        if as_json:
            click.echo(
                json.dumps({"ok": False, "where": error.where, "what": error.what}, indent=2)
            )
        else:
            click.echo(f"NOT PROVED. {error}", err=True)
        raise SystemExit(1) from error


def _sandbox_databases() -> list[str]:
    network = places.latest()
    found = places.databases(network) if network else []
    if not found:
        raise CannotBegin(
            "no database was named and there is no sandbox network: give --database, "
            "or run `surety demo`"
        )
    return found


def _trust(given: Path | None) -> Trusted:
    network = places.latest()
    path = given or (places.trust_file(network) if network else None)
    if path is None:
        raise CannotBegin(
            "no trust file: name the institution's with --trust, or run `surety demo` for one"
        )
    data = _read(path, "Get it from the institution (`surety approval trust`).")
    try:
        return read_trust(data)
    except Unproved as error:
        raise CannotBegin(f"{path}: {error}") from error


def _read(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotBegin(f"{path} cannot be read: {error.strerror}. {advice}") from error


def _show(report: Report) -> None:
    terms = report.terms
    click.echo(f"Order {terms.order_number}: {in_words(terms.amount)}")
    click.echo(f"  sold by    {terms.merchant}")
    click.echo(f"  billed by  {terms.agency}")
    for sentence in report.proved:
        click.echo(f"  proved     {sentence}")
    for sentence in report.not_shown:
        click.echo(f"  not shown  {sentence}")
    for found in report.checkpoints:
        head = found.message.head
        click.echo(f"  chain      {found.issuer} {head.chain}, signed at position {head.position}")
