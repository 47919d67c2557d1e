"""The port that secrets go through, and what can go wrong behind it."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal, Protocol

Whose = Literal["operator", "system"]
"""Who has to act: the person who runs the program, or the computer that it runs on."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Vault(Protocol):
    """Secrets by name. Every call may block (on a disk, on a person who types a password).

    Names are 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit; another one is a ValueError.
    Every failure is a `VaultError`; after one, the vault holds what it held before.
    """

    def get(self, name: str) -> bytes | None:
        """The secret of this name; None if there is none."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keep the secret, in place of one of the same name. Once this returns, it is kept."""
        ...

    def delete(self, name: str) -> None:
        """Forget the secret; nothing happens if there is none."""
        ...


class VaultError(Exception):
    """A vault could not do its work. Says whose fault it is and what to do; never holds a secret.

    `code` is stable and unique among these; `detail` is what was found, `advice` the next step.
    """

    code: ClassVar[str]
    whose: ClassVar[Whose]

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(f"{detail} {advice}")
        self.detail = detail
        self.advice = advice


class VaultAbsent(VaultError):
    """There is no place for secrets here: no keyring, no such directory."""

    code = "vault_absent"
    whose = "system"


class VaultLocked(VaultError):
    """The place is there and locked; a person has to open it."""

    code = "vault_locked"
    whose = "operator"


class VaultDenied(VaultError):
    """The place is there and refused to read or write."""

    code = "vault_denied"
    whose = "system"


class VaultInsecure(VaultError):
    """Others could read or change what is kept there, so nothing is read or written."""

    code = "vault_insecure"
    whose = "operator"


class VaultDamaged(VaultError):
    """What is kept there is not what a vault wrote."""

    code = "vault_damaged"
    whose = "operator"


def checked_name(name: str) -> str:
    """The name itself; ValueError if it is not one that every vault can keep."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a vault name: {name!r}")
    return name
