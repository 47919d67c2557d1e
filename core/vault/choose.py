"""One vault from one word of configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from core.vault.keyring_vault import KeyringVault
from core.vault.port import Vault, VaultAbsent

_FILE = "file:"


def open_vault(spec: str, profile: str) -> Vault:
    """The vault that is asked for, and never another one in its place.

    `keyring` is the desktop's keyring, kept apart by profile; `file:/path` is a key file, where the
    path says which. ValueError for any other spec. VaultAbsent or VaultInsecure if the keyring is
    not fit for secrets. May block: see `KeyringVault`.
    """
    if spec == "keyring":
        return KeyringVault(profile)
    if spec.startswith(_FILE):
        return _keyfile(spec.removeprefix(_FILE))
    raise ValueError(f"a vault is 'keyring' or 'file:/path', not {spec!r}")


def _keyfile(path: str) -> Vault:
    if sys.platform == "win32":
        raise VaultAbsent("There are no key files on Windows.", "Use the keyring: keyring.")
    from core.vault.keyfile_vault import KeyfileVault  # noqa: PLC0415 - needs fcntl, not on Windows

    return KeyfileVault(Path(path))
