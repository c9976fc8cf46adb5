"""The sink that is a PostgreSQL database: one connection, one transaction a batch.

By COPY, which costs the server a third of what INSERT does. A batch whose commit was not heard of has to come again
without being there twice: then COPY fails as a whole, and INSERT … ON CONFLICT DO NOTHING follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import replace

import asyncpg

from interpose.ledger.address import Database
from interpose.ledger.record import TABLES, LedgerError, Row, Table
from interpose.ledger.sink import Placed, Writer

from . import schema
from .connecting import ANSWER, Aside, connect, lasting, told

log = logging.getLogger(__name__)

# A start may wait so long for the database; then it is away.
START = 2.0


def _insert(table: Table) -> str:
    arrays = ", ".join(
        f"${place}::{schema.SQL_TYPES[table.types[name]]}[]" for place, name in enumerate(table.columns, 1)
    )
    return (
        f"INSERT INTO {table.name} ({table.listed}) SELECT * FROM unnest({arrays})"  # noqa: S608 - our table
        " ON CONFLICT (writer, seq) DO NOTHING"
    )


_INSERT = {table: _insert(table) for table in TABLES}
_SAME = {
    table: "SELECT count(*) FROM unnest($1::text[], $2::bigint[], $3::text[]) AS ours (writer, seq, hash)"  # noqa: S608 - our table
    f" JOIN {table.name} USING (writer, seq, hash)"
    for table in TABLES
}
_ENTER = "INSERT INTO writers VALUES ($1, $2, $3, $4) ON CONFLICT (writer) DO NOTHING"


Part = tuple[Table, Sequence[Row]]
Put = Callable[[asyncpg.Connection, Table, Sequence[Row]], Awaitable[None]]


async def _copy(connection: asyncpg.Connection, table: Table, rows: Sequence[Row]) -> None:
    await connection.copy_records_to_table(table.name, records=rows, columns=table.columns)


class Failed(Exception):
    """What went wrong, in words that repeat nothing secret."""


class PostgresSink:
    """The database `at`."""

    def __init__(self, at: Database) -> None:
        self._at = at
        self._aside: Aside | None = None
        self._connection: asyncpg.Connection | None = None
        self._entered: set[str] = set()
        self._under_way: Future[None] | None = None

    @property
    def name(self) -> str:
        return str(self._at)

    def open(self, writer: Writer) -> Writer | None:
        try:
            return self._loop().run(self._open(writer))
        except asyncpg.UniqueViolationError as error:
            self.close()
            raise LedgerError(
                f"the ledger {self.name} knows the writer {writer.writer} already: a writer id is used once"
            ) from error
        except Exception as error:
            if lasting(error):
                self.close()
                if isinstance(error, LedgerError):
                    raise
                raise LedgerError(f"the ledger {self.name} cannot be opened: {told(error)}") from error
            log.warning("the ledger %s is away (%s): records wait here until it is back", self.name, told(error))
            return None

    async def _open(self, writer: Writer) -> Writer:
        async with asyncio.timeout(START):
            connection = await self._connected()
            try:
                heads = await schema.enter(connection, writer)
            except BaseException:
                self._disconnect()
                raise
        self._entered.add(writer.writer)
        return replace(writer, heads=heads)

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Raises Failed."""
        if (before := self._under_way) is not None:
            # Whatever became of it, this batch contains it: what is there already stays.
            if wait_for([before], patience).not_done:
                return False
            self._under_way = None
        work = self._under_way = self._loop().submit(self._write(writer, rows))
        if wait_for([work], patience).not_done:
            return False
        self._under_way = None
        try:
            work.result()
        except (Exception, CancelledError) as error:
            raise Failed(told(error)) from error
        return True

    async def _write(self, writer: Writer, rows: Sequence[Placed]) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                connection = await self._connected()
                parts = [(table, [row for of, row in rows if of is table]) for table in TABLES]
                parts = [(table, of_table) for table, of_table in parts if of_table]
                try:
                    await self._commit(connection, writer, parts, _copy)
                except asyncpg.UniqueViolationError:
                    await self._commit(connection, writer, parts, self._insert)
                self._entered.add(writer.writer)
        except BaseException:
            self._disconnect()
            raise

    async def _commit(self, connection: asyncpg.Connection, writer: Writer, parts: Sequence[Part], put: Put) -> None:
        if writer.writer in self._entered and len(parts) == 1:
            await put(connection, *parts[0])  # a transaction by itself
            return
        async with connection.transaction():
            await connection.execute(_ENTER, *writer.told().values())
            for table, of_table in parts:
                await put(connection, table, of_table)

    async def _insert(self, connection: asyncpg.Connection, table: Table, rows: Sequence[Row]) -> None:
        columns = list(zip(*rows, strict=True))
        status = await connection.execute(_INSERT[table], *columns)
        if int(status.rpartition(" ")[2]) == len(rows):
            return
        same = await connection.fetchval(_SAME[table], columns[0], columns[1], columns[-1])
        if same != len(rows):
            log.error(
                "the ledger %s holds other records in the place of %d of ours (writer %s): somebody has put them there",
                self.name,
                len(rows) - same,
                rows[0][0],
            )

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._entered.clear()
            connection = await connect(self._at)
            try:
                await schema.prepare(connection, self.name)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def close(self) -> None:
        aside, self._aside, self._under_way = self._aside, None, None
        if aside is not None:
            wait_for([aside.submit(self._bye())], 2)
            aside.close()

    def _loop(self) -> Aside:
        """Where the connection lives: begun anew after a close, since the process may have forked meanwhile."""
        if self._aside is None:
            self._aside = Aside("ledger-postgres")
        return self._aside

    async def _bye(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=1)
            except Exception:  # noqa: BLE001 - whatever it is: nothing is to be saved of it
                connection.terminate()
