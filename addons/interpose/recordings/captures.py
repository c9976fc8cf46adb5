"""The calls of a ledger, in the order in which they began: what its records tell of each.

A record alone has neither bodies nor headers. Its ledger is read as it stands: whether it was tampered with is for
`interpose usage verify` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from interpose.call import Entrance, Origin, Url
from interpose.formats.hosts import canonical_host
from interpose.ledger.address import Readable
from interpose.ledger.record import CALLS, GAP_ENTRANCE, Record, from_row
from interpose.ledger.source import open_source

from .model import Answered, Asked, Flaws, Recorded


def read(file: BinaryIO, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of the SQLite file that is open there."""
    yield from of_place(Path(file.name), name, flaws)


def of_place(place: Readable, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of a ledger, wherever it is. Raises LedgerError if it cannot be read."""
    with open_source(place) as source:
        # The ledger's own records tell of what was lost, and are no calls.
        rows = source.rows(f"SELECT {CALLS.listed} FROM calls ORDER BY started_at, writer, seq")  # noqa: S608 - our columns
        for row in rows:
            try:
                record = from_row(row)
                if record.entrance != GAP_ENTRANCE:
                    yield recorded(record, f"{name}#{record.id}")
            except (TypeError, ValueError) as error:
                flaws.add(f"{name}: a record cannot be read ({error}); left out")


def recorded(record: Record, place: str) -> Recorded:
    """A call as its record tells it. Raises ValueError for what no record says."""
    started = moment(record.started_at)
    return Recorded(
        id=record.id,
        place=place,
        started_at=started,
        asked=Asked(record.method, _url(record), (), None),
        answered=_answered(record),
        record=record,
        entrance=Entrance(record.entrance),
        client=record.client,
        app=record.app,
        ip=record.ip,
        masked=True,
        websocket=record.status == 101,
    )


def moment(text: str) -> float:
    """Unix time of a record's time. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def _url(record: Record) -> Url:
    try:
        host = canonical_host(record.host)
    except ValueError:
        host = record.host
    # A record does not tell them; hosts of AI are on this port, or named by rules.
    return Url(Origin("https", host, 443), record.path or "/")


def _answered(record: Record) -> Answered | None:
    if not record.status:
        return None
    return Answered(
        record.status,
        (),
        None,
        began=None if record.ttft_ms is None else record.ttft_ms / 1000,
        ended=None if record.duration_ms is None else record.duration_ms / 1000,
    )
