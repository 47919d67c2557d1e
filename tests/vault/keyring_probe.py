"""Run in a process of its own by test_keyring_vault: plays one scene and prints what it saw."""

import json
import subprocess
import sys
from contextlib import closing

import secretstorage

from core.vault.choose import open_vault
from core.vault.port import VaultError

SECRET = bytes(range(256))
Seen = dict[str, object]


def outsider_sees(name: str) -> str | None:
    """What libsecret's own program finds under the attributes that keyring writes."""
    query = ["secret-tool", "lookup", "service", "surety/probe", "username", name]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else None


def lock_collection() -> None:
    with closing(secretstorage.dbus_init()) as bus:
        secretstorage.get_default_collection(bus).lock()


def open_only() -> Seen:
    open_vault("keyring", "probe")
    return {"opened": True}


def round_trip() -> Seen:
    vault = open_vault("keyring", "probe")
    before = vault.get("device-key")
    vault.put("device-key", b"first")
    vault.put("device-key", SECRET)
    vault.put("empty", b"")
    seen: Seen = {
        "before": before,
        "same": open_vault("keyring", "probe").get("device-key") == SECRET,
        "empty": vault.get("empty") == b"",
        "outside": outsider_sees("device-key"),
        "other_profile": open_vault("keyring", "other").get("device-key"),
    }
    vault.delete("device-key")
    vault.delete("device-key")
    return {**seen, "after": vault.get("device-key"), "outside_after": outsider_sees("device-key")}


def locked() -> Seen:
    vault = open_vault("keyring", "probe")
    vault.put("device-key", SECRET)
    lock_collection()
    return {"got": vault.get("device-key") is not None}


def locked_put() -> Seen:
    vault = open_vault("keyring", "probe")
    lock_collection()
    vault.put("device-key", SECRET)
    return {"put": True}


def damaged() -> Seen:
    store = ["secret-tool", "store", "--label=x", "service", "surety/probe", "username", "key"]
    subprocess.run(store, input=b"not base64!", check=True)
    return {"got": open_vault("keyring", "probe").get("key") is not None}


SCENES = {scene.__name__: scene for scene in (open_only, round_trip, locked, locked_put, damaged)}


def main() -> None:
    try:
        seen = SCENES[sys.argv[1]]()
    except VaultError as error:
        seen = {"code": error.code, "whose": error.whose, "text": str(error)}
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
