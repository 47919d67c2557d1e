import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from core.protocol.faults import OurFault, PeerFault
from core.storage.engine import DatabaseBusy, open_database
from core.storage.unit import Unit
from tests.storage.shelf import BOOKS, book, books, make, opened, stored

ROOT = Path(__file__).parents[2]
_TRY = """
import sys
from core.storage.engine import DatabaseBusy, open_database
try:
    open_database(sys.argv[1]).close()
except DatabaseBusy as error:
    print("busy", error.fault.code)
else:
    print("opened")
"""


def _elsewhere(url: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", _TRY, url], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_one_process_has_the_file_to_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder/a.db"
    database = open_database(url)

    assert _elsewhere(url) == "busy storage_unavailable"
    with pytest.raises(DatabaseBusy, match="another process"):
        open_database(url)
    assert isinstance(DatabaseBusy("x"), OurFault)
    assert not isinstance(DatabaseBusy("x"), PeerFault)
    database.close()
    database.close()
    assert _elsewhere(url) == "opened"
    open_database(url).close()


def test_nobody_else_on_the_machine_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    old = os.umask(0)
    try:
        database = make(path)
        writer = database.connect_writer()
        writer.cursor().execute("INSERT INTO books VALUES ('a', 1, 'red', NULL, '')")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        writer.close()
        database.close()
    finally:
        os.umask(old)

    assert set(modes) >= {"a.db", "a.db-wal", "a.db.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://a/b", "sqlite+aiosqlite:////tmp/x"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(OurFault, match=r"sqlite:///"):
        open_database(url)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OurFault) as caught:
        open_database(f"sqlite:///{tmp_path}/file/a.db")
    assert caught.value.fault.code == "storage_unavailable"


@pytest.mark.parametrize("name", ["a.db", "with space.db", "ümlaut.db", "per%20cent.db", "a#b.db"])
@pytest.mark.anyio
async def test_a_reader_reads_and_cannot_write(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    async with opened(path) as writer:
        await writer.submit(lambda unit: unit.put(BOOKS, book(1)))
        engine = writer._database.reader()
        with engine.connect() as connection:
            found = connection.execute(sa.select(books)).all()
            assert [tuple(row) for row in found] == [("a", 1, "red", None, "")]
            for statement in (sa.delete(books), sa.text("DROP TABLE books")):
                with pytest.raises(OperationalError, match="readonly"):
                    connection.execute(statement)
        engine.dispose()
    assert stored(path) == [book(1)]


@pytest.mark.anyio
async def test_the_writers_connection_is_durable(tmp_path: Path) -> None:
    def pragma(name: str, unit: Unit) -> object:
        return unit.query(sa.text(f"PRAGMA {name}"))[0][0]

    async with opened(tmp_path / "a.db") as writer:
        found = [
            await writer.submit(partial(pragma, name))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


@pytest.mark.anyio
@pytest.mark.parametrize("after", [1, 40, 200])
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, after: int) -> None:
    path = tmp_path / "a.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.storage.killed", str(path), cwd=ROOT, stdout=-1
    )
    assert process.stdout is not None
    said = [json.loads(await process.stdout.readline()) for _ in range(after)]
    process.kill()
    rest = await process.stdout.read()
    said += [json.loads(line) for line in rest.split(b"\n")[:-1]]
    assert await process.wait() == -9

    async with opened(path) as writer:
        check = await writer.submit(lambda unit: unit.query(sa.text("PRAGMA integrity_check")))
        assert check[0][0] == "ok"
        assert await writer.submit(lambda unit: unit.get(BOOKS, "a", said[-1])) is not None
    places = {row.place for row in stored(path)}

    assert len(said) >= after
    assert set(said) <= places
    # Lanes commit one after the other: nothing is there that nobody asked for.
    assert len(places) <= len(said) + 8
