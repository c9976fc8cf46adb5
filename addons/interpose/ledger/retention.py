"""Retention: the oldest records of each chain are deleted, and what is left still verifies.

In batches, each one transaction with the row of `cuts` that says what is gone (`cuts.py`). Nothing is deleted that was
tampered with: a record that does not hold stops it, and stays as evidence. Several processes and machines may try at
once; the row's number lets one of them through. What a database has to offer for that is a `Store`: here SQLite's.
Files of JSON lines have a way of their own (`rotation.py`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeGuard

from interpose.rules.sinks import SinkFile

from . import cuts
from .address import Database, Readable
from .chains import Chain, Cut, whole
from .cuts import CutRow, Cuts
from .parts import LOCKS
from .pruning import Keep, Pause, Pruned, Store, Taken
from .record import CAPTURES, TABLES, LedgerError, Row, Table, genesis, utc_text
from .schema import is_busy, open_for_writing, parse_heads, told, transaction

log = logging.getLogger(__name__)

# So many records go by one transaction: a writer waits for it, a few hundredths of a second.
BATCH = 1000
# SQLite gives back so many free pages at once, of 4 KiB, and keeps as many for what comes next.
_PAGES = 500


def prunable(place: Readable) -> bool:
    """Files of JSON lines are taken away from whoever writes them, which takes locks."""
    return LOCKS or not _of_lines(place)


def _of_lines(place: Readable) -> TypeGuard[SinkFile]:
    return isinstance(place, SinkFile) and place.kind == "jsonl"


def open_store(place: Readable) -> Store:
    """Raises LedgerError; Taken if another process is at it."""
    match place:
        case Database():
            from .postgres.retention import PostgresStore

            return PostgresStore(place)
        case SinkFile(path=path) | path:
            return SqliteStore(path)


def prune(place: Readable, keep: Keep, *, clock: Callable[[], float], pause: Pause, batch: int = BATCH) -> Pruned:
    """Deletes what is older. Raises LedgerError; Taken if another process is at it."""
    if _of_lines(place):
        from . import rotation

        return rotation.prune(place.path, keep, clock=clock, pause=pause, batch=batch)
    done, now = Pruned(), clock()
    with open_store(place) as store:
        run = _Run(store, done, clock, pause, batch)
        if keep.bodies is not None:
            run.bodies(utc_text(now - keep.bodies))
        if keep.records is not None:
            run.records(utc_text(now - keep.records))
        while not run.stopped and (done.records or done.bodies) and store.shrink():
            run.stopped = pause()
    return done


def would_go(place: Readable, keep: Keep, *, now: float) -> Pruned:
    """What `prune` would delete, as far as nothing was tampered with. Raises LedgerError."""
    if _of_lines(place):
        from . import rotation

        return rotation.would_go(place.path, keep, now=now)
    found = Pruned()
    with open_store(place) as store:
        before = utc_text(now - keep.records) if keep.records is not None else ""
        for table, writer in _old(store, before):
            ((count,),) = store.rows(
                f"SELECT count(*) FROM {table.name} WHERE writer = ? AND seq < coalesce((SELECT min(seq) FROM"  # noqa: S608 - our tables
                f" {table.name} WHERE writer = ? AND {_moment(table)} >= ?), 9007199254740991)",
                writer, writer, before,
            )  # fmt: skip
            found.records[table.name] = found.records.get(table.name, 0) + count
        if keep.bodies is not None:
            ((found.bodies,),) = store.rows(
                "SELECT count(*) FROM captures WHERE body IS NOT NULL AND at < ?", utc_text(now - keep.bodies)
            )
    return found


def _moment(table: Table) -> str:
    return table.columns[table.moment]


def _old(store: Store, before: str) -> Iterator[tuple[Table, str]]:
    """The chains whose oldest record is older."""
    for table in TABLES:
        for (writer,) in store.rows(
            f"SELECT w.writer FROM writers AS w JOIN {table.name} AS t ON t.writer = w.writer AND t.seq ="  # noqa: S608 - our tables
            f" (SELECT min(seq) FROM {table.name} AS other WHERE other.writer = w.writer) WHERE t.{_moment(table)} < ?",
            before,
        ):
            yield table, writer


class _Run:
    """One run of retention through a ledger."""

    def __init__(self, store: Store, done: Pruned, clock: Callable[[], float], pause: Pause, batch: int) -> None:
        self._store = store
        self._done = done
        self._clock = clock
        self._pause = pause
        self._batch = batch
        self.stopped = False
        problems: list[Any] = []
        self._cuts: Cuts = cuts.read(store.rows(f"{cuts.SELECT} ORDER BY number"), problems)
        if problems:
            raise LedgerError(f"nothing is deleted: {problems[0].detail}; `interpose usage verify` says more")
        self._heads = {writer: str(seen) for writer, seen in store.rows("SELECT writer, heads FROM writers")}
        self._named: dict[str, set[str]] = {}
        for seen in self._heads.values():
            for chain, last in parse_heads(seen).items():
                self._named.setdefault(chain, set()).add(last)

    def records(self, before: str) -> None:
        for table, writer in list(_old(self._store, before)):
            while not self.stopped and self._cut(table, writer, before):
                self.stopped = self._pause()

    def _cut(self, table: Table, writer: str, before: str) -> bool:
        """Deletes a batch of a chain; False if there is no more of it."""
        name = table.chain(writer)
        known = self._cuts.by_chain.get(name)
        start = genesis(self._heads[writer].encode("utf-8", "surrogateescape"))
        chain = Chain(table, writer, start, known)
        rows = self._store.rows(
            f"SELECT {_light(table)} FROM {table.name} WHERE writer = ? ORDER BY seq LIMIT {self._batch}",  # noqa: S608 - our tables
            writer,
        )
        old = _sound_and_old(chain, rows, before)
        if chain.flawed:
            if self._store.rows("SELECT max(number) FROM cuts") != [(self._cuts.number or None,)]:
                raise Taken  # what is missing another process has deleted
            self._leave(chain)
        if not old:
            return False
        last = old[-1]
        new = Cut(whole(last[1]), str(last[-1]), start if known is None else known.start)
        named = self._named.get(name, set())
        met = sorted(named.intersection(str(row[-1]) for row in old))
        row = self._cuts.next(utc_text(self._clock()), cut={name: new}, met={name: met} if met else {})
        self._store.cut(
            row, f"DELETE FROM {table.name} WHERE writer = ? AND seq <= ?", writer, new.seq, count=len(old)  # noqa: S608 - our tables
        )  # fmt: skip
        self._cuts.add(row)
        self._done.records[table.name] = self._done.records.get(table.name, 0) + len(old)
        return len(old) == self._batch and not chain.flawed

    def _leave(self, chain: Chain) -> None:
        problem = next(chain.problems())
        log.error("retention deletes nothing from here on, so that it stays as evidence: %s", problem)
        self._done.left.append(str(problem))

    def bodies(self, before: str) -> None:
        """Drops the bodies of what is older; the rows stay, and their digests with them."""
        for (writer,) in self._store.rows("SELECT writer FROM writers"):
            after: int | None = self._cuts.bodies.get(CAPTURES.chain(writer), 0)
            while not self.stopped and after is not None:
                after = self._drop(writer, after, before)

    def _drop(self, writer: str, after: int, before: str) -> int | None:
        """Goes through a batch behind that record; gives up to where, None at the end."""
        rows = self._store.rows(
            "SELECT seq, at, body IS NOT NULL FROM captures WHERE writer = ? AND seq > ? ORDER BY seq LIMIT ?",
            writer, after, self._batch,
        )  # fmt: skip
        old = list(takewhile(lambda row: row[1] < before, rows))
        if not old:
            return None
        last = int(old[-1][0])
        if bodies := sum(bool(row[2]) for row in old):
            row = self._cuts.next(utc_text(self._clock()), bodies={CAPTURES.chain(writer): last})
            statement = "UPDATE captures SET body = NULL WHERE writer = ? AND seq > ? AND seq <= ? AND body IS NOT NULL"
            self._store.cut(row, statement, writer, after, last, count=bodies)
            self._cuts.add(row)
            self._done.bodies += bodies
            self.stopped = self._pause()
        return last if len(old) == self._batch else None


def _light(table: Table) -> str:
    """The columns of a record without its body, which no chain holds."""
    return ", ".join("NULL" if place == table.body else f'"{name}"' for place, name in enumerate(table.columns))


def _sound_and_old(chain: Chain, rows: Iterable[Row], before: str) -> Sequence[Row]:
    """The records at the beginning that are older, up to the first that does not hold."""
    old: list[Row] = []
    for row in rows:
        if str(row[chain.table.moment]) >= before:
            break
        chain.take(row)
        if chain.flawed:
            break
        old.append(row)
    return old


class SqliteStore:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise LedgerError(f"there is no ledger at {path}: nothing has been recorded there yet, or it is elsewhere")
        self._path = path
        self._connection = open_for_writing(path)
        # What was tampered with must be read to be left alone.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self._path} cannot be read: {told(error)}") from error

    def cut(self, row: CutRow, statement: str, *arguments: object, count: int) -> None:
        try:
            with transaction(self._connection):
                self._connection.execute("INSERT INTO cuts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                if self._connection.execute(statement, arguments).rowcount != count:
                    raise Taken
        except sqlite3.IntegrityError as error:
            raise Taken from error
        except sqlite3.Error as error:
            if is_busy(error):
                raise Taken from error
            raise LedgerError(f"the ledger {self._path} cannot be written: {told(error)}") from error

    def shrink(self) -> bool:
        """Only a file that was made for it can: the others use again what is free."""
        try:
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (mode,) = self._connection.execute("PRAGMA auto_vacuum").fetchone()
            if mode != 2 or free <= 2 * _PAGES:
                return False
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        except sqlite3.Error as error:
            log.info("the ledger %s could not be made smaller: %s", self._path, error)
            return False
        return True
