"""A PostgreSQL ledger that is read: one snapshot, by a connection and a thread of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, count
from typing import Any

import asyncpg

from interpose.ledger.address import Database
from interpose.ledger.dialects import POSTGRES, Piece
from interpose.ledger.record import LedgerError, Table, tables_of

from . import schema
from .connecting import Aside, Session, connect, told

# Rows that are fetched at once; of those with bodies as many as have about so many bytes.
_BLOCK = 2000
_BYTES = 8 << 20


class PostgresSource(Session):
    """Whatever fails is a LedgerError that names the database."""

    dialect = POSTGRES

    def __init__(self, at: Database) -> None:
        self._at = at
        self._aside = Aside("ledger-read")
        self._version = 0
        try:
            self._connection = self._aside.run(self._open())
        except Exception as error:
            self._aside.close()
            if isinstance(error, LedgerError):
                raise
            raise self._unreadable(error) from error

    async def _open(self) -> asyncpg.Connection:
        connection = await connect(self._at)
        try:
            self._version = await schema.check_version(connection, str(self._at))
            if self._version == 0:
                raise LedgerError(f"the ledger {self._at} has no tables yet: nothing has been recorded there")
            await connection.transaction(isolation="repeatable_read", readonly=True).start()
        except BaseException:
            connection.terminate()
            raise
        return connection

    @property
    def version(self) -> int:
        return self._version

    def tables(self) -> list[Table]:
        return tables_of(self._version)

    def rows(self, sql: str, *arguments: object) -> Iterator[tuple[Any, ...]]:
        numbers = count(1)
        sql = re.sub(r"\?", lambda _: f"${next(numbers)}", sql)
        try:
            cursor = self._aside.run(self._cursor(sql, arguments))
            most = 64
            while block := self._aside.run(cursor.fetch(most, timeout=None)):
                heavy = sum(map(_weight, chain.from_iterable(block)))
                most = max(1, most // 2) if heavy > _BYTES else min(most * 2, _BLOCK)
                for row in block:
                    yield tuple(_plain(value) for value in row)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._unreadable(error) from error

    def pieces(self, conditions: Sequence[str], arguments: Sequence[object]) -> Iterator[Piece]:
        """All at once: the database reads with several processes, and does not sort to group."""
        yield Piece("1 = 1", (), 1.0)

    def each(self, sql: str, several: Sequence[Sequence[object]]) -> Iterator[Iterable[tuple[Any, ...]]]:
        """One after the other."""
        return (self.rows(sql, *arguments) for arguments in several)

    async def _cursor(self, sql: str, arguments: tuple[object, ...]) -> Any:
        return await self._connection.cursor(sql, *arguments, timeout=_LONG)

    def _unreadable(self, error: BaseException) -> LedgerError:
        return LedgerError(f"the ledger {self._at} cannot be read: {told(error)}")


def _weight(value: Any) -> int:
    """The bytes of what may be large: a body, or many numbers."""
    kind = type(value)
    return len(value) if kind is bytes else 32 * len(value) if kind is list else 0


def _plain(value: Any) -> Any:
    """A sum of integers is a numeric in PostgreSQL."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


# Sums over millions of rows take a while.
_LONG = 600.0
