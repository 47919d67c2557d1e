"""The one that commits.

Work from everywhere in the process queues here; whatever has queued shares one durable commit.

State, evidence and outbox of a piece of work are therefore in one commit, and under load the price
of a commit is divided by the group. A piece of work may be run again when a commit fails, so it
must act through its unit alone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from core.protocol.faults import OurFault, fault
from core.storage.unit import Group, Unit

if TYPE_CHECKING:
    from core.storage.engine import Database

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_GROUP: Final = 128
ATTEMPTS: Final = 6


@dataclass(slots=True)
class _Work(Generic[T]):
    run: Callable[[Unit], T]
    future: asyncio.Future[T]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """One thread, one connection, one commit at a time.

    `now`: wall clock in milliseconds, handed in.
    """

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._cursor: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.healthy = True
        self.commits = 0
        self.works = 0

    def start(self) -> None:
        """Connect and begin to take work. Raises `OurFault("storage_unavailable")`."""
        try:
            self._connect()
        except Exception as error:
            raise OurFault(fault("storage_unavailable"), str(error)) from error
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._main, name="writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what has queued, then close."""
        thread, self._thread = self._thread, None  # whoever comes from now on is told so
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)
            self._connection.close()

    async def submit(self, run: Callable[[Unit], T]) -> T:
        """Run the work in the next commit; returns when that commit is durable.

        Raises what the work raised (nothing of it is kept), or `OurFault("storage_unavailable")`
        when the database cannot be written: nothing was lost, and the same work may be handed in
        again.
        """
        if self._thread is None or self._loop is None:
            raise OurFault(fault("shutting_down"))
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Work(run, future))
        return await future

    def _connect(self) -> None:
        self._connection = self._database.connect_writer()
        self._cursor = self._connection.cursor()

    def _main(self) -> None:
        while True:
            group, stop = self._take()
            if group:
                self._commit(group)
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(_resolve, group)
            if stop:
                return

    def _take(self) -> tuple[list[_Work[Any]], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                return group, True
            group.append(work)
        return group, False

    def _commit(self, works: list[_Work[Any]]) -> None:
        error = self._attempt(works)
        if error is None:
            return
        if len(works) > 1:
            # One of them may be what the database refuses: each by itself, so that only it fails.
            for work in works:
                self._commit([work])
            return
        for _ in range(ATTEMPTS if _worth_another(error) else 0):
            error = self._attempt(works)
            if error is None:
                return
        works[0].error = OurFault(fault("storage_unavailable"), type(error).__name__)
        works[0].error.__cause__ = error

    def _attempt(self, works: list[_Work[Any]]) -> Exception | None:
        after: list[Callable[[], None]]
        try:
            self._begin()
            group = Group(self._cursor, self._database.dialect)
            for work in works:
                self._run(group, work)
            group.flush()
            self._cursor.execute("COMMIT")
            after = group.after
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the work is answered with it
            self._recover()
            self.healthy = False
            return error
        self.healthy = True
        self.commits += 1
        self.works += len(works)
        if after and self._loop is not None:
            self._loop.call_soon_threadsafe(_run_all, after)
        return None

    def _run(self, group: Group, work: _Work[Any]) -> None:
        unit = Unit(group, self._now())
        work.error = work.result = None
        try:
            work.result = work.run(unit)
        except _driver_errors():
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to whoever handed the work in
            work.error = error
        else:
            unit.merge()

    def _begin(self) -> None:
        if self._database.is_sqlite:
            self._cursor.execute("BEGIN IMMEDIATE")
        else:
            self._cursor.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")

    def _recover(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - the connection itself may be gone
            if self._database.is_sqlite:
                return
            try:
                self._connection.close()
                self._connect()
            except Exception:  # noqa: BLE001 - the next attempt says so
                return


@cache
def _driver_errors() -> tuple[type[Exception], ...]:
    import sqlite3  # noqa: PLC0415

    import psycopg  # noqa: PLC0415

    return (sqlite3.Error, psycopg.Error)


def _worth_another(error: Exception) -> bool:
    # 40001 serialization failure, 40P01 deadlock: PostgreSQL asks to run the transaction again.
    return getattr(error, "sqlstate", None) in {
        "40001",
        "40P01",
        "08006",
        "57P01",
    } or "locked" in str(error)


def _resolve(works: list[_Work[Any]]) -> None:
    for work in works:
        if work.future.done():
            continue
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.result)


def _run_all(actions: list[Callable[[], None]]) -> None:
    for action in actions:
        try:
            action()
        except Exception:
            log.exception("after a commit")  # the others have nothing to do with it
