"""The operator's door: a loopback HTTP API behind a token, the same frame for every party."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig

from core.exchange.tables import SETTINGS
from core.protocol.canonical import b64url
from core.protocol.faults import OurFault, PeerFault, SuretyError, fault
from core.vault.port import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.storage.unit import Unit

log = logging.getLogger(__name__)
TOKEN: Final = "operator-token"  # noqa: S105 - the name of a secret, not the secret
SEED: Final = "signing-seed"
SEALING: Final = "sealing-seed"
LICENSE: Final = "license-key"
MAX_BODY: Final = 2_000_000


def kept(vault: Vault, name: str, fresh: bytes) -> bytes:
    """The secret of this name; made from `fresh` and kept where there is none yet."""
    found = vault.get(name)
    if found is None:
        vault.put(name, fresh)
        return fresh
    return found


def check_same_key(unit: Unit, setting: str, x: str) -> None:
    """Raise `OurFault("wrong_vault")` where this database belongs to another key."""
    row = unit.get(SETTINGS, setting)
    if row is not None and row.value != x:
        raise OurFault(fault("wrong_vault"))


def operator_app(title: str, handlers: Sequence[Any], token: bytes) -> Litestar:
    """The operator API: every request carries `Authorization: Bearer <token>`.

    Failures are RFC 9457 problems.
    """
    expected = f"Bearer {b64url(token)}".encode()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        shown = connection.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(shown, expected):
            raise PeerFault(fault("token_invalid"))

    return Litestar(
        route_handlers=list(handlers),
        guards=[guard],
        exception_handlers={
            SuretyError: _surety,
            ValidationException: _invalid,
            HTTPException: _http,
            Exception: _ours,
        },
        openapi_config=OpenAPIConfig(
            title=f"Surety {title} operator API", version="1", path="/openapi"
        ),
        request_max_body_size=MAX_BODY,
        logging_config=None,
        debug=False,
    )


def _respond(error: SuretyError, status: int | None = None) -> Response[dict[str, Any]]:
    return Response(
        error.problem(),
        status_code=status or error.fault.status,
        media_type="application/problem+json",
    )


def _surety(_request: Request[Any, Any, Any], error: SuretyError) -> Response[dict[str, Any]]:
    return _respond(error)


def _invalid(
    _request: Request[Any, Any, Any], error: ValidationException
) -> Response[dict[str, Any]]:
    return _respond(PeerFault(fault("malformed"), f"{error.detail} {error.extra or ''}"[:500]))


def _http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    code = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
    return _respond(
        PeerFault(fault(code.get(error.status_code, "malformed")), error.detail[:200]),
        error.status_code,
    )


def _ours(_request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    log.error("an operator's request failed", exc_info=error)
    return _respond(OurFault(fault("internal")))
