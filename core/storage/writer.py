"""The one that commits.

Work from everywhere in the process queues here; whatever has queued shares one durable commit.

State, evidence and outbox of a piece of work are therefore in one commit, and under load the price
of a commit is divided by the group. A piece of work may be run again when a commit fails, so it
must act through its unit alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from core.protocol.faults import OurFault, fault
from core.storage.unit import Group, Unit

if TYPE_CHECKING:
    from core.storage.engine import Database

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_GROUP: Final = 128
INLINE_SECONDS: Final = 0.003
WINDOW_SECONDS: Final = 0.002
ATTEMPTS: Final = 6


@dataclass(slots=True)
class _Work(Generic[T]):
    run: Callable[[Unit], T]
    future: asyncio.Future[T]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """One connection, one commit at a time; whatever has queued meanwhile shares the next one.

    With SQLite the works run on the event loop, where they wait for no thread switch, and only a
    durable COMMIT that has lately been slow runs in a thread. With a database server everything
    runs in that thread, because there each statement waits for the network. `now`: wall clock in
    milliseconds, handed in.
    """

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        self._queue: deque[_Work[Any]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Any = None
        self._cursor: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = False
        self._idle = asyncio.Event()
        self._took = 0.0
        # Nobody else writes to a SQLite file that is locked for this process: what was read stays
        # true.
        self._kept: dict[Any, Any] | None = {} if database.is_sqlite else None
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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")

    async def stop(self) -> None:
        """Finish what has queued, then close."""
        thread, self._thread = self._thread, None  # whoever comes from now on is told so
        if thread is None:
            return
        if self._busy:
            await self._idle.wait()
        await asyncio.to_thread(thread.shutdown)
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
        self._queue.append(_Work(run, future))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            # Not at once: what else comes in this turn of the loop joins the group.
            self._loop.call_soon(self._pump, self._thread)
        return await future

    @property
    def _slow(self) -> bool:
        return self._took > INLINE_SECONDS

    def _connect(self) -> None:
        self._connection = self._database.connect_writer()
        self._cursor = self._connection.cursor()

    def _pump(self, thread: ThreadPoolExecutor) -> None:
        if not self._queue:
            self._busy = False
            self._idle.set()
            return
        works = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
        if not self._database.is_sqlite:
            self._in_thread(thread, works, lambda: self._attempt(works))
            return
        group = self._execute(works)
        if isinstance(group, Exception):
            error = group
            self._in_thread(thread, works, lambda: self._again(works, error))
        elif group.wrote and self._slow:
            self._in_thread(thread, works, lambda: self._commit(group, works))
        else:
            failed = self._commit(group, works)
            if failed is None:
                self._done(thread, works)
            else:
                self._in_thread(thread, works, lambda: self._again(works, failed))

    def _in_thread(
        self,
        thread: ThreadPoolExecutor,
        works: list[_Work[Any]],
        do: Callable[[], Exception | None],
    ) -> None:
        loop = self._loop

        def run() -> None:
            try:
                error = do()
                if error is not None:
                    self._again(works, error)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, and others go on
                for work in works:
                    work.error = error
            finally:
                if loop is not None:
                    loop.call_soon_threadsafe(self._done, thread, works)

        thread.submit(run)

    def _done(self, thread: ThreadPoolExecutor, works: list[_Work[Any]]) -> None:
        _resolve(works)
        if self._loop is not None:
            # Where works come side by side, more are on their way: a moment's patience divides the
            # price of the next commit by more of them. At rest nothing waits.
            delay = WINDOW_SECONDS if len(works) > 1 and self._thread is not None else 0.0
            self._loop.call_later(delay, self._pump, thread)

    def _again(self, works: list[_Work[Any]], error: Exception) -> None:
        """What to do with a group that could not be committed."""
        if len(works) > 1:
            # One of them may be what the database refuses: each by itself, so that only it fails.
            for work in works:
                failed = self._attempt([work])
                if failed is not None:
                    self._again([work], failed)
            return
        for _ in range(ATTEMPTS if _worth_another(error) else 0):
            failed = self._attempt(works)
            if failed is None:
                return
            error = failed
        works[0].error = OurFault(fault("storage_unavailable"), type(error).__name__)
        works[0].error.__cause__ = error

    def _attempt(self, works: list[_Work[Any]]) -> Exception | None:
        group = self._execute(works)
        return group if isinstance(group, Exception) else self._commit(group, works)

    def _execute(self, works: list[_Work[Any]]) -> Group | Exception:
        try:
            self._begin()
            group = Group(self._cursor, self._database.dialect, self._kept)
            for work in works:
                self._run(group, work)
            group.flush()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the work is answered with it
            self._recover()
            self.healthy = False
            return error
        return group

    def _commit(self, group: Group, works: list[_Work[Any]]) -> Exception | None:
        begun = perf_counter()
        try:
            self._cursor.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - as above
            self._recover()
            self.healthy = False
            return error
        self.healthy = True
        group.keep()
        if group.wrote:
            # Two thread switches cost as much as a commit on a fast disk. A slow one must not stop
            # the loop, so what commits have lately taken decides; one slow one is enough to move.
            took = perf_counter() - begun
            self._took = max(took, self._took * 0.95)
            self.commits += 1
        self.works += len(works)
        if group.after and self._loop is not None:
            self._loop.call_soon_threadsafe(_run_all, group.after)
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
