"""What retention is asked for and what comes of it, whatever the ledger; and what a database has to offer for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .cuts import CutRow


class Taken(Exception):
    """Another process is at it."""


class Store(AbstractContextManager["Store"], Protocol):
    """A ledger that is a database, open for retention. Everything raises LedgerError, or Taken."""

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]: ...

    def cut(self, row: CutRow, statement: str, *arguments: object, count: int) -> None:
        """Executes the statement and adds that row to `cuts`, both or nothing; `count` rows have to be concerned."""
        ...

    def shrink(self) -> bool:
        """Gives back a little of what is free; False if there is nothing to do."""
        ...


@dataclass(frozen=True, slots=True)
class Keep:
    """How long is kept what, in seconds; None is for ever."""

    records: float | None = None
    bodies: float | None = None


@dataclass(slots=True)
class Pruned:
    """What a run has deleted: {table: records}, bodies that were dropped, chains that were left alone and why."""

    records: dict[str, int] = field(default_factory=dict)
    bodies: int = 0
    left: list[str] = field(default_factory=list)


Pause = Callable[[], bool]
"""Waits a moment between two batches; True if there should be no further one."""
