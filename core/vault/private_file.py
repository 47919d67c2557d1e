"""A small file that one user alone can read, replaced whole or not at all. POSIX only."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.vault.port import VaultAbsent, VaultDamaged, VaultDenied, VaultError, VaultInsecure

MAX_BYTES: Final = 1_048_576
"""Larger than any file of secrets; a file beyond it was named by mistake."""

# No symlink is followed, no FIFO waited for, nothing passed on to child processes.
_SAFELY: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path) -> bytes | None:
    """The file's content; None if there is no such file.

    VaultInsecure if anybody else may read or change it, VaultDamaged if it is absurdly large.
    """
    with _explained(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | _SAFELY)
        except FileNotFoundError:
            return None
        try:
            _refuse_unless_private(path, os.fstat(descriptor))
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise VaultDamaged(f"{path} is too large for a key file.", "Name the right file.")
    return content


def replace_private(path: Path, content: bytes) -> None:
    """Put the content in the file's place: after a crash either the old or the new is there, whole.

    Call it while holding `locked(path)`: the name of the new file is then ours alone.
    """
    new = path.with_name(f"{path.name}.new")
    with _explained(path):
        new.unlink(missing_ok=True)  # left by a writer that crashed
        try:
            _write_new(new, content)
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Keep every other writer of this file out, in this process and in others; waits for them.

    The lock is on `<file>.lock`, because the file itself is replaced. It stays there, empty.
    """
    lock = path.with_name(f"{path.name}.lock")
    with _explained(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
    try:
        with _explained(lock):
            _refuse_unless_private(lock, os.fstat(descriptor))
            os.fchmod(descriptor, 0o600)  # whatever the umask
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which also unlocks


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        os.fchmod(descriptor, 0o600)  # whatever the umask
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_unless_private(path: Path, status: os.stat_result) -> None:
    quoted = shlex.quote(str(path))
    if not stat.S_ISREG(status.st_mode):
        raise VaultInsecure(f"{path} is not a regular file.", "Name another file.")
    if status.st_uid != os.geteuid():
        raise VaultInsecure(
            f"{path} belongs to user {status.st_uid}, and this program runs as {os.geteuid()}.",
            f"If its content is to be trusted: sudo chown {os.geteuid()} {quoted}",
        )
    if status.st_mode & _OTHERS:
        raise VaultInsecure(
            f"Others may read or change {path} (mode {stat.S_IMODE(status.st_mode):04o}).",
            f"Replace the secrets if others did; then run: chmod 600 {quoted}",
        )


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _as_vault_error(path, error) from error


def _as_vault_error(path: Path, error: OSError) -> VaultError:
    if error.errno == errno.ELOOP:
        return VaultInsecure(
            f"{path} is a symbolic link.", "Remove the link, or name the file itself."
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        directory = shlex.quote(str(path.parent))
        return VaultAbsent(
            f"{path.parent} is not a directory.", f"Make it first: mkdir -p -m 700 {directory}"
        )
    return VaultDenied(
        f"{path} cannot be read or written: {error.strerror}.",
        "Look at the permissions of its directory and at the space on its disk.",
    )
