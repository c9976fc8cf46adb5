"""A call as its ledger record tells it: without bodies and headers."""

from __future__ import annotations

from datetime import datetime

from interpose.call import Entrance, Origin, Url
from interpose.formats.hosts import canonical_host
from interpose.ledger.record import Record

from .model import Answered, Asked, Recorded


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
        error=f"it was {record.outcome}" if record.outcome in ("aborted", "truncated") else None,
    )
