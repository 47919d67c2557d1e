import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.exchange.tables import settings
from core.protocol.faults import OurFault
from core.storage.engine import open_database
from core.storage.migrate import differences, migrate, newest, version

PARTIES = ("approval", "agency", "merchant", "member")


def schema_of(party: str) -> sa.MetaData:
    schema: sa.MetaData = import_module(f"core.{party}.books").METADATA
    return schema


def layout(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        ).fetchall()


@pytest.mark.parametrize("party", PARTIES)
def test_migrations_make_exactly_the_schema(party: str, tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'node.db'}")
    try:
        assert version(database) == ""
        assert differences(database, schema_of(party)) != []
        assert migrate(database, party, schema_of(party)) == newest(party, schema_of(party)) != ""
        assert differences(database, schema_of(party)) == []
    finally:
        database.close()


@pytest.mark.parametrize("party", PARTIES)
def test_migrating_twice_is_harmless(party: str, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    database = open_database(f"sqlite:///{path}")
    try:
        first = migrate(database, party, schema_of(party))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"INSERT INTO {settings} VALUES ('kept', 'yes')")  # noqa: S608
        before = layout(path)
        assert migrate(database, party, schema_of(party)) == first
        assert layout(path) == before
        with closing(sqlite3.connect(path)) as connection:
            kept = connection.execute(f"SELECT * FROM {settings}").fetchall()  # noqa: S608
        assert kept == [("kept", "yes")]
    finally:
        database.close()


@pytest.mark.parametrize("party", PARTIES)
def test_a_database_of_a_newer_program_is_left_alone(party: str, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    database = open_database(f"sqlite:///{path}")
    try:
        migrate(database, party, schema_of(party))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        before = layout(path)
        with pytest.raises(OurFault, match="storage_unavailable"):
            migrate(database, party, schema_of(party))
        assert layout(path) == before
        assert version(database) == "9999"
    finally:
        database.close()


def test_parties_do_not_share_a_line_of_versions(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'node.db'}")
    try:
        migrate(database, "merchant", schema_of("merchant"))
        assert differences(database, schema_of("agency")) != []
    finally:
        database.close()
