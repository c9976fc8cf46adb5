"""The ledger as an SQLite file: its tables, its version, who may read it, and the heads of its chains.

Tables `calls`, `connections` and `captures` with the columns of `Record`, `Connection` and `Capture`, and `writers`
with a row per process that ever wrote. Nothing here batches or retries; that is `writer.py`.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from .record import TABLES, LedgerError, Table, canonical_heads, tables_of

# 2: with `connections`. 3: with `captures`. 4: with `cuts`.
VERSION = 4
# "intp": lets file(1) and us tell a ledger from somebody else's database.
APPLICATION_ID = 0x696E7470
# An empty ledger and its log take this much.
LEAST_SPACE = 128 * 1024

Connect = Callable[..., sqlite3.Connection]

_SQL_TYPES = {
    "str": "TEXT NOT NULL",
    "str | None": "TEXT",
    "int": "INTEGER NOT NULL",
    "int | None": "INTEGER",
    "bool": "INTEGER NOT NULL",
    "float | None": "REAL",
    "bytes | None": "BLOB",
}


def _table_ddl(table: Table) -> str:
    columns = ", ".join(f"{name} {_SQL_TYPES[table.types[name]]}" for name in table.columns)
    return f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY (writer, seq))"


_CALLS, _CONNECTIONS, _CAPTURES = TABLES
# What brings a file to each version from the one before it; 0 is an empty file.
_STEPS: dict[int, tuple[str, ...]] = {
    1: (
        _table_ddl(_CALLS),
        "CREATE INDEX calls_by_start ON calls (started_at)",
        "CREATE TABLE writers (writer TEXT PRIMARY KEY, opened_at TEXT NOT NULL, version TEXT NOT NULL,"
        " heads TEXT NOT NULL)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    2: (_table_ddl(_CONNECTIONS), "CREATE INDEX connections_by_opening ON connections (opened_at)"),
    3: (_table_ddl(_CAPTURES), "CREATE INDEX captures_by_call ON captures (id)"),
    # What retention has deleted, a chain of its own.
    4: (
        "CREATE TABLE cuts (number INTEGER PRIMARY KEY, at TEXT NOT NULL, cut TEXT NOT NULL, met TEXT NOT NULL,"
        " bodies TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL)",
    ),
}

# What is there already stays: the same batch may come again after a commit that failed aloud and succeeded.
INSERT = {
    table.name: f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(table.columns))})"  # noqa: S608 - question marks only
    " ON CONFLICT (writer, seq) DO NOTHING"
    for table in TABLES
}
ENTER = "INSERT INTO writers VALUES (?, ?, ?, ?) ON CONFLICT (writer) DO NOTHING"


def open_for_writing(path: Path, *, connect: Connect = sqlite3.connect, busy_ms: int = 1000) -> sqlite3.Connection:
    """A connection to the ledger at `path`, created with mode 0600 (its folder with 0700) if there is none.

    In WAL mode with synchronous=FULL: what a commit has acknowledged survives a kill -9 and a power cut; at ten
    commits a second the fsync costs nothing that anybody waits for (https://www.sqlite.org/pragma.html#pragma_synchronous).
    (A disk whose fsync takes longer than 100 ms stretches what a kill -9 may lose beyond 200 ms by as much.)
    Raises LedgerError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be opened for writing: {error.strerror or error}") from error
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(path, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False)
        _prepare(connection, path, attempts=10)
    except (sqlite3.Error, LedgerError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, LedgerError):
            raise
        # SQLite calls a full disk an I/O error where it cannot make its log.
        why = "no space left on the disk" if shutil.disk_usage(path.parent).free < LEAST_SPACE else told(error)
        raise LedgerError(f"the ledger {path} cannot be opened for writing: {why}") from error
    return connection


def _make(path: Path) -> None:
    """The file, if there is none. SQLite would create it by the umask; -wal and -shm take the mode of the file.

    One that is there is looked at and not opened: closing it again would drop the locks that other connections of this
    process hold (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def _prepare(connection: sqlite3.Connection, path: Path, *, attempts: int) -> None:
    """Bring a fresh connection into WAL mode and the file to our schema."""
    if check_version(connection, path) == 0:
        # A new one can give back what retention frees; it has to be said before there is a table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for left in reversed(range(attempts)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # Turning to WAL does not always wait for the busy handler: two processes that create one file collide.
            if not is_busy(error) or left == 0:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL")
    with transaction(connection):
        bring_up_to_date(connection, check_version(connection, path))


def bring_up_to_date(connection: sqlite3.Connection, version: int = 0) -> None:
    """From that version to ours."""
    for later in range(version + 1, VERSION + 1):
        for statement in (*_STEPS[later], f"PRAGMA user_version = {later}"):
            connection.execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction. IMMEDIATE: the lock is waited for at its beginning, where waiting cannot deadlock."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk or an I/O error may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection to an existing ledger. Raises LedgerError if there is none, or none of ours.

    A reader of a WAL database has to write beside it (https://www.sqlite.org/wal.html#read_only_databases). Where we
    may not, nobody of our rights can be writing: the file is read as one that does not change, if all is in it.
    """
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {path}: nothing has been recorded there yet, or it is elsewhere")
    try:
        try:
            connection = _reader(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not _cannot_write_beside(error):
                raise
            if _has_content(path.with_name(path.name + "-wal")):
                raise LedgerError(
                    f"the ledger {path} cannot be read where it is: its last records are in {path.name}-wal, and"
                    " merging them needs a folder that can be written; copy both files to one"
                ) from error
            connection = _reader(path, "mode=ro&immutable=1")
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"the ledger {path} cannot be read: {told(error)}") from error
    # A tampered file may hold text that is no UTF-8: it must be read to be named.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _reader(path: Path, options: str) -> sqlite3.Connection:
    # Whichever thread asks: one at a time does.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, timeout=5, isolation_level=None, check_same_thread=False
    )
    try:
        if check_version(connection, path) == 0:
            raise LedgerError(f"the ledger {path} has no tables yet: nothing has been recorded there")
    except BaseException:
        connection.close()
        raise
    return connection


def _cannot_write_beside(error: sqlite3.Error) -> bool:
    """https://www.sqlite.org/rescode.html: read-only, or a file that cannot be opened (the -shm)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The file's schema version, 0 for an empty file. Raises LedgerError for a newer one or a stranger's database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise LedgerError(f"{path} is an SQLite database of something else: give the ledger a file of its own")
    if version > VERSION:
        raise LedgerError(
            f"the ledger {path} was written by a newer interpose (schema {version}, this one knows {VERSION}): "
            "upgrade interpose, or give the ledger another file"
        )
    return int(version)


def tables_in(connection: sqlite3.Connection) -> list[Table]:
    """The tables of records that the file has: one of an older version lacks the later ones."""
    return tables_of(version_of(connection))


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection held the lock: nothing is wrong with this one."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def told(error: Exception) -> str:
    """What SQLite says, and what to do about a file that is spoiled (https://www.sqlite.org/rescode.html#corrupt)."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{error}: move it away, and a new one is begun; `sqlite3 FILE .recover` saves what can be saved"
    return str(error) or type(error).__name__


def readable_by_others(path: Path) -> bool:
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def tips(connection: sqlite3.Connection) -> dict[str, str]:
    """{chain: hash of its last record}, as `unnamed` leaves them."""

    def ends() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        for writer, seen in connection.execute("SELECT writer, heads FROM writers").fetchall():
            found: dict[str, str] = {}
            for table in TABLES:
                last = connection.execute(
                    f"SELECT hash FROM {table.name} WHERE writer = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - our tables
                    (writer,),
                ).fetchone()
                if last is not None:
                    found[table.chain(writer)] = last[0]
            yield found, parse_heads(seen)

    return unnamed(ends())


def unnamed(writers: Iterable[tuple[Mapping[str, str], Mapping[str, str]]]) -> dict[str, str]:
    """Of each writer the heads of its chains and those that it has named: the heads that no writer with records names.

    As the tips of a git history do, they fix all that lies behind them: a head that is left out is fixed by a chain
    that is not. Naming every head again would grow with the square of the restarts.
    """
    heads: dict[str, str] = {}
    named: set[tuple[str, str]] = set()
    for found, seen in writers:
        if found:
            heads.update(found)
            named.update(seen.items())
    return {chain: last for chain, last in heads.items() if (chain, last) not in named}


def parse_heads(text: str) -> dict[str, str]:
    """The {writer: hash} of a `heads` column; empty if it was tampered with beyond reading (`verify` says so)."""
    try:
        heads = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError):
        return {}
    return {str(writer): str(last) for writer, last in heads.items()} if isinstance(heads, dict) else {}


def register(connection: sqlite3.Connection, writer: str, *, opened_at: str, version: str) -> str:
    """Enter a new writer and return the JSON of the heads it found. Raises sqlite3.IntegrityError if it is known."""
    with transaction(connection):
        heads = canonical_heads(tips(connection)).decode()
        connection.execute("INSERT INTO writers VALUES (?, ?, ?, ?)", (writer, opened_at, version, heads))
    return heads
