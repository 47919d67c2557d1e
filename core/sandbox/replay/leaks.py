"""Searches every byte that merchant and approval keep for anything that names a member.

Raw, and with messages decoded.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import sqlalchemy as sa

from core.sandbox.members import MARK
from core.storage import journal
from core.storage.engine import open_database

_JWS: Final = re.compile(rb"[A-Za-z0-9_-]{16,}\.([A-Za-z0-9_-]{16,})\.[A-Za-z0-9_-]{86}")
_UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX: Final = re.compile(rb"(?=([0-9a-f]{32}))")


@dataclass(frozen=True, slots=True)
class Needles:
    """What must not be found.

    `kids`: device keys' thumbprints; `members`: the agency's own numbers of its members.
    """

    uuids: frozenset[bytes]
    texts: tuple[bytes, ...]
    kids: tuple[bytes, ...]
    members: frozenset[bytes]


def needles(
    identities: Iterable[Mapping[str, str]], kids: Iterable[str], members: Iterable[str]
) -> Needles:
    """All of every member's identifiers."""
    known = list(identities)
    return Needles(
        uuids=frozenset(identity["uuid"].encode() for identity in known),
        texts=tuple(identity[name].encode() for identity in known for name in ("name", "address")),
        kids=tuple(kid.encode() for kid in kids),
        members=frozenset(member.encode() for member in members),
    )


def search(folders: Iterable[Path], databases: Iterable[str], sought: Needles) -> list[str]:
    """Every find, as "where: what kind of identifier".

    `folders`: files of any kind; `databases`: their messages too.
    """
    found: list[str] = []
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            found += [f"{file.name}: {kind}" for kind in _in(file.read_bytes(), sought)]
    for url in databases:
        for name, raw in _messages(url):
            found += [f"{name}: {kind}" for part in _decoded(raw) for kind in _in(part, sought)]
    return found


def _in(data: bytes, sought: Needles) -> Iterator[str]:
    # Every name and address holds the mark, so where the mark is not, they are not either.
    if MARK.encode() in data:
        yield from ("name or address" for text in sought.texts if text in data)
    yield from ("uuid" for each in set(_UUID.findall(data)) if each in sought.uuids)
    yield from ("member" for each in set(_HEX.findall(data)) if each in sought.members)
    yield from ("device key" for kid in sought.kids if kid in data)


def _messages(url: str) -> Iterator[tuple[str, bytes]]:
    engine = open_database(url, exclusive=False).reader()
    try:
        with engine.connect() as connection:
            yield from connection.execute(
                sa.select(journal.entries.c.name, journal.entries.c.raw)
            ).tuples()
    finally:
        engine.dispose()


def _decoded(raw: bytes) -> Iterator[bytes]:
    for payload in _JWS.findall(raw):
        text = urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        yield text
        for string in _strings(json.loads(text)):
            yield from _decoded(string.encode())


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in cast("dict[str, object]", value).values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _strings(each)
