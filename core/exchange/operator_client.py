"""The operator's side of a node's operator API, for the command line and the consoles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from core.exchange.operator import TOKEN
from core.protocol.canonical import b64url
from core.protocol.faults import OurFault, PeerFault, fault

if TYPE_CHECKING:
    from core.vault.port import Vault


def bearer(vault: Vault) -> dict[str, str]:
    """The authorization header for the node whose vault this is.

    Raises `OurFault` where it has no token yet.
    """
    token = vault.get(TOKEN)
    if token is None:
        raise OurFault(
            fault("token_invalid"), "the vault holds no operator token; start the node once"
        )
    return {"Authorization": f"Bearer {b64url(token)}"}


class OperatorClient:
    """Calls one node's operator API. `url`: `http://127.0.0.1:port`."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)

    def call(self, method: str, path: str, content: Any = None) -> Any:  # noqa: ANN401 - JSON
        """The decoded answer.

        Raises `PeerFault` with the node's fault, `OurFault("peer_unreachable")`.
        """
        try:
            answer = self._http.request(method, path, json=content)
        except httpx.HTTPError as error:
            where = f"the node at {self._http.base_url} does not answer; is it running?"
            raise OurFault(fault("peer_unreachable"), where) from error
        if answer.is_success:
            return answer.json()
        try:
            problem = answer.json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            code, detail = "internal", f"status {answer.status_code}"
        raise PeerFault(fault(code), detail)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
