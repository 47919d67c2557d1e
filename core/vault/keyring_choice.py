"""Which of the keyrings that the `keyring` library finds are fit for secrets.

The library takes the best backend it finds, and that may be one that writes plain text
(keyrings.alt) or none at all (`null`). Only backends that the operating system guards are let
through, by name.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

import keyring
import keyring.backend
from keyring.backends import chainer, fail

from core.vault.port import VaultAbsent, VaultInsecure

GUARDED: Final = frozenset(
    {
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.Windows.WinVaultKeyring",
        "keyring.backends.kwallet.DBusKeyring",
        "keyring.backends.kwallet.DBusKeyringKWallet4",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.macOS.Keyring",
    }
)
"""Backends whose secrets the operating system keeps encrypted and gives to this user only."""

_START_ONE: Final = (
    "Start or unlock a keyring (GNOME Keyring, KWallet; the session needs D-Bus) and start this "
    "program again, or name a key file instead: file:/path/to/file."
)


class GuardedKeyring(Protocol):
    """What is used of a `keyring` backend."""

    def get_password(self, service: str, username: str) -> str | None:
        """The text kept for the service and name; None if there is none."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a text."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Forget a text that is there."""
        ...


def guarded_backend() -> GuardedKeyring:
    """The one backend that secrets go to.

    Of a chain the first member is taken and used by itself, so that a secret never slides on to the
    next one. VaultAbsent if there is no keyring, VaultInsecure if it is not in `GUARDED`.
    """
    backend = _first(_configured())
    if isinstance(backend, fail.Keyring):
        raise VaultAbsent("There is no keyring in this session.", _START_ONE)
    name = backend_name(backend)
    if name not in GUARDED:
        raise VaultInsecure(
            f"The keyring {name} does not keep secrets safe, so it is not used.",
            "Take it out of PYTHON_KEYRING_BACKEND and keyringrc.cfg, and use the desktop's own "
            "keyring, or name a key file instead: file:/path/to/file.",
        )
    # The library wraps set_password in a way that hides its type.
    return cast("GuardedKeyring", backend)


def backend_name(backend: keyring.backend.KeyringBackend) -> str:
    """Module and class of the backend, as keyring's own configuration names it."""
    kind = type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


def _configured() -> keyring.backend.KeyringBackend:
    try:
        return keyring.get_keyring()
    # What a configured backend raises when it cannot be loaded or does not work here.
    except (AttributeError, ImportError, RuntimeError, ValueError) as error:
        raise VaultAbsent(
            f"The keyring that is configured does not work here: {error}.", _START_ONE
        ) from error


def _nothing() -> keyring.backend.KeyringBackend:
    return fail.Keyring()  # type: ignore[no-untyped-call]


def _first(backend: keyring.backend.KeyringBackend) -> keyring.backend.KeyringBackend:
    if not isinstance(backend, chainer.ChainerBackend):
        return backend
    members: list[keyring.backend.KeyringBackend] = backend.backends
    return members[0] if members else _nothing()
