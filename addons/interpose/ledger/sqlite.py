"""The sink that is an SQLite file on this machine: one connection, one transaction a batch."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .record import TABLES, LedgerError
from .schema import ENTER, INSERT, Connect, is_busy, open_for_writing, readable_by_others, register, told, transaction
from .sink import Placed, Writer, identity

log = logging.getLogger(__name__)

# Another process commits in less; one that holds the lock for longer is worth a word.
HELD_LONG = 1.0


class SqliteSink:
    """The file at `path`, made if there is none."""

    def __init__(self, path: Path, *, connect: Connect = sqlite3.connect) -> None:
        self.path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._entered: set[str] = set()
        # Since when another process holds the lock, by the monotonic clock.
        self._busy: float | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    def open(self, writer: Writer) -> Writer | None:
        try:
            connection = open_for_writing(self.path, connect=self._connect)
        except LedgerError as error:
            if isinstance(error.__cause__, sqlite3.Error) and is_busy(error.__cause__):
                self._say_locked()
                return None
            raise
        try:
            heads = register(connection, writer.writer, opened_at=writer.opened_at, version=writer.version)
        except sqlite3.IntegrityError as error:
            connection.close()
            raise LedgerError(
                f"the ledger {self.path} knows the writer {writer.writer} already: a writer id is used once"
            ) from error
        except sqlite3.Error as error:
            connection.close()
            if is_busy(error):
                self._say_locked()
                return None
            raise LedgerError(f"the ledger {self.path} cannot be written: {told(error)}") from error
        if readable_by_others(self.path):
            log.warning(
                "the ledger %s can be read by other users of this machine (chmod 600 would end that)", self.path
            )
        self._connected(connection)
        self._entered.add(writer.writer)
        return replace(writer, heads=heads)

    def _say_locked(self) -> None:
        """A backup, perhaps: it will be done some time."""
        log.warning("the ledger %s is locked by another process: records wait until it is free", self.path)

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Raises sqlite3.Error or LedgerError."""
        if self._connection is not None and self._file != identity(self.path):
            # Somebody removed or replaced the file: what we still write to has no name any more.
            self.close()
        try:
            connection = self._connection or self._connected(open_for_writing(self.path, connect=self._connect))
            connection.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
            self._write(connection, writer, rows)
        except Exception as error:
            if not (isinstance(error, sqlite3.Error) and is_busy(error)):
                self.close()
                raise LedgerError(told(error)) from error
            # Others write the file, too: that becomes an error only if one of them does not get done.
            self._busy = self._busy or time.monotonic()
            if time.monotonic() - self._busy < HELD_LONG:
                return False
            raise
        self._busy = None
        return True

    def _write(self, connection: sqlite3.Connection, writer: Writer, rows: Sequence[Placed]) -> None:
        with transaction(connection):
            if writer.writer not in self._entered:
                connection.execute(ENTER, (writer.writer, writer.opened_at, writer.version, writer.heads))
            for table in TABLES:
                if of_table := [row for of, row in rows if of is table]:
                    connection.executemany(INSERT[table.name], of_table)
        self._entered.add(writer.writer)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("the ledger %s did not close well: %s", self.path, error)

    def _connected(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """It may be a new file: the chain goes on there, and `verify` names what is missing in it."""
        self._connection, self._file = connection, identity(self.path)
        self._entered.clear()
        return connection
