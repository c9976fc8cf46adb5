"""What a sink of records is: a place that takes batches of a writer, in its chains. Nothing here batches or retries."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import orjson

from .record import CALLS, GAP_ENTRANCE, Row, Table, genesis

Placed = tuple[Table, Row]
"""A row in its place in a chain."""

_ENTRANCE = CALLS.columns.index("entrance")
_LOSSES = CALLS.columns.index("losses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Whoever writes a chain, as a row of `writers` has it: the first record of each of its chains follows from
    `heads`, the canonical JSON of the heads that were found.
    """

    writer: str
    opened_at: str
    version: str
    heads: str = "{}"

    @property
    def start(self) -> str:
        return genesis(self.heads.encode())

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, told: dict[str, Any]) -> Self:
        return cls(**told)


class Sink(Protocol):
    """A place for records. Its methods are called one after the other; what was closed opens with the next batch."""

    @property
    def name(self) -> str:
        """What may be said of it, in messages; it has no secrets."""
        ...

    def open(self, writer: Writer) -> Writer | None:
        """Enters a new writer, and gives it with the heads that were found; None if the sink is away: then the first
        batch enters it. Raises LedgerError for what does not end by waiting.
        """
        ...

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Commits a batch of that writer, all of it or nothing; what is there already stays as it is.

        True when the commit has returned. False if it has not within about `patience` seconds: it may still, and the
        same batch has to come again. Raises whatever has failed.
        """
        ...

    def close(self) -> None:
        """Never waits long, never raises."""
        ...


@runtime_checkable
class Refusing(Protocol):
    """A sink that may commit a batch and not keep all of it, for good."""

    def refused(self) -> int:
        """How many records that was since it was asked last."""
        ...


def stands_for(table: Table, row: Row) -> int:
    """How many records a row accounts for: a gap has the number of those that were lost."""
    if table is not CALLS or row[_ENTRANCE] != GAP_ENTRANCE:
        return 1
    return sum(int(loss["count"]) for loss in orjson.loads(str(row[_LOSSES])))


def as_text(value: object) -> str:
    """How bytes stand in JSON."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


def as_bytes(value: object) -> bytes | None:
    """The bytes that stand so in JSON. Raises ValueError for what nobody has written."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("no base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("no base64") from None


def identity(path: Path) -> tuple[int, int] | None:
    """Which file the path names; None if it names none (any more)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
