import json
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.vault.keyfile_vault import KeyfileVault
from core.vault.port import VaultAbsent, VaultDamaged, VaultDenied, VaultInsecure

SECRET = bytes(range(256))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.vault.json"


def written(path: Path, content: str, mode: int = 0o600) -> KeyfileVault:
    path.write_text(content)
    path.chmod(mode)
    return KeyfileVault(path)


def test_keeps_replaces_and_forgets(path: Path) -> None:
    vault = KeyfileVault(path)
    assert vault.get("signing-key") is None

    vault.put("signing-key", b"first")
    vault.put("signing-key", SECRET)
    vault.put("empty", b"")
    assert KeyfileVault(path).get("signing-key") == SECRET
    assert KeyfileVault(path).get("empty") == b""

    vault.delete("signing-key")
    vault.delete("signing-key")
    assert KeyfileVault(path).get("signing-key") is None
    assert KeyfileVault(path).get("empty") == b""


def test_reading_makes_no_file(path: Path) -> None:
    assert KeyfileVault(path).get("signing-key") is None
    assert list(path.parent.iterdir()) == []


def test_the_file_is_base64url_by_name(path: Path) -> None:
    KeyfileVault(path).put("signing-key", b"\xff\xfe\xfd\xfc")

    assert json.loads(path.read_text()) == {"signing-key": "__79_A"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_is_for_its_owner_only_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        KeyfileVault(path).put("signing-key", SECRET)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(
    path: Path, mode: int
) -> None:
    vault = written(path, "{}", mode)

    with pytest.raises(VaultInsecure, match=f"chmod 600 {path}"):
        vault.get("signing-key")
    with pytest.raises(VaultInsecure):
        vault.put("signing-key", SECRET)
    assert path.read_text() == "{}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_user_s_file_is_refused(path: Path) -> None:
    vault = written(path, "{}")
    os.chown(path, 65534, -1)

    with pytest.raises(VaultInsecure, match="sudo chown"):
        vault.get("signing-key")


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_refused(path: Path, *, there: bool) -> None:
    target = path.with_name("target")
    if there:
        written(target, "{}")
    path.symlink_to(target)
    vault = KeyfileVault(path)

    with pytest.raises(VaultInsecure, match="symbolic link"):
        vault.get("key")
    with pytest.raises(VaultInsecure, match="symbolic link"):
        vault.put("key", SECRET)
    assert path.is_symlink()
    assert target.exists() == there


def test_a_lock_that_is_a_symbolic_link_is_refused(path: Path) -> None:
    target = path.with_name("target")
    path.with_name(f"{path.name}.lock").symlink_to(target)

    with pytest.raises(VaultInsecure, match="symbolic link"):
        KeyfileVault(path).put("key", SECRET)
    assert not target.exists()


def test_a_fifo_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path, 0o600)

    with pytest.raises(VaultInsecure, match="not a regular file"):
        KeyfileVault(path).get("key")


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir(mode=0o700)

    with pytest.raises(VaultInsecure, match="not a regular file"):
        KeyfileVault(path).get("key")


def test_a_missing_directory_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    vault = KeyfileVault(tmp_path / "a b" / "node.vault.json")

    with pytest.raises(VaultAbsent, match=r"mkdir -p -m 700 '.*/a b'"):
        vault.put("key", SECRET)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '"text"',
        "{",
        '{"key": 1}',
        '{"key": {"a": "b"}}',
        '{"key": "AAA="}',
        '{"key": "AAB"}',
        '{"key": "A+A/"}',
        '{"key": "A"}',
        '{"key": "AA AA"}',
        '{"key": "\u00e9"}',
        '{"Not A Name": "AAAA"}',
        '{"key": "AAAA", "key": "BBBB"}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_what_no_vault_wrote_is_refused_and_kept(path: Path, content: str) -> None:
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    vault = KeyfileVault(path)
    before = path.read_bytes()

    with pytest.raises(VaultDamaged) as refused:
        vault.get("key")
    with pytest.raises(VaultDamaged):
        vault.put("key", SECRET)
    with pytest.raises(VaultDamaged):
        vault.delete("key")
    assert refused.value.__suppress_context__, "the cause would carry the content into logs"
    assert path.read_bytes() == before


def test_an_absurdly_large_file_is_refused(path: Path) -> None:
    vault = written(path, " " * 1_048_577)

    with pytest.raises(VaultDamaged, match="too large"):
        vault.get("key")


def test_a_path_has_to_be_absolute() -> None:
    with pytest.raises(ValueError, match="absolute"):
        KeyfileVault(Path("node.vault.json"))


def test_writers_in_many_threads_lose_nothing(path: Path) -> None:
    names = [f"key-{number}" for number in range(40)]

    def write(name: str) -> None:
        KeyfileVault(path).put(name, name.encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, names))

    assert all(KeyfileVault(path).get(name) == name.encode() for name in names)


WRITER = """
import sys
from pathlib import Path
from core.vault.keyfile_vault import KeyfileVault
vault = KeyfileVault(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    vault.put(f"{sys.argv[2]}-{number}", b"x" * 1000)
    print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_writers_in_many_processes_lose_nothing(path: Path) -> None:
    names = ["a", "b", "c", "d"]
    for running in [writer(path, name, 15) for name in names]:
        running.communicate()
        assert running.returncode == 0

    vault = KeyfileVault(path)
    assert all(vault.get(f"{name}-{number}") for name in names for number in range(15))


def test_a_reader_always_sees_a_whole_file(path: Path) -> None:
    vault = KeyfileVault(path)
    vault.put("key", b"0" * 5000)
    done = threading.Event()

    def read() -> set[bytes | None]:
        seen: set[bytes | None] = set()
        while not done.is_set():
            seen.add(vault.get("key"))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for digit in b"12345678" * 5:
            vault.put("key", bytes([digit]) * 5000)
        done.set()
        seen = reading.result()

    assert all(secret is not None and len(secret) == 5000 for secret in seen)


@pytest.mark.parametrize("after", range(0, 40, 5))
def test_a_killed_writer_leaves_what_it_had_kept(path: Path, after: int) -> None:
    with writer(path, "a", 10_000) as running:
        assert running.stdout is not None
        kept = [int(running.stdout.readline()) for _ in range(after + 1)]
        running.send_signal(signal.SIGKILL)

    vault = KeyfileVault(path)
    assert all(vault.get(f"a-{number}") == b"x" * 1000 for number in kept)
    vault.put("after", SECRET)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


DIES_AT = """
import os, sys
from pathlib import Path
from core.vault.keyfile_vault import KeyfileVault
at = sys.argv[2]
def watch(event, arguments):
    if event == at and ".new" in str(arguments[0]):
        os._exit(9)
vault = KeyfileVault(Path(sys.argv[1]))
sys.addaudithook(watch)
vault.put("key", b"new")
"""


@pytest.mark.parametrize("event", ["open", "os.chmod", "os.rename"])
def test_a_crash_before_the_replacement_leaves_the_old_state(path: Path, event: str) -> None:
    vault = KeyfileVault(path)
    vault.put("key", b"old")
    # fchmod is given a descriptor, not a name: that crash is at any chmod.
    code = (
        DIES_AT.replace('".new" in str(arguments[0])', "True") if event == "os.chmod" else DIES_AT
    )

    died = subprocess.run([sys.executable, "-c", code, str(path), event], cwd=ROOT, check=False)

    assert died.returncode == 9
    assert vault.get("key") == b"old"
    vault.put("key", b"newer")
    assert vault.get("key") == b"newer"
    assert not path.with_name(f"{path.name}.new").exists()


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from core.vault.keyfile_vault import KeyfileVault
from core.vault.port import VaultDenied
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    KeyfileVault(Path(sys.argv[1])).put("big", b"x" * 1000)
except VaultDenied as error:
    print(error)
"""


def test_a_full_disk_is_reported_and_leaves_the_old_state(path: Path) -> None:
    vault = KeyfileVault(path)
    vault.put("key", b"old")

    ran = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert "File too large" in ran.stdout
    assert vault.get("key") == b"old"
    assert not path.with_name(f"{path.name}.new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_reported(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(VaultDenied):
            KeyfileVault(path).put("key", SECRET)
    finally:
        path.parent.chmod(0o700)
