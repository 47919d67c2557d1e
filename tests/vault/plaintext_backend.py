"""A keyring backend of the kind that keyrings.alt brings: it works, and writes plain text."""

from pathlib import Path

from keyring.backend import KeyringBackend


class Keyring(KeyringBackend):
    priority = 9.5  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def get_password(self, service: str, username: str) -> str | None:
        file = self._file(service, username)
        return file.read_text() if file.exists() else None

    def set_password(self, service: str, username: str, password: str) -> None:
        self._file(service, username).write_text(password)

    def delete_password(self, service: str, username: str) -> None:
        self._file(service, username).unlink()

    def _file(self, service: str, username: str) -> Path:
        return Path.home() / f"{service}-{username}".replace("/", "-")
