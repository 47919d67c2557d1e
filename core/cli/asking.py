"""What an operator asks of a running node, through its operator API."""

from __future__ import annotations

import json
from typing import Unpack

import click

from core.cli.options import Where, operator_option, vault_named, vault_options
from core.exchange.operator_client import OperatorClient, bearer
from core.protocol.money import exponent


# Generic since click 8.4 only: an older one could not be subscripted.
class Cap(click.ParamType):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]
    """`GBP:1000000.00`."""

    name = "CUR:amount"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, object]:
        """To money on the wire, in minor units."""
        currency, _, amount = str(value).partition(":")
        whole, _, part = amount.partition(".")
        places = exponent(currency)
        if not (whole + part).isdigit() or len(part) > places:
            self.fail(f"{value!r} is not like GBP:1000000.00", param, ctx)
        return {"currency": currency, "minor": int(whole + part.ljust(places, "0"))}


def _client(
    party: str, operator: tuple[str, int], vault: str, profile: str | None
) -> OperatorClient:
    return OperatorClient(
        f"http://{operator[0]}:{operator[1]}", bearer(vault_named(vault, profile or party))
    )


def ask(party: str, method: str, path: str, content: object = None, **where: Unpack[Where]) -> None:
    """Print a node's answer as JSON.

    Raises `PeerFault` with its refusal, `OurFault("peer_unreachable")`.
    """
    client = _client(party, where["operator"], where["vault"], where["profile"])
    try:
        click.echo(json.dumps(client.call(method, path, content), indent=2))
    finally:
        client.close()


def asking(party: str, name: str, method: str, path: str, help_: str) -> click.Command:
    """A command that asks one thing and takes no arguments of its own."""

    @click.command(name, help=help_)
    @operator_option(party)
    @vault_options
    def command(**where: Unpack[Where]) -> None:
        ask(party, method, path, **where)

    return command
