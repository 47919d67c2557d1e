"""Against the real keyring of a real (private) session; nothing here stands in for it."""

import base64
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from shutil import which

import pytest

ROOT = Path(__file__).parents[2]
SESSION = str(Path(__file__).with_name("desktop-session"))
PROBE = [sys.executable, "-m", "tests.vault.keyring_probe"]
MISSING = [p for p in ("dbus-run-session", "gnome-keyring-daemon", "secret-tool") if not which(p)]

in_session = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (see .ci/system-packages)"
)


def probe(scene: str, *, home: Path, session: bool, backend: str = "") -> dict[str, object]:
    """What the probe printed, run with an empty home and, outside a session, without any bus."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    told = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    if backend:
        told["PYTHON_KEYRING_BACKEND"] = backend
    command = [*([SESSION] if session else []), *PROBE, scene]
    done = subprocess.run(
        command, cwd=ROOT, env=kept | told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


@in_session
def test_the_session_s_keyring_keeps_a_secret_that_others_see_there(tmp_path: Path) -> None:
    seen = probe("round_trip", home=tmp_path, session=True)

    assert seen == {
        "before": None,
        "same": True,
        "empty": True,
        "outside": base64.b64encode(bytes(range(256))).decode(),
        "other_profile": None,
        "after": None,
        "outside_after": None,
    }


@in_session
@pytest.mark.parametrize("scene", ["locked", "locked_put"])
def test_a_locked_keyring_says_that_it_is_locked(scene: str, tmp_path: Path) -> None:
    seen = probe(scene, home=tmp_path, session=True)

    assert seen["code"] == "vault_locked"
    assert seen["whose"] == "operator"
    assert "Unlock it" in str(seen["text"])


@in_session
def test_an_entry_of_somebody_else_is_refused(tmp_path: Path) -> None:
    seen = probe("damaged", home=tmp_path, session=True)

    assert seen["code"] == "vault_damaged"
    assert "not base64!" not in str(seen["text"])


@in_session
def test_a_chain_uses_its_first_keyring(tmp_path: Path) -> None:
    chain = "keyring.backends.chainer.ChainerBackend"

    assert probe("round_trip", home=tmp_path, session=True, backend=chain)["same"] is True


def test_without_a_bus_there_is_no_vault_and_no_file_instead(tmp_path: Path) -> None:
    seen = probe("open_only", home=tmp_path, session=False)

    assert seen["code"] == "vault_absent"
    assert "Start or unlock a keyring" in str(seen["text"])
    assert list(tmp_path.rglob("*")) == []


def test_a_chain_of_nothing_is_no_vault(tmp_path: Path) -> None:
    chain = "keyring.backends.chainer.ChainerBackend"

    assert probe("open_only", home=tmp_path, session=False, backend=chain)["code"] == "vault_absent"


@pytest.mark.parametrize(
    "backend",
    ["keyring.backends.SecretService.Keyring", "no.such.Keyring", "keyring.backends.null.Nothing"],
)
def test_a_configured_keyring_that_does_not_work_is_no_vault(backend: str, tmp_path: Path) -> None:
    seen = probe("open_only", home=tmp_path, session=False, backend=backend)

    assert seen["code"] == "vault_absent"


@pytest.mark.parametrize(
    "backend", ["tests.vault.plaintext_backend.Keyring", "keyring.backends.null.Keyring"]
)
def test_a_keyring_that_guards_nothing_is_refused(backend: str, tmp_path: Path) -> None:
    seen = probe("round_trip", home=tmp_path, session=False, backend=backend)

    assert seen["code"] == "vault_insecure"
    assert backend in str(seen["text"])
    assert list(tmp_path.rglob("*")) == []


@in_session
def test_a_session_leaves_no_process_behind() -> None:
    mark = uuid.uuid4().hex
    env = os.environ | {"SURETY_SESSION_MARK": mark}
    show = f"grep -lsz {mark} /proc/[0-9]*/environ | wc -l"

    during = subprocess.run(
        [SESSION, "bash", "-c", show], env=env, capture_output=True, text=True, check=True
    )

    assert int(during.stdout) >= 3, "the session, its bus and its keyring carry the mark"
    assert processes_with(mark) == []


def processes_with(mark: str) -> list[str]:
    left: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                left.append((process / "comm").read_text().strip())
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue  # another user's, or gone meanwhile
    return left
