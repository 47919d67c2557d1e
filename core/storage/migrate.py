"""Schema migrations (Alembic).

Each party has its own line of versions; they run before the writer opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.protocol.faults import OurFault, fault
from core.storage import journal
from core.storage.schema import NODE

if TYPE_CHECKING:
    from core.storage.engine import Database


# Imported for its tables, which belong to every schema.
_ = journal


def migrate(database: Database, party: str, own: sa.MetaData) -> str:
    """Bring the schema of `party` ("approval", "agency", …) to its newest version.

    Returns that version.

    Raises `OurFault("storage_unavailable")` where the database is newer than this program or cannot
    be changed.
    """
    engine = database.schema_engine()
    try:
        with engine.begin() as connection:
            config = _config(party, own)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return version(database)
    except OurFault:
        raise
    except Exception as error:
        raise OurFault(fault("storage_unavailable"), f"migration failed: {error}") from error
    finally:
        engine.dispose()


def version(database: Database) -> str:
    """The schema version that the database has; empty for a new one."""
    engine = database.schema_engine()
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""
    finally:
        engine.dispose()


def differences(database: Database, own: sa.MetaData) -> list[object]:
    """What database and code disagree about; empty when migrations are complete."""
    engine = database.schema_engine()
    try:
        with engine.connect() as connection:
            tables: Any = [NODE, own]  # Alembic takes several; its types know of one
            return list(compare_metadata(MigrationContext.configure(connection), tables))
    finally:
        engine.dispose()


def newest(party: str, own: sa.MetaData) -> str:
    """The newest version that this program knows."""
    return ScriptDirectory.from_config(_config(party, own)).get_current_head() or ""


def _config(party: str, own: sa.MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", "core.storage:migrations")
    config.set_main_option("version_locations", f"core.{party}:migrations")
    config.set_main_option("path_separator", "newline")
    config.attributes["metadata"] = [NODE, own]
    return config
