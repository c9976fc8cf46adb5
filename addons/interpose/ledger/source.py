"""How a ledger is read, whatever it is: one state of it, asked in SQL that SQLite and PostgreSQL both understand.

Arguments are written `?`. What differs is a `Dialect`'s. A JSONL file is read into an SQLite database in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from interpose.rules.sinks import SinkFile

from .address import Database, Readable
from .record import LedgerError, Table
from .schema import open_for_reading, tables_in, version_of


@dataclass(frozen=True, slots=True)
class Dialect:
    """`legs`, beside `calls` in a FROM, are the attempts of each, as `leg.value`."""

    legs: str


SQLITE = Dialect("json_each(attempts) AS leg")
POSTGRES = Dialect("json_array_elements(attempts::json) AS leg (value)")


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


def open_source(place: Readable) -> Source:
    """Raises LedgerError if there is none, or none of ours."""
    match place:
        case Path():
            return SqliteSource(open_for_reading(place), str(place))
        case SinkFile(kind="sqlite", path=path):
            return SqliteSource(open_for_reading(path), str(path))
        case SinkFile(path=path):
            from .jsonl import read

            return SqliteSource(read(path), str(path))
        case Database():
            from .postgres.source import PostgresSource

            return PostgresSource(place)


def missing(place: Readable) -> bool:
    """Whether it is a file that is not there (yet)."""
    path = place.path if isinstance(place, SinkFile) else place
    return isinstance(path, Path) and not path.exists()


class SqliteSource:
    """A connection to an SQLite database that holds a ledger; closed with the source."""

    dialect = SQLITE

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

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

    def _unreadable(self, error: sqlite3.Error) -> LedgerError:
        return LedgerError(f"the ledger {self._name} cannot be read: {error}")
