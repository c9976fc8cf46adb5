"""The spans of time along the axis of a chart: which ones, what they are called, and none left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from interpose.ledger.grouping import span_of

# Up to so much time, a chart has a bar for each of these.
_UPTO = (("hour", timedelta(hours=72)), ("day", timedelta(days=100)), ("week", timedelta(days=730)))
# So many at most: a tampered or a wrong clock's date does not make a page of a gigabyte.
MOST = 800
_LEAST = 6


def span_for(first: datetime, last: datetime) -> str:
    """`hour`, `day`, `week` or `month`."""
    return next((span for span, most in _UPTO if last - first <= most), "month")


def spans(span: str, first: datetime, last: datetime, zone: tzinfo | None) -> list[str]:
    """What all spans from the first moment to the last are called, in order, `MOST` of them at most (the last ones)."""
    if span == "hour":
        # One hour alone would be a bar as wide as the page.
        first = min(first, last - timedelta(hours=_LEAST - 1))
    begin, end = first.astimezone(zone), last.astimezone(zone)
    named = _hours(first, last, zone) if span == "hour" else _dates(begin, end)
    found = dict.fromkeys(span_of(span, moment) for moment in named)
    return list(found)[-MOST:]


def _hours(first: datetime, last: datetime, zone: tzinfo | None) -> Iterator[datetime]:
    # By a quarter: some zones are that far from a whole hour.
    moment = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while moment <= last:
        for minute in (0, 15, 30, 45):
            quarter = moment + timedelta(minutes=minute)
            if first - timedelta(minutes=15) < quarter <= last:
                yield quarter.astimezone(zone)
        moment += timedelta(hours=1)


def _dates(begin: datetime, end: datetime) -> Iterator[datetime]:
    for number in range(begin.toordinal(), end.toordinal() + 1):
        yield datetime.combine(date.fromordinal(number), time(12))


def short(span: str, name: str) -> str:
    """What stands at the axis: `14:00`, `Nov 1`, `W45`, `2026-11`; the whole where it is none of ours."""
    try:
        if span == "hour":
            return name[11:16]
        if span == "day":
            moment = date.fromisoformat(name)
            return f"{moment:%b} {moment.day}"
    except ValueError:
        return name
    return name[5:] if span == "week" and "W" in name else name
