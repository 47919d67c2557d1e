"""Secrets in the keyring of the operating system."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from contextlib import contextmanager

from keyring import errors

from core.vault.keyring_choice import guarded_backend
from core.vault.port import VaultAbsent, VaultDamaged, VaultDenied, VaultLocked, checked_name

# What secretstorage raises by itself; named, because it can be imported on Linux only.
_LOCKED_BY_NAME = frozenset({"LockedException", "PromptDismissedException"})


class KeyringVault:
    """A `Vault` in the desktop's keyring, under the service name `surety/<profile>`.

    Secrets are kept as base64 text, which every keyring can hold (Windows up to 2,560 bytes of it).

    **Every call may block** for as long as the desktop asks its user for the keyring's password:
    never call it on a GUI's thread or on an event loop's.
    """

    def __init__(self, profile: str) -> None:
        """Find the keyring; VaultAbsent or VaultInsecure if there is none fit for secrets."""
        self.service = f"surety/{checked_name(profile)}"
        self._backend = guarded_backend()

    def get(self, name: str) -> bytes | None:
        """The secret of this name; None if there is none."""
        checked_name(name)
        with _explained():
            text = self._backend.get_password(self.service, name)
        if text is None:
            return None
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise VaultDamaged(
                f"The keyring's entry {name!r} of {self.service!r} is not one of ours.",
                "Delete the entry with the desktop's keyring program and enter the secret anew.",
            ) from None  # the cause holds the text

    def put(self, name: str, secret: bytes) -> None:
        """Keep the secret and read it back."""
        checked_name(name)
        text = base64.b64encode(secret).decode("ascii")
        with _explained():
            self._backend.set_password(self.service, name, text)
        if self.get(name) != secret:
            raise VaultDenied(
                f"The keyring took {name!r} and did not give the same back.",
                "Use another keyring, or name a key file instead: file:/path/to/file.",
            )

    def delete(self, name: str) -> None:
        """Forget the secret; nothing happens if there is none."""
        checked_name(name)
        with _explained():
            # Keyrings differ in what they say when there is nothing to delete, so ask first.
            if self._backend.get_password(self.service, name) is not None:
                self._backend.delete_password(self.service, name)


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except errors.NoKeyringError as error:
        raise VaultAbsent("There is no keyring in this session.", _RESTART) from error
    except errors.KeyringLocked as error:
        raise _locked() from error
    # The backends let the errors of their own libraries through (D-Bus, COM, sockets), which this
    # module cannot name without importing what exists on one system only.
    except Exception as error:
        if type(error).__name__ in _LOCKED_BY_NAME:
            raise _locked() from error
        raise VaultDenied(f"The keyring failed: {error!r}.", _RESTART) from error


_RESTART = "See that the desktop's keyring runs, then try again."


def _locked() -> VaultLocked:
    return VaultLocked(
        "The keyring is locked.", "Unlock it with the desktop's password, then try again."
    )
