"""Virtual keys that were issued on this machine (`interpose keys`): one SQLite file in the state folder.

Only hashes are stored; a key is shown once, when it is made. A key that is revoked is refused within a second, without
a restart. Rules may list keys of their own (`clients.keys`); these are found first.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cachetools import TTLCache

from interpose.errors import InterposeError
from interpose.rules.compiled import VIRTUAL_PREFIX, ClientKey, key_digest
from interpose.rules.patterns import AnyOf

NAME = "keys.db"
VERSION = 1
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
CREATE UNIQUE INDEX active ON keys (name) WHERE revoked_at IS NULL;
"""


class KeysError(InterposeError):
    """The file of keys cannot be used, or what was asked of it cannot be done."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key as it is listed: all but its value, of which only the last four characters are known."""

    name: str
    ending: str
    models: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None
    providers: tuple[str, ...] | None
    expires: datetime.date | None
    created_at: str
    revoked_at: str | None


class Keys:
    """The keys of a state folder. `timer` gives monotonic seconds. The file is made with the first key."""

    def __init__(self, folder: Path, *, timer: Callable[[], float]) -> None:
        self.path = folder / NAME
        self._connection: sqlite3.Connection | None = None
        self._known: TTLCache[str, ClientKey | None] = TTLCache(REMEMBERED, ttl=FRESH, timer=timer)

    def find(self, key: str) -> ClientKey | None:
        """The issued key of that value, revoked or expired or not. Raises KeysError if the file cannot be read."""
        sha256 = key_digest(key)
        if sha256 in self._known:
            return self._known[sha256]
        found = self._find(sha256)
        self._known[sha256] = found
        return found

    def _find(self, sha256: str) -> ClientKey | None:
        if self._connection is None and not self.path.exists():
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
    ) -> str:
        """Makes a key and returns it: nobody can see it again. Raises KeysError for a name that has a key."""
        key = VIRTUAL_PREFIX + secrets.token_urlsafe(32)
        with self._told():
            connection = self._open(create=True)
            try:
                connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                    (
                        key_digest(key),
                        name,
                        key[-4:],
                        _listed(models),
                        _listed(endpoints),
                        _listed(providers),
                        expires.isoformat() if expires else None,
                        now,
                    ),
                )
            except sqlite3.IntegrityError:
                raise KeysError(f"{name} has a key: revoke that first (interpose keys revoke {name})") from None
        return key

    def revoke(self, name: str, *, now: str) -> bool:
        """Whether there was a key of that name that was good."""
        if not self.path.exists():
            return False
        with self._told():
            done = self._open().execute(
                "UPDATE keys SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (now, name)
            )
        self._known.clear()
        return done.rowcount > 0

    def list(self) -> Iterator[Issued]:
        """All keys, in the order in which they were issued."""
        if not self.path.exists():
            return
        with self._told():
            for row in self._open().execute("SELECT * FROM keys ORDER BY created_at, name"):
                yield _issued(row)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self, *, create: bool = False) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if create and not self.path.exists():
            # Made for its owner alone, before anything is in it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=5, isolation_level=None
        )
        connection.row_factory = sqlite3.Row
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
            elif version != VERSION:
                raise KeysError(f"the keys in {self.path} were written by a newer interpose: upgrade interpose")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise KeysError(f"the keys in {self.path} cannot be used: {error}") from error


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
    )
