"""How a ledger is read, whatever it is: one state of it, asked in SQL that SQLite and PostgreSQL both understand.

Arguments are written `?`; what differs is in `dialects`. A JSONL file is read into an SQLite database in memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Protocol, Self

from interpose.rules.sinks import SinkFile

from . import cuts
from .address import Database, Readable
from .dialects import SQLITE, Dialect, Piece
from .record import TABLES, LedgerError, Table
from .schema import open_for_reading, tables_in, told, version_of

# Behind every text, as SQLite and PostgreSQL (collation C) compare them.
_LAST = "\U0010ffff"
# Rows that SQLite groups at once.
_BLOCK = 10_000
# Threads that read at once, and the pieces from which on they do.
_THREADS = 4
_WORTHWHILE = 4


def named_from(name: str) -> tuple[str, str]:
    """Between which two texts the names lie that begin with `name`: from the first on, before the second one. Several
    workers of one run have names that begin alike.
    """
    return name, name + _LAST


class Source(AbstractContextManager["Source"], Protocol):
    """A ledger, open for reading. Everything raises LedgerError."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def version(self) -> int:
        """Of the tables."""
        ...

    def tables(self) -> list[Table]:
        """The tables of records that there are: a ledger of an older version lacks the later ones."""
        ...

    def rows(self, sql: str, *arguments: object) -> Iterator[tuple[Any, ...]]: ...

    def pieces(self, conditions: Sequence[str], arguments: Sequence[object]) -> Iterator[Piece]:
        """The parts in which `calls` is best read if it is read as a whole, as far as these conditions reach."""
        ...

    def each(self, sql: str, several: Sequence[Sequence[object]]) -> Iterator[Iterable[tuple[Any, ...]]]:
        """The rows of one statement for each of several lists of arguments, in their order."""
        ...


def open_source(place: Readable, tables: Sequence[Table] = TABLES) -> Source:
    """Raises LedgerError if there is none, or none of ours. Who needs some `tables` alone may find others empty."""
    match place:
        case Path():
            return SqliteSource(open_for_reading(place), str(place), partial(open_for_reading, place))
        case SinkFile(kind="sqlite", path=path):
            return SqliteSource(open_for_reading(path), str(path), partial(open_for_reading, path))
        case SinkFile(path=path):
            from .jsonl import read

            return SqliteSource(read(path, tables), str(path))
        case Database():
            from .postgres.source import PostgresSource

            return PostgresSource(place)


def missing(place: Readable) -> bool:
    """Whether it is a file that is not there (yet)."""
    if isinstance(place, SinkFile) and place.kind == "jsonl":
        from .parts import there

        return not there(place.path)
    path = place.path if isinstance(place, SinkFile) else place
    return isinstance(path, Path) and not path.exists()


class SqliteSource:
    """A connection to an SQLite database that holds a ledger; closed with the source. `again` makes another one."""

    dialect = SQLITE

    def __init__(
        self, connection: sqlite3.Connection, name: str, again: Callable[[], sqlite3.Connection] | None = None
    ) -> None:
        self._connection = connection
        self._name = name
        self._again = again

    def __enter__(self) -> Self:
        try:
            self._connection.execute("BEGIN")  # one state of the file, while others go on writing
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def version(self) -> int:
        return version_of(self._connection)

    def tables(self) -> list[Table]:
        return tables_in(self._connection)

    def rows(self, sql: str, *arguments: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(sql, arguments)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def pieces(self, conditions: Sequence[str], arguments: Sequence[object]) -> Iterator[Piece]:
        """As they lie, by row number: a group of so few rows is sorted within the processor's cache."""
        where = " AND ".join(conditions) or "1 = 1"
        ((first, last),) = self.rows(f"SELECT min(rowid), max(rowid) FROM calls WHERE {where}", *arguments)  # noqa: S608
        begin = first
        while begin is not None:
            end = min(begin + _BLOCK - 1, last)
            yield Piece("rowid BETWEEN ? AND ?", (begin, end), (end - first + 1) / (last - first + 1))
            # Retention leaves holes.
            ((begin,),) = self.rows("SELECT min(rowid) FROM calls WHERE rowid > ? AND rowid <= ?", end, last)

    def each(self, sql: str, several: Sequence[Sequence[object]]) -> Iterator[list[tuple[Any, ...]]]:
        """With several threads, each by a connection of its own, if that is worth it.

        They may begin with later states of the file than ours. Records are never changed, later ones are not asked for,
        and what retention has deleted meanwhile is on its way out: nothing else can differ.
        """
        count = min(_THREADS, os.process_cpu_count() or 1)
        if self._again is None or count == 1 or len(several) < _WORTHWHILE:
            for arguments in several:
                yield list(self.rows(sql, *arguments))
            return
        with ExitStack() as stack, ThreadPoolExecutor(count, "ledger-read") as pool:
            stack.callback(pool.shutdown, cancel_futures=True)
            idle: SimpleQueue[SqliteSource] = SimpleQueue()
            for _ in range(count):
                idle.put(stack.enter_context(SqliteSource(self._again(), self._name)))

            def answer(arguments: Sequence[object]) -> list[tuple[Any, ...]]:
                reader = idle.get()
                try:
                    return list(reader.rows(sql, *arguments))
                finally:
                    idle.put(reader)

            # Some ahead, not all: what is not taken yet is held in memory.
            ahead: deque[Future[list[tuple[Any, ...]]]] = deque()
            for arguments in several:
                ahead.append(pool.submit(answer, arguments))
                if len(ahead) > 2 * count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _unreadable(self, error: sqlite3.Error) -> LedgerError:
        return LedgerError(f"the ledger {self._name} cannot be read: {told(error)}")


def cuts_in(source: Source) -> list[cuts.CutRow]:
    """What retention says that it has deleted, in its order; nothing in a ledger of an older version."""
    if source.version < cuts.SINCE:
        return []
    return [(*row,) for row in source.rows(f"{cuts.SELECT} ORDER BY number")]
