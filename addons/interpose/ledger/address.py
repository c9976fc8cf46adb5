"""Where a ledger is: a file, a database with its password, a collector. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from interpose.rules.sinks import CollectorUrl, DatabaseUrl, SinkFile


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database and how to get in."""

    url: DatabaseUrl
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __str__(self) -> str:
        return str(self.url)


@dataclass(frozen=True, slots=True)
class Collector:
    """An OpenTelemetry collector and the headers that it wants, which may hold a secret. It cannot be read."""

    url: CollectorUrl
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None

    def __str__(self) -> str:
        return str(self.url)


Readable = Path | SinkFile | Database
"""A bare path is that of an SQLite file."""

Place = Readable | Collector
"""Where records go."""
