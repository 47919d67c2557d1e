"""Where networks of one machine lie, and which one was used last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

VARIABLE: Final = "SURETY_SANDBOX"
"""Environment variable that names another folder for all networks."""

ROLES: Final = ("approval", "agency", "merchant")


def home() -> Path:
    """The folder that holds all networks and the name of the latest."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_data_path("surety") / "sandbox"


def network_dir(name: str) -> Path:
    """The folder of the network of this name; it need not exist."""
    return home() / name


def remember(path: Path) -> None:
    """Make this network the latest."""
    folder = home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f"latest.{os.getpid()}"
    draft.write_text(f"{path.absolute()}\n", encoding="utf-8")
    draft.replace(folder / "latest")


def latest() -> Path | None:
    """The network that was used last, if it is still there."""
    try:
        text = (home() / "latest").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = Path(text)
    return path if text and path.is_dir() else None


def databases(network: Path) -> list[str]:
    """The URLs of a network's node databases, as far as they exist."""
    files = [network / role / "node.db" for role in ROLES]
    return [f"sqlite:///{file.absolute()}" for file in files if file.is_file()]


def trust_file(network: Path) -> Path:
    """Where a network's trust file lies."""
    return network / "trust.json"
