"""The calls of a ledger, in the order in which they began: what its records tell of each, and what was captured of it.

Its ledger is read as it stands: whether it was tampered with is for `interpose usage verify` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from interpose.ledger.address import Readable
from interpose.ledger.captures import Captured, parts_of
from interpose.ledger.record import CALLS, CAPTURES, GAP_ENTRANCE, from_row
from interpose.ledger.source import open_source

from .captured import from_captured
from .model import Flaws, Recorded


def read(file: BinaryIO, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of the SQLite file that is open there."""
    yield from of_place(Path(file.name), name, flaws)


def of_place(place: Readable, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of a ledger, wherever it is. Raises LedgerError if it cannot be read."""
    with open_source(place) as source:
        captures = CAPTURES in source.tables()
        rows = source.rows(f"SELECT {CALLS.listed} FROM calls ORDER BY started_at, writer, seq")  # noqa: S608 - our columns
        for row in rows:
            try:
                record = from_row(row)
                if record.entrance == GAP_ENTRANCE:
                    # The ledger's own word of what was lost, and no call.
                    continue
                parts = parts_of(source, record.id) if captures else ()
                call = from_captured(Captured(record.id, record, parts), name, flaws)
            except (TypeError, ValueError) as error:
                flaws.add(f"{name}: left out a record that cannot be read: {error}")
                continue
            if call is not None:
                yield call
