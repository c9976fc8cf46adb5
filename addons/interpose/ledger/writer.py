"""The ledger's writer: records go into a queue, one thread commits them in batches to SQLite and chains them.

Traffic never waits for the ledger and never fails with it. While the file cannot be written, records wait in memory;
what does not fit there is counted, and the count becomes a record (a *gap*) as soon as the file can be written again.
The laws: `record` neither blocks on I/O nor raises; *acknowledged* means that the commit returned; a kill -9 loses at
most the records of the last interval and of the commit under way (law 7).
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from interpose import __version__

from .record import (
    CALLS,
    CONNECTIONS,
    GAP_ENTRANCE,
    TABLES,
    Connection,
    LedgerError,
    Record,
    Row,
    Table,
    genesis,
    storable,
    utc_text,
)
from .schema import INSERT, Connect, is_busy, open_for_writing, readable_by_others, register, transaction

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0
COMPLAIN_EVERY = 60.0


Placed = tuple[Table, Row]


@dataclass(slots=True)
class _Gap:
    """Records that did not fit into memory: their number, and when (Unix time) the first and the last were lost."""

    count: int
    since: float
    until: float


class Ledger:
    """One writer on one SQLite file. Any thread may call any method; open it after forking, not before."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        writer: str,
        prev_hash: str,
        clock: Callable[[], float],
        timer: Callable[[], float],
        scrub: Callable[[str], str] | None,
        on_commit: Callable[[int], None] | None,
        batch: int,
        interval: float,
        capacity: int,
        connect: Connect,
    ) -> None:
        """`Ledger.open` is the way in; here everything is ready to write."""
        self.path = path
        self.writer = writer
        self._clock = clock
        self._timer = timer
        self._scrub = scrub
        self._on_commit = on_commit
        self._batch = batch
        self._interval = interval
        self._capacity = capacity
        self._connect = connect
        # Under the condition's lock. Counts are of records: a gap weighs as many as it stands for.
        self._changed = threading.Condition()
        self._queue: deque[Placed | _Gap] = deque()
        self._accepted = 0
        self._settled = 0
        self._lost = 0
        self._waiting: list[tuple[int, Future[bool]]] = []
        self._closing = False
        self._deadline = float("inf")
        # The thread's own.
        self._connection: sqlite3.Connection | None = connection
        self._file = _identity(path)
        self._seq = dict.fromkeys(TABLES, 0)
        self._head = dict.fromkeys(TABLES, prev_hash)
        self._unsure = False
        self._announced = False
        self._complained = float("-inf")
        # Held by whoever has to do with the connection.
        self._at_file = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"ledger-{writer[:8]}", daemon=True)
        self._thread.start()
        # The thread is a daemon, so that a forgotten close() cannot hang the exit; this drains all the same.
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        writer: str,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
        scrub: Callable[[str], str] | None = None,
        on_commit: Callable[[int], None] | None = None,
        batch: int = 500,
        interval: float = 0.1,
        capacity: int = 100_000,
        connect: Connect = sqlite3.connect,
    ) -> Self:
        """Open or create the ledger at `path` and enter `writer`, a random hex id that was never used before.

        `clock` gives Unix time in seconds, `timer` seconds for deadlines. A commit comes at most every `interval`
        seconds, or as soon as `batch` records wait; up to `capacity` records wait in memory while the file cannot be
        written. `scrub` takes secrets out of every text. `on_commit` is told, in the ledger's thread, the highest
        acknowledged `seq`. Raises LedgerError.
        """
        connection = open_for_writing(path, connect=connect)
        try:
            heads = register(connection, writer, opened_at=utc_text(clock()), version=__version__)
        except sqlite3.IntegrityError as error:
            connection.close()
            raise LedgerError(
                f"the ledger {path} knows the writer {writer} already: a writer id is used once"
            ) from error
        except sqlite3.Error as error:
            connection.close()
            raise LedgerError(f"the ledger {path} cannot be written: {error}") from error
        if readable_by_others(path):
            log.warning("the ledger %s can be read by other users of this machine (chmod 600 would end that)", path)
        return cls(
            path,
            connection,
            writer=writer,
            prev_hash=genesis(heads.encode()),
            clock=clock,
            timer=timer,
            scrub=scrub,
            on_commit=on_commit,
            batch=batch,
            interval=interval,
            capacity=capacity,
            connect=connect,
        )

    # --- for everybody ------------------------------------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Take one record, as it is now. Returns at once and never raises; later changes to it are not seen."""
        self._take(CALLS, record)

    def connection(self, connection: Connection) -> None:
        """The same for a connection of a client."""
        self._take(CONNECTIONS, connection)

    def _take(self, table: Table, record: Record | Connection) -> None:
        try:
            row: Row | None = storable(record, self._scrub)
        except Exception:  # a fault of ours costs this record (it is counted), not the call
            log.exception("a record could not be taken into the ledger %s", self.path)
            row = None
        with self._changed:
            if self._closing:
                self._lost += 1
                log.error("a record came after the ledger %s was closed, and is lost", self.path)
                return
            self._accepted += 1
            if row is not None and len(self._queue) < self._capacity:
                self._queue.append((table, row))
            else:
                self._lose(1)
            if len(self._queue) in (1, self._batch):
                self._changed.notify_all()

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a deadline is an answer here: False
        """Wait until all that was recorded so far is committed; False if it was not within `timeout` seconds."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._committed()), timeout)
        except TimeoutError:
            return False

    def wait(self, timeout: float | None = None) -> bool:
        """`flush` for code without an event loop."""
        future = self._committed()
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            return False

    def close(self, timeout: float = 5.0) -> int:
        """Commit what waits, for at most `timeout` seconds, and end. Returns how many records could not be written."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._deadline = self._timer() + timeout
            self._changed.notify_all()
        atexit.unregister(self.close)
        # A commit that hangs in the file system must not hang the exit too; SQLite's own wait is a second.
        self._thread.join(timeout + 2.0)
        return self.pending

    @contextmanager
    def unopened(self) -> Iterator[None]:
        """Meanwhile its file is not open and nothing is committed: for a moment at which the process forks.

        https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
        """
        with self._at_file:
            self._disconnect()
            yield

    @property
    def acknowledged(self) -> int:
        """The `seq` of the last call whose commit returned; 0 before the first."""
        return self._seq[CALLS]

    @property
    def pending(self) -> int:
        """How many records are not committed (yet)."""
        with self._changed:
            return self._accepted - self._settled

    @property
    def lost(self) -> int:
        """How many records are lost for good so far; the ledger itself has the number in its gap records."""
        return self._lost

    # --- the thread ---------------------------------------------------------------------------------------------

    def _committed(self) -> Future[bool]:
        """A future that comes true when everything accepted so far is committed, and false if it never will be."""
        future: Future[bool] = Future()
        with self._changed:
            if self._accepted == self._settled or not self._thread.is_alive():
                future.set_result(self._accepted == self._settled)
            else:
                self._waiting.append((self._accepted, future))
                self._changed.notify_all()
        return future

    def _lose(self, count: int) -> None:
        """Count records that cannot be kept, at their place in the queue. Holds the lock already."""
        now = self._clock()
        self._lost += count
        if self._queue and isinstance(last := self._queue[-1], _Gap):
            last.count += count
            last.until = now
        else:
            self._queue.append(_Gap(count, now, now))

    def _run(self) -> None:
        changed = self._changed
        while True:
            with changed:
                changed.wait_for(lambda: self._queue or self._closing)
                items = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch))]
            if not items or not self._write(items):
                break
            with changed:
                changed.wait_for(
                    lambda: self._closing or self._waiting or len(self._queue) >= self._batch, self._interval
                )
        self._disconnect()
        with changed:
            waiting, self._waiting = self._waiting, []
            left = self._accepted - self._settled
        _tell(waiting, answer=False)
        if left:
            log.error("the ledger %s was closed with %d records that could not be written", self.path, left)

    def _write(self, items: list[Placed | _Gap]) -> bool:
        """Commit the batch, however long that takes; False if the ledger was closed and its deadline is over."""
        rows: list[Placed] = []
        pause = FIRST_BACKOFF
        while True:
            try:
                rows = rows or self._sealed(items)
                with self._at_file:
                    self._attempt(rows)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it, or all is lost
                self._unsure = True
                if not (isinstance(error, sqlite3.Error) and is_busy(error)):
                    self._disconnect()
                self._complain(error, waiting=len(items) + len(self._queue))
            with self._changed:
                self._changed.wait_for(lambda: self._closing, pause)
                if self._closing:
                    if self._timer() >= self._deadline:
                        return False
                    self._changed.wait(min(pause, 0.05))
            pause = min(pause * 2, LONGEST_BACKOFF)
        self._settle(items, rows)
        return True

    def _sealed(self, items: list[Placed | _Gap]) -> list[Placed]:
        """The batch in its place in the chains. The same batch gives the same rows, hence a retry knows its own."""
        placed: list[Placed] = []
        seqs, heads = dict(self._seq), dict(self._head)
        for item in items:
            table = CALLS if isinstance(item, _Gap) else item[0]
            seq = seqs[table] = seqs[table] + 1
            row = self._gap_row(item, seq) if isinstance(item, _Gap) else item[1]
            row = table.seal(row, writer=self.writer, seq=seq, prev_hash=heads[table])
            heads[table] = str(row[-1])
            placed.append((table, row))
        return placed

    def _gap_row(self, gap: _Gap, seq: int) -> Row:
        since, until = utc_text(gap.since), utc_text(gap.until)
        loss = {"class": "dropped", "reason": "gap", "count": gap.count, "since": since, "until": until}
        return storable(
            Record(
                id=f"gap-{self.writer[:8]}-{seq}",
                started_at=since,
                finished_at=until,
                entrance=GAP_ENTRANCE,
                method="",
                host="",
                path="",
                endpoint="other",
                outcome="error",
                losses=orjson.dumps([loss]).decode(),
            )
        )

    def _attempt(self, placed: list[Placed]) -> None:
        """Commit the rows once. Raises sqlite3.Error, OSError or LedgerError."""
        if self._connection is not None and self._file != _identity(self.path):
            # Somebody removed or replaced the file: what we still write to has no name any more.
            self._disconnect()
        connection = self._connection or self._reconnect()
        if self._unsure:
            # An earlier commit failed aloud; it may have succeeded all the same.
            table, row = placed[-1]
            last = connection.execute(
                f"SELECT hash FROM {table.name} WHERE writer = ? AND seq = ?",  # noqa: S608 - our table
                (self.writer, row[1]),
            ).fetchone()
            if last == (row[-1],):
                return
        with transaction(connection):
            for table in TABLES:
                if rows := [row for of, row in placed if of is table]:
                    connection.executemany(INSERT[table.name], rows)

    def _reconnect(self) -> sqlite3.Connection:
        """Open the file again, which may be a new one: the chain goes on, and `verify` names what is missing in it."""
        connection = open_for_writing(self.path, connect=self._connect)
        try:
            known = connection.execute("SELECT 1 FROM writers WHERE writer = ?", (self.writer,)).fetchone()
            if known is None:
                register(connection, self.writer, opened_at=utc_text(self._clock()), version=__version__)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, _identity(self.path)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("the ledger %s did not close well: %s", self.path, error)

    def _settle(self, items: list[Placed | _Gap], placed: list[Placed]) -> None:
        """The commit returned: the rows are acknowledged, and whoever waited for them is told."""
        self._unsure = False
        with self._changed:
            for table, row in placed:
                self._seq[table], self._head[table] = int(row[1] or 0), str(row[-1])
            self._settled += sum(item.count if isinstance(item, _Gap) else 1 for item in items)
            settled = self._settled
            done = [waiter for waiter in self._waiting if waiter[0] <= settled]
            self._waiting = [waiter for waiter in self._waiting if waiter[0] > settled]
        if self._announced:
            self._announced = False
            log.warning("the ledger %s is written again", self.path)
        if self._on_commit is not None:
            try:
                self._on_commit(self._seq[CALLS])
            except Exception:  # somebody else's fault must not end the ledger's thread
                log.exception("the ledger's on_commit failed")
        _tell(done, answer=True)

    def _complain(self, error: Exception, *, waiting: int) -> None:
        """Say loudly that records wait, at most once a minute."""
        now = self._timer()
        if now - self._complained < COMPLAIN_EVERY:
            return
        self._complained = now
        self._announced = True
        log.error(
            "the ledger %s cannot be written (%s): traffic goes on, %d records wait in memory, %d are lost",
            self.path,
            error,
            waiting,
            self._lost,
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file the path names; None if it names none (any more)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _tell(waiting: list[tuple[int, Future[bool]]], *, answer: bool) -> None:
    for _, future in waiting:
        if future.set_running_or_notify_cancel():
            future.set_result(answer)
