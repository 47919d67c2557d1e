"""A node's database, from a URL: SQLite by default, PostgreSQL where asked for.

SQLite before 3.51.3 can lose a WAL reset when two connections write or checkpoint. So one process
holds a lock on the file, its single writer connection alone writes and checkpoints, and every other
connection is opened read-only.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import NullPool

from core.protocol.faults import OurFault, fault

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect

ADVISORY_LOCK: Final = 0x5375_7265_7479
"""One node at a time writes a PostgreSQL database: the lock that its writer holds ("Surety")."""

_WRITER_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA cache_size=-65536",
    "PRAGMA wal_autocheckpoint=4000",
)


class DatabaseBusy(OurFault):
    """Another process holds the database."""

    def __init__(self, path: str) -> None:
        super().__init__(
            fault("storage_unavailable"),
            f"another process has {path} open; stop it first, or talk to it",
        )


@dataclass
class Database:
    """An opened database.

    `dialect` compiles statements with positional parameters; `close` gives the lock back.
    """

    url: str
    dialect: Dialect
    path: Path | None
    _lock: int | None = field(default=None, repr=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether one process has the database to itself."""
        return self.path is not None

    def connect_writer(self) -> DBAPIConnection:
        """The writer's own driver connection in autocommit mode: it says BEGIN, COMMIT itself."""
        if self.path is not None:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            for pragma in _WRITER_PRAGMAS:
                connection.execute(pragma)
            return cast("DBAPIConnection", cast("object", connection))
        import psycopg  # noqa: PLC0415 - only where PostgreSQL is used

        connection_ = psycopg.connect(_libpq(self.url), autocommit=True)
        held = connection_.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,)).fetchone()
        if held is None or not held[0]:
            connection_.close()
            raise DatabaseBusy(sa.make_url(self.url).render_as_string())
        return cast("DBAPIConnection", cast("object", connection_))

    def reader(self) -> sa.Engine:
        """An engine that only reads: for pages, exports, health. Close with `dispose()`."""
        if self.path is not None:
            name = quote(str(self.path))
            return sa.create_engine(f"sqlite:///file:{name}?mode=ro&uri=true", poolclass=NullPool)
        return sa.create_engine(
            self.url, poolclass=NullPool, execution_options={"postgresql_readonly": True}
        )

    def schema_engine(self) -> sa.Engine:
        """An engine for migrations; only while no writer is open."""
        return sa.create_engine(self.url, poolclass=NullPool)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def open_database(url: str, *, exclusive: bool = True) -> Database:
    """Open by SQLAlchemy URL: `sqlite:////path/to/file`, `postgresql+psycopg://user@host/name`.

    Raises `DatabaseBusy` when another process holds an SQLite file,
    `OurFault("storage_unavailable")` for a URL of another kind or a folder that cannot be made.
    `exclusive=False`: for reading only, without the lock.
    """
    parsed = sa.make_url(url)
    if parsed.drivername == "postgresql+psycopg":
        dialect: Any = PGDialect_psycopg
        return Database(url, dialect(paramstyle="format"), None)
    if (
        parsed.drivername not in {"sqlite", "sqlite+pysqlite"}
        or not parsed.database
        or parsed.database == ":memory:"
    ):
        raise OurFault(
            fault("storage_unavailable"),
            "the database URL must be sqlite:///… or postgresql+psycopg://…",
        )
    path = Path(parsed.database).absolute()
    lock = _lock(path) if exclusive else None
    return Database(url, SQLiteDialect_pysqlite(paramstyle="qmark"), path, lock)


def _lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Database and WAL are born with this process's umask; what they hold is nobody else's
        # business.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise OurFault(fault("storage_unavailable"), f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise DatabaseBusy(str(path)) from error
    return handle


def _libpq(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
