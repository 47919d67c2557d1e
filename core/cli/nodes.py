"""`surety approval|agency|merchant …`: run a node, migrate it, and what its operator asks of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Literal, Unpack

import click

from core.cli.asking import Cap, ask, asking
from core.cli.options import (
    PORTS,
    Serving,
    Where,
    database_option,
    operator_option,
    serve_options,
    settings_from,
    vault_of,
    vault_options,
)
from core.protocol.standing import Discovery
from core.storage.engine import open_database
from core.storage.migrate import migrate

_TRUST = click.option(
    "--trust",
    "trust_file",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="File from `surety approval trust`.",
)


def _migrate_command(party: str) -> click.Command:
    @click.command(
        "migrate", help="Bring the database to the newest schema; only while the node is stopped."
    )
    @database_option(party)
    def command(database: str) -> None:
        from importlib import import_module  # noqa: PLC0415

        opened = open_database(database)
        try:
            click.echo(migrate(opened, party, import_module(f"core.{party}.books").METADATA))
        finally:
            opened.close()

    return command


@click.group()
def approval() -> None:
    """The institution's approval server."""


@approval.command("serve")
@serve_options("approval")
def serve_approval(**values: Unpack[Serving]) -> None:
    """Run the approval server."""
    from core.approval.operator_api import approval_api  # noqa: PLC0415
    from core.approval.server import ApprovalServer  # noqa: PLC0415
    from core.cli.running import log_to_stderr, run  # noqa: PLC0415

    log_to_stderr(values["log_level"])
    settings = settings_from("approval", values)
    run(
        settings,
        vault_of(settings),
        ApprovalServer.schema,
        lambda database, clock, caller, vault: ApprovalServer(
            database, clock, caller, vault, proxies=settings.proxies
        ),
        approval_api,
    )


@approval.group("serial")
def serial() -> None:
    """Serial numbers: one registration each, bound to a contract."""


@serial.command("issue")
@click.option("--kind", type=click.Choice(["agency", "merchant"]), required=True)
@click.option("--legal-name", required=True)
@click.option(
    "--cap",
    "caps",
    type=Cap(),
    multiple=True,
    required=True,
    help="Currency and limit of the contract. Repeatable.",
)
@operator_option("approval")
@vault_options
def issue_serial(
    kind: str, legal_name: str, caps: tuple[dict[str, object], ...], **where: Unpack[Where]
) -> None:
    """Issue a serial number; it is shown once and kept as a hash."""
    ask(
        "approval",
        "POST",
        "/serials",
        {"kind": kind, "legal_name": legal_name, "caps": list(caps)},
        **where,
    )


@serial.command("withdraw")
@click.argument("number")
@operator_option("approval")
@vault_options
def withdraw_serial(number: str, **where: Unpack[Where]) -> None:
    """Make an unused serial number unusable."""
    ask("approval", "POST", "/serials/withdraw", {"serial": number}, **where)


def _standing_command(action: str) -> click.Command:
    @click.command(action, help=f"{action.capitalize()} a party; in force with the next commit.")
    @click.argument("party")
    @click.option("--reason", default="")
    @operator_option("approval")
    @vault_options
    def command(party: str, reason: str, **where: Unpack[Where]) -> None:
        ask("approval", "POST", f"/parties/{party}/{action}", {"reason": reason}, **where)

    return command


for _action in ("suspend", "revoke", "reinstate"):
    approval.add_command(_standing_command(_action))
approval.add_command(_migrate_command("approval"))
approval.add_command(
    asking("approval", "parties", "GET", "/parties", "List the registered parties.")
)
approval.add_command(
    asking("approval", "trust", "GET", "/trust", "Print the trust file for the other parties.")
)
approval.add_command(
    asking("approval", "status", "GET", "/status", "Orders by state, and what waits to be sent.")
)


@click.group()
def agency() -> None:
    """A settlement agency's node."""


@agency.command("serve")
@serve_options("agency")
@_TRUST
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=["account"],
    show_default=True,
    help="How members pay. Repeatable.",
)
def serve_agency(methods: tuple[str, ...], trust_file: Path, **values: Unpack[Serving]) -> None:
    """Run an agency's node."""
    from core.agency.operator_api import agency_api  # noqa: PLC0415
    from core.agency.server import AgencyServer  # noqa: PLC0415
    from core.cli.running import log_to_stderr, run  # noqa: PLC0415
    from core.licensee.trust import read_trust  # noqa: PLC0415

    log_to_stderr(values["log_level"])
    settings = settings_from("agency", values)
    trust = read_trust(trust_file)
    run(
        settings,
        vault_of(settings),
        AgencyServer.schema,
        lambda database, clock, caller, vault: AgencyServer(
            database, clock, caller, vault, trust, tuple(methods), proxies=settings.proxies
        ),
        agency_api,
    )


@agency.command("invite")
@click.option(
    "--identity",
    multiple=True,
    required=True,
    help="name=value; what the agency knows the member by. Repeatable.",
)
@click.option("--limit", type=Cap(), required=True, help="Credit limit, like GBP:500.00.")
@operator_option("agency")
@vault_options
def invite(identity: tuple[str, ...], limit: dict[str, object], **where: Unpack[Where]) -> None:
    """Admit a member and print the invitation for his wallet."""
    known = dict(part.split("=", 1) for part in identity if "=" in part)
    ask("agency", "POST", "/invitations", {"identity": known, "limit": limit}, **where)


agency.add_command(_migrate_command("agency"))
agency.add_command(
    asking("agency", "status", "GET", "/status", "Registration, lease, what waits to be sent.")
)
agency.add_command(asking("agency", "figures", "GET", "/figures", "Members, and orders by state."))


@click.group()
def merchant() -> None:
    """A merchant's node."""


@merchant.command("serve")
@serve_options("merchant")
@_TRUST
@click.option(
    "--discovery",
    type=click.Choice(["lookup", "push", "pull"]),
    default="lookup",
    show_default=True,
)
@click.option(
    "--order-numbers",
    type=click.Choice(["merchant", "agency"]),
    default="merchant",
    show_default=True,
)
@click.option(
    "--fresh-seconds",
    type=click.IntRange(min=1),
    default=86_400,
    show_default=True,
    help="How old a guarantee's confirmation may be (push, pull).",
)
def serve_merchant(
    discovery: Discovery,
    order_numbers: Literal["merchant", "agency"],
    fresh_seconds: int,
    trust_file: Path,
    **values: Unpack[Serving],
) -> None:
    """Run a merchant's node."""
    from core.cli.running import log_to_stderr, run  # noqa: PLC0415
    from core.licensee.trust import read_trust  # noqa: PLC0415
    from core.merchant.operator_api import merchant_api  # noqa: PLC0415
    from core.merchant.orders import Wishes  # noqa: PLC0415
    from core.merchant.server import MerchantServer  # noqa: PLC0415

    log_to_stderr(values["log_level"])
    settings = settings_from("merchant", values)
    trust = read_trust(trust_file)
    wishes = Wishes(discovery=discovery, order_numbers=order_numbers, fresh_seconds=fresh_seconds)
    run(
        settings,
        vault_of(settings),
        MerchantServer.schema,
        lambda database, clock, caller, vault: MerchantServer(
            database, clock, caller, vault, trust, wishes, proxies=settings.proxies
        ),
        merchant_api,
    )


@merchant.command("offer")
@click.argument("file", type=click.File("r"))
@operator_option("merchant")
@vault_options
def offer(file: IO[str], **where: Unpack[Where]) -> None:
    """Make an offer from a JSON file (currency, lines, reference) and print its link."""
    ask("merchant", "POST", "/offers", json.load(file), **where)


merchant.add_command(_migrate_command("merchant"))
merchant.add_command(
    asking("merchant", "status", "GET", "/status", "Registration, lease, what waits to be sent.")
)
merchant.add_command(asking("merchant", "orders", "GET", "/orders", "The first page of orders."))
merchant.add_command(
    asking(
        "merchant", "refresh", "POST", "/directory/refresh", "Pull the directory of agencies now."
    )
)


def _register_command(party: str) -> click.Command:
    @click.command("register", help="Exchange a serial number for a license.")
    @click.option("--serial", required=True)
    @click.option("--legal-name", required=True)
    @click.option("--currency", "currencies", multiple=True, required=True)
    @click.option(
        "--endpoint", default=None, help="How others reach this node; empty: it collects."
    )
    @click.option("--method", "methods", multiple=True, default=["account"], show_default=True)
    @click.option("--payout-account", default="")
    @click.option(
        "--network",
        "networks",
        multiple=True,
        required=True,
        help="Network that this node calls from (CIDR).",
    )
    @operator_option(party)
    @vault_options
    def command(  # noqa: PLR0913 - one a click option
        *,
        serial: str,
        legal_name: str,
        currencies: tuple[str, ...],
        endpoint: str | None,
        methods: tuple[str, ...],
        payout_account: str,
        networks: tuple[str, ...],
        **where: Unpack[Where],
    ) -> None:
        content = {
            "serial": serial,
            "legal_name": legal_name,
            "currencies": list(currencies),
            "endpoint": f"http://127.0.0.1:{PORTS[party][0]}" if endpoint is None else endpoint,
            "payment_methods": list(methods),
            "payout_account": payout_account,
            "source_networks": list(networks),
        }
        ask(party, "POST", "/registration", content, **where)

    return command


def _change_command(party: str) -> click.Command:
    @click.command("change", help="Report changed information to the institution.")
    @click.option("--endpoint", default=None)
    @click.option("--method", "methods", multiple=True)
    @click.option("--payout-account", default=None)
    @click.option("--network", "networks", multiple=True)
    @operator_option(party)
    @vault_options
    def command(
        endpoint: str | None,
        methods: tuple[str, ...],
        payout_account: str | None,
        networks: tuple[str, ...],
        **where: Unpack[Where],
    ) -> None:
        content = {
            "endpoint": endpoint,
            "payment_methods": list(methods) or None,
            "payout_account": payout_account,
            "source_networks": list(networks) or None,
        }
        ask(
            party,
            "POST",
            "/information",
            {name: value for name, value in content.items() if value is not None},
            **where,
        )

    return command


for _group, _party in ((agency, "agency"), (merchant, "merchant")):
    _group.add_command(_register_command(_party))
    _group.add_command(_change_command(_party))
