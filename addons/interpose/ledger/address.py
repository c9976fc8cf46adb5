"""Where a ledger is read: a file, or a database with its password. Nothing is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from interpose.rules.sinks import DatabaseUrl, SinkFile


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database and how to get in."""

    url: DatabaseUrl
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __str__(self) -> str:
        return str(self.url)


Readable = Path | SinkFile | Database
"""A bare path is that of an SQLite file."""
