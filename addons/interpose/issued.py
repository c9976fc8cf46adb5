"""Virtual keys that were issued (`interpose keys`): one SQLite file in the state folder.

Only hashes are stored; a key is shown once, when it is made. A key that is revoked is refused within a second, without
a restart. Rules may list keys of their own (`clients.keys`): these are found first, and here are their revocations.

Where a store is shared, this file has all keys of all who share it. What others are to hear of is marked as `untold`
here and told by `shared.board`; of a key two of them may differ on, only whether it is revoked, which nothing undoes.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cachetools import TTLCache

from interpose.errors import InterposeError
from interpose.rules import values
from interpose.rules.compiled import VIRTUAL_PREFIX, ClientKey, key_digest
from interpose.rules.patterns import AnyOf
from interpose.rules.problem import BadValue
from interpose.rules.values import Budget

NAME = "keys.db"
VERSION = 3
# How long what was found is taken for true: a key that is revoked is good for so long, at most.
FRESH = 1.0
REMEMBERED = 65_536
_SCHEMA = """
CREATE TABLE keys (
  sha256 TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  ending TEXT NOT NULL,
  models TEXT, endpoints TEXT, providers TEXT,
  expires TEXT,
  created_at TEXT NOT NULL,
  revoked_at TEXT
) WITHOUT ROWID;
"""
# Keys of other machines may have the same name: a name is unique where it is given, not where it is heard of.
_SHARED = """
DROP INDEX IF EXISTS active;
CREATE INDEX named ON keys (name);
ALTER TABLE keys ADD COLUMN told INTEGER;
CREATE INDEX untold ON keys (sha256) WHERE told IS NULL;
CREATE TABLE heard (only INTEGER PRIMARY KEY CHECK (only = 1), epoch TEXT NOT NULL, version INTEGER NOT NULL);
"""
_BUDGETS = "ALTER TABLE keys ADD COLUMN budget TEXT;"
# What must be done to a file of each version.
_STEPS = {0: _SCHEMA + _SHARED + _BUDGETS, 1: _SHARED + _BUDGETS, 2: _BUDGETS}
_COLUMNS = (
    "sha256",
    "name",
    "ending",
    "models",
    "endpoints",
    "providers",
    "expires",
    "created_at",
    "revoked_at",
    "budget",
)
_INSERT = f"INSERT INTO keys ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - ours
_TAKE = f"""
{_INSERT} ON CONFLICT (sha256) DO UPDATE SET revoked_at = COALESCE(revoked_at, excluded.revoked_at)
"""
_TOLD = "UPDATE keys SET told = 1 WHERE sha256 = ? AND revoked_at IS ?"

Row = Mapping[str, str | None]


class KeysError(InterposeError):
    """The file of keys cannot be used, or what was asked of it cannot be done."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key as it is listed: all but its value, of which only the last four characters are known. One that the rules
    list has no `ending`, and is here because it was revoked.
    """

    name: str
    ending: str
    models: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None
    providers: tuple[str, ...] | None
    expires: datetime.date | None
    created_at: str
    revoked_at: str | None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What of a shared store's keys is in the file: up to which of its versions, of which of its lives."""

    epoch: str = ""
    version: int = 0


class Keys:
    """The keys of a state folder. `timer` gives monotonic seconds. The file is made with the first key."""

    def __init__(self, folder: Path, *, timer: Callable[[], float]) -> None:
        self.path = folder / NAME
        self._connection: sqlite3.Connection | None = None
        # Which file that leads to: by its device and inode.
        self._opened: tuple[int, int] | None = None
        self._known: TTLCache[str, ClientKey | None] = TTLCache(REMEMBERED, ttl=FRESH, timer=timer)

    def find(self, key: str) -> ClientKey | None:
        """The issued key of that value, revoked or expired or not. Raises KeysError if the file cannot be read."""
        sha256 = key_digest(key)
        try:
            # Not asked beforehand whether it is there: what is may be over at the next look at the clock.
            return self._known[sha256]
        except KeyError:
            found = self._find(sha256)
        self._known[sha256] = found
        return found

    def _find(self, sha256: str) -> ClientKey | None:
        if not self.path.exists():
            return None
        with self._told():
            row = self._open().execute("SELECT * FROM keys WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else _client_key(row)

    def named(self, name: str) -> ClientKey | None:
        """The key of that name: the one that is good, else the one that was revoked last."""
        if not self.path.exists():
            return None
        order = "ORDER BY revoked_at IS NOT NULL, revoked_at DESC LIMIT 1"
        with self._told():
            row = self._open().execute(f"SELECT * FROM keys WHERE name = ? {order}", (name,)).fetchone()  # noqa: S608 - ours
        return None if row is None else _client_key(row)

    def add(
        self,
        name: str,
        *,
        now: str,
        models: Sequence[str] = (),
        endpoints: Sequence[str] = (),
        providers: Sequence[str] = (),
        expires: datetime.date | None = None,
        budget: Budget | None = None,
    ) -> str:
        """Makes a key and returns it: nobody can see it again. Raises KeysError for a name that has a key."""
        key = VIRTUAL_PREFIX + secrets.token_urlsafe(32)
        with self._told():
            values = (
                key_digest(key),
                name,
                key[-4:],
                _listed(models),
                _listed(endpoints),
                _listed(providers),
                expires.isoformat() if expires else None,
                now,
                None,
                str(budget) if budget else None,
            )
            with self._change(create=True) as connection:
                if connection.execute("SELECT 1 FROM keys WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone():
                    raise KeysError(f"{name} has a key: revoke that first (interpose keys revoke {name})")
                connection.execute(_INSERT, values)
        return key

    def revoke(self, name: str, *, now: str) -> bool:
        """Whether there was a key of that name that was good."""
        if not self.path.exists():
            return False
        with self._told():
            done = self._open().execute(
                "UPDATE keys SET revoked_at = ?, told = NULL WHERE name = ? AND revoked_at IS NULL", (now, name)
            )
        self._known.clear()
        return done.rowcount > 0

    def revoke_listed(self, key: ClientKey, *, now: str) -> bool:
        """Revokes a key that the rules list; whether it was good."""
        values = (key.sha256, key.name, "", None, None, None, None, now, now, None)
        with self._told(), self._change(create=True) as connection:
            sql = "SELECT 1 FROM keys WHERE sha256 = ? AND revoked_at IS NOT NULL"
            if connection.execute(sql, (key.sha256,)).fetchone():
                return False
            connection.execute(_TAKE, values)
            connection.execute("UPDATE keys SET told = NULL WHERE sha256 = ?", (key.sha256,))
        self._known.clear()
        return True

    def revoked(self, key: ClientKey) -> bool:
        """Whether that key, which the rules list, has been revoked."""
        found = self._find(key.sha256)
        return found is not None and found.revoked

    def heard(self) -> Heard:
        """What has been heard of a shared store's keys."""
        if not self.path.exists():
            return Heard()
        with self._told():
            row = self._open().execute("SELECT epoch, version FROM heard").fetchone()
        return Heard() if row is None else Heard(row["epoch"], row["version"])

    def untold(self, most: int) -> Sequence[Row]:
        """Keys that a shared store has not heard of as they are."""
        if not self.path.exists():
            return ()
        with self._told():
            rows = self._open().execute("SELECT * FROM keys WHERE told IS NULL LIMIT ?", (most,)).fetchall()
        return [{name: row[name] for name in _COLUMNS} for row in rows]

    def take(self, rows: Sequence[Row], *, told: Sequence[Row], heard: Heard, again: bool) -> None:
        """What a shared store has answered: keys that it knows, after it was `told` of ours.

        `again`: it had heard of none of ours before. Keys that are none are left out.
        """
        sound = [row for row in rows if _sound(row)]
        if not (sound or told or (again and self.path.exists())):
            return
        with self._told(), self._change(create=True) as connection:
            if again:
                connection.execute("UPDATE keys SET told = NULL WHERE told IS NOT NULL")
            connection.executemany(_TAKE, [[row.get(name) for name in _COLUMNS] for row in sound])
            connection.executemany(_TOLD, [(row["sha256"], row["revoked_at"]) for row in (*told, *sound)])
            connection.execute("INSERT OR REPLACE INTO heard VALUES (1, ?, ?)", (heard.epoch, heard.version))
        self._known.clear()

    def list(self) -> Iterator[Issued]:
        """All keys, in the order in which they were issued."""
        if not self.path.exists():
            return
        with self._told():
            for row in self._open().execute("SELECT * FROM keys ORDER BY created_at, name"):
                yield _issued(row)

    def budgets(self) -> set[Budget]:
        """Every budget that a key has which is good."""
        if not self.path.exists():
            return set()
        with self._told():
            found = self._open().execute(
                "SELECT DISTINCT budget FROM keys WHERE budget IS NOT NULL AND revoked_at IS NULL"
            )
            return {values.budget(row["budget"]) for row in found}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self, *, create: bool = False) -> sqlite3.Connection:
        if self._connection is not None:
            if _identity(self.path) == self._opened:
                return self._connection
            # Somebody has put another file in its place, such as a backup, or removed it: its keys count, or none.
            self.close()
        if create and not self.path.exists():
            # Made for its owner alone, before anything is in it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=5, isolation_level=None
        )
        connection.row_factory = sqlite3.Row
        try:
            if _version(connection) in _STEPS:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                # Another process may have done it meanwhile.
                for statement in _STEPS.get(_version(connection), "").split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
                connection.execute("COMMIT")
            elif _version(connection) != VERSION:
                raise KeysError(f"the keys in {self.path} were written by a newer interpose: upgrade interpose")
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened = connection, _identity(self.path)
        return connection

    @contextmanager
    def _change(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """All of it, or none."""
        connection = self._open(create=create)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise KeysError(f"the keys in {self.path} cannot be used: {error}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _sound(row: Row) -> bool:
    """Whether that can be a key: it comes from a server that others write to."""
    if not all(isinstance(row.get(name), str) for name in ("sha256", "name", "ending", "created_at")):
        return False
    if "revoked_at" not in row or not all(isinstance(row.get(name), str | None) for name in _COLUMNS):
        return False
    try:
        lists = [_texts(row.get(name)) or () for name in ("models", "endpoints", "providers")]
        if (expires := row.get("expires")) is not None:
            datetime.date.fromisoformat(expires)
        if row.get("budget") is not None:
            values.budget(row["budget"])
        for name in _COLUMNS:
            # Half of a surrogate pair is text to JSON, and none to a file.
            (row.get(name) or "").encode()
    except (ValueError, TypeError, BadValue):
        return False
    return all(isinstance(text, str) for texts in lists for text in texts)


def _listed(texts: Sequence[str]) -> str | None:
    return json.dumps(list(texts)) if texts else None


def _texts(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(json.loads(value))


def _any_of(texts: tuple[str, ...] | None) -> AnyOf | None:
    return None if texts is None else AnyOf(texts)


def _client_key(row: sqlite3.Row) -> ClientKey:
    key = _issued(row)
    return ClientKey(
        key.name,
        row["sha256"],
        _any_of(key.models),
        key.expires,
        _any_of(key.endpoints),
        _any_of(key.providers),
        revoked=key.revoked_at is not None,
        budget=key.budget,
    )


def _issued(row: sqlite3.Row) -> Issued:
    return Issued(
        row["name"],
        row["ending"],
        _texts(row["models"]),
        _texts(row["endpoints"]),
        _texts(row["providers"]),
        None if row["expires"] is None else datetime.date.fromisoformat(row["expires"]),
        row["created_at"],
        row["revoked_at"],
        None if row["budget"] is None else values.budget(row["budget"]),
    )
