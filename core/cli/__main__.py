"""`surety`: every command, and errors in words."""

from __future__ import annotations

import sys

import click

from core.cli.evidence import evidence
from core.cli.nodes import agency, approval, merchant
from core.cli.sandbox import demo, replay
from core.protocol.faults import SuretyError
from core.vault.port import VaultError


@click.group()
@click.version_option(package_name="surety")
def surety() -> None:
    """Guaranteed purchases by buyers whom the shop does not know."""


for _group in (approval, agency, merchant, evidence, demo, replay):
    surety.add_command(_group)


def main() -> None:
    """Run the command line. Failures are told as what, whose fault, what to do; exit code 1."""
    try:
        surety()
    except SuretyError as error:
        click.echo(
            f"{error.fault.title}: {error.detail or error.fault.code}\n{error.fault.advice}",
            err=True,
        )
        sys.exit(1)
    except VaultError as error:
        click.echo(f"{error.detail}\n{error.advice}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
