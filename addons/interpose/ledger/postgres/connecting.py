"""A connection to the database, and the thread with an event loop in which it lives: not the engine's, which must not
wait for a database's bytes to be taken apart, and not the caller's, who need not have one.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import asyncpg

from interpose.ledger.address import Database
from interpose.ledger.record import LedgerError

CONNECT = 5.0
# What a query may take that writes a batch: a database that does not answer for so long is away.
ANSWER = 10.0

# What ends by waiting, by the class of its SQLSTATE: connections, transactions that met or must not write (a standby),
# resources, an operator's doing, systems. https://www.postgresql.org/docs/current/errcodes-appendix.html
_PASSING = frozenset(("08", "25", "40", "53", "55", "57", "58"))


class Aside:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._end = asyncio.Event()
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(ready)), name=name, daemon=True)
        self._thread.start()
        self._loop = ready.result()

    async def _live(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        ready.set_result(asyncio.get_running_loop())
        await self._end.wait()

    def submit[T](self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.submit(work).result()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)


class Session:
    """A connection with a thread of its own, both closed at the end of a `with`. Whoever is one opens them."""

    _aside: Aside
    _connection: asyncpg.Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._aside.run(self._close())
        finally:
            self._aside.close()

    async def _close(self) -> None:
        try:
            await self._connection.close(timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()


async def connect(at: Database, timeout: float = CONNECT) -> asyncpg.Connection:  # noqa: ASYNC109 - a driver's own
    """Raises OSError (TimeoutError among them) and asyncpg's errors."""
    url = at.url
    connection = await asyncpg.connect(
        host=url.socket if url.host is None else url.host,
        port=url.port,
        user=url.user,
        password=at.password,
        database=url.database,
        ssl=None if url.host is None else _tls(at),
        timeout=timeout,
        command_timeout=ANSWER,
        server_settings={"application_name": "interpose"},
    )
    try:
        # A database that acknowledges what a crash of it would lose is told not to, for us.
        if await connection.fetchval("SELECT current_setting('synchronous_commit')") == "off":
            await connection.execute("SET synchronous_commit = on")
    except BaseException:
        connection.terminate()
        raise
    return connection


def _tls(at: Database) -> Any:
    mode = at.url.sslmode or "prefer"
    if mode == "disable":
        return False
    if mode in ("prefer", "require"):
        return mode
    context = ssl.create_default_context(cafile=at.ca)
    context.check_hostname = mode == "verify-full"
    return context


def lasting(error: BaseException) -> bool:
    """Whether it takes somebody to repair it, rather than time."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "08")[:2] not in _PASSING
    # What asyncpg says where TLS is required and the server has none: a bare ConnectionError.
    return isinstance(error, (ssl.SSLError, LedgerError)) or type(error) is ConnectionError


def told(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    text = " ".join((error.args[0] if error.args and isinstance(error.args[0], str) else str(error)).split())
    return text or type(error).__name__
