"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict, TypeVar, cast

import click
from platformdirs import user_data_path

from core.exchange.serving import Settings
from core.vault.choose import open_vault
from core.vault.port import Vault

F = TypeVar("F", bound=Callable[..., Any])
PORTS: Final = {"approval": (7700, 7710), "agency": (7701, 7711), "merchant": (7702, 7712)}


# Generic since click 8.4 only: an older one could not be subscripted.
class Address(click.ParamType):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]
    """`host:port`."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Split, or say what is wrong."""
        if isinstance(value, tuple):
            return cast("tuple[str, int]", value)
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdigit():
            self.fail(f"{value!r} is not host:port", param, ctx)
        return host.strip("[]"), int(port)


class _Option(Protocol):
    def __call__(self, function: F, /) -> F: ...


class Where(TypedDict):
    """What `operator_option` and `vault_options` give: where a node's operator finds it."""

    operator: tuple[str, int]
    vault: str
    profile: str | None


class Serving(Where):
    """What `serve_options` gives."""

    database: str
    listen: tuple[str, int]
    endpoint: str
    source: str | None
    proxies: tuple[str, ...]
    allowed: tuple[str, ...]
    certificate: Path | None
    private_key: Path | None
    ca_file: Path | None
    log_level: str
    follow_stdin: bool


def default_database(party: str) -> str:
    """`sqlite:///…` in the user's data folder."""
    return f"sqlite:///{user_data_path('surety') / party / 'node.db'}"


def vault_options(function: F) -> F:
    """Where the node's secrets are."""
    for option in (
        click.option(
            "--vault",
            default="keyring",
            show_default=True,
            help="'keyring', or 'file:/path' for a key file (0600).",
        ),
        click.option(
            "--profile",
            default=None,
            help="Name of the set of secrets; the party's name by default.",
        ),
    ):
        function = option(function)
    return function


def operator_option(party: str) -> Callable[[F], F]:
    """Where the node's operator API is."""
    default = f"127.0.0.1:{PORTS[party][1]}"
    return click.option(
        "--operator",
        type=Address(),
        default=default,
        show_default=True,
        help="The operator's door.",
    )


def database_option(party: str) -> Callable[[F], F]:
    """Which database."""
    return click.option(
        "--database",
        default=default_database(party),
        help="SQLAlchemy URL; SQLite in the user's data folder by default.",
    )


def serve_options(party: str) -> Callable[[F], F]:
    """Everything that a node is started with."""
    options = _serving(party)

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _serving(party: str) -> tuple[_Option, ...]:
    listen = f"127.0.0.1:{PORTS[party][0]}"
    return (
        database_option(party),
        click.option(
            "--listen",
            type=Address(),
            default=listen,
            show_default=True,
            help="The public door.",
        ),
        operator_option(party),
        click.option(
            "--endpoint",
            default="",
            help="How others reach the public door, if not by --listen.",
        ),
        click.option("--source", default=None, help="Local address to call others from."),
        click.option(
            "--proxy",
            "proxies",
            multiple=True,
            help="Network whose X-Forwarded-For counts. Repeatable.",
        ),
        click.option(
            "--allow",
            "allowed",
            multiple=True,
            help="Private network that may be called. Repeatable.",
        ),
        click.option(
            "--certificate",
            type=click.Path(path_type=Path, exists=True),
            help="TLS certificate chain (PEM).",
        ),
        click.option(
            "--private-key",
            type=click.Path(path_type=Path, exists=True),
            help="TLS private key (PEM).",
        ),
        click.option(
            "--ca-file",
            type=click.Path(path_type=Path, exists=True),
            help="CAs to trust when calling others.",
        ),
        click.option("--log-level", default="INFO", show_default=True),
        click.option("--follow-stdin", is_flag=True, hidden=True),
        vault_options,
    )


def settings_from(party: str, values: Serving) -> Settings:
    """The settings that the options stand for."""
    host, port = values["listen"]
    scheme = "https" if values["certificate"] else "http"
    shown = f"[{host}]" if ":" in host else host
    return Settings(
        party=party,
        database=values["database"],
        listen=values["listen"],
        operator=values["operator"],
        vault=values["vault"],
        profile=values["profile"] or party,
        endpoint=values["endpoint"] or f"{scheme}://{shown}:{port}",
        source=values["source"],
        proxies=values["proxies"],
        allowed=values["allowed"],
        certificate=values["certificate"],
        private_key=values["private_key"],
        ca_file=values["ca_file"],
        follow_stdin=values["follow_stdin"],
    )


def vault_of(settings: Settings) -> Vault:
    """The vault that the settings name, and never another one."""
    return vault_named(settings.vault, settings.profile)


def vault_named(spec: str, profile: str) -> Vault:
    """The vault of this name. A name that is none is the user's mistake, told as such."""
    try:
        return open_vault(spec, profile)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
