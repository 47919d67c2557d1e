"""Secrets in a file that the operator names: for servers, where no desktop keeps a keyring."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from core.vault.port import VaultDamaged, checked_name
from core.vault.private_file import locked, read_private, replace_private


class KeyfileVault:
    """A `Vault` in one JSON file `{name: base64url}`, mode 0600, made by the first `put`.

    It is as safe as its user account: the content is not encrypted. Any number of processes may
    read and write it at once. A read sees a whole state of the file, and a write is kept when it
    returns. VaultInsecure as long as the file is a link, or another user's, or open to others.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet. ValueError if the path is not absolute."""
        if not path.is_absolute():
            raise ValueError(f"a key file is named by its absolute path, not {path}")
        self.path = path

    def get(self, name: str) -> bytes | None:
        """The secret of this name; None if there is none, or no file."""
        return self._read().get(checked_name(name))

    def put(self, name: str, secret: bytes) -> None:
        """Keep the secret: it is on the disk when this returns."""
        checked_name(name)
        with locked(self.path):
            replace_private(self.path, _written({**self._read(), name: secret}))

    def delete(self, name: str) -> None:
        """Forget the secret; nothing happens if there is none."""
        checked_name(name)
        with locked(self.path):
            secrets = self._read()
            if secrets.pop(name, None) is not None:
                replace_private(self.path, _written(secrets))

    def _read(self) -> dict[str, bytes]:
        content = read_private(self.path)
        if content is None:
            return {}
        try:
            return _parsed(content)
        except (ValueError, RecursionError):
            raise VaultDamaged(
                f"{self.path} is not a key file: it must be a JSON object of base64url texts.",
                "Put back the last good copy; nothing was changed in it.",
            ) from None  # the cause holds the content


def _written(secrets: dict[str, bytes]) -> bytes:
    texts = {name: _encoded(secret) for name, secret in sorted(secrets.items())}
    return json.dumps(texts, indent=1).encode("ascii") + b"\n"


def _parsed(content: bytes) -> dict[str, bytes]:
    document: object = json.loads(content, object_pairs_hook=_Object)
    if not isinstance(document, _Object):
        raise ValueError("not an object")  # noqa: TRY004 - what was read is wrong, not our call
    return {checked_name(name): _decoded(text) for name, text in document.pairs}


class _Object:
    """A JSON object as it stands there, so that a name given twice is seen."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name twice")
        self.pairs = pairs


def _encoded(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode("ascii").rstrip("=")


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("not a text")  # noqa: TRY004 - what was read is wrong, not our call
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if _encoded(secret) != text:
        raise ValueError("not the canonical form")
    return secret
