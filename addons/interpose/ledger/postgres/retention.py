"""Retention in a PostgreSQL database: one process of all machines at a time, by an advisory lock of its session."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from itertools import count as counting
from typing import Any

import asyncpg

from interpose.ledger.address import Database
from interpose.ledger.cuts import CutRow
from interpose.ledger.pruning import Taken
from interpose.ledger.record import LedgerError

from . import schema
from .connecting import Aside, Session, connect, told

# "intq": who prunes holds it.
LOCK = schema.LOCK + 1


class PostgresStore(Session):
    """The database `at`."""

    def __init__(self, at: Database) -> None:
        self._at = at
        self._aside = Aside("ledger-prune")
        try:
            self._connection: asyncpg.Connection = self._run(self._open())
        except BaseException:
            self._aside.close()
            raise

    async def _open(self) -> asyncpg.Connection:
        connection = await connect(self._at)
        try:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise Taken
            await schema.prepare(connection, str(self._at))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self._run(self._fetch(_numbered(sql), arguments))

    async def _fetch(self, sql: str, arguments: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(sql, *arguments, timeout=600)]

    def cut(self, row: CutRow, statement: str, *arguments: object, count: int) -> None:
        self._run(self._cut(row, _numbered(statement), arguments, count))

    async def _cut(self, row: CutRow, statement: str, arguments: tuple[object, ...], count: int) -> None:
        async with self._connection.transaction():
            await self._connection.execute("INSERT INTO cuts VALUES ($1, $2, $3, $4, $5, $6, $7)", *row)
            status = await self._connection.execute(statement, *arguments, timeout=60)
            if int(status.rpartition(" ")[2]) != count:
                raise Taken

    def shrink(self) -> bool:
        """The server's own autovacuum does."""
        return False

    def _run[T](self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._aside.run(work)
        except asyncpg.UniqueViolationError as error:
            raise Taken from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise LedgerError(
                f"retention may not delete in the ledger {self._at} ({told(error)}): its user needs DELETE on calls,"
                " connections and captures, UPDATE on captures, and INSERT on cuts"
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LedgerError(f"retention cannot work on the ledger {self._at}: {told(error)}") from error


def _numbered(sql: str) -> str:
    numbers = counting(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", sql)
