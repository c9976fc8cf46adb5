"""What calls can be grouped by and chosen by: names, the SQL behind each, and moments of time.

Days, hours and months are those of a time zone, UTC unless another one is asked for. SQL gives the moment of a call as
text in UTC, as fine as is needed; here it becomes what a row is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from .dialects import Dialect
from .record import LedgerError, utc_text
from .source import named_from

# What `--by` may name, beside time: the SQL that gives it.
WORDS: Mapping[str, str] = {
    # The host of a call to the gateway is our own.
    "provider": "coalesce(nullif(provider, ''), CASE WHEN entrance = 'gateway' THEN '' ELSE host END)",
    "model": "coalesce(nullif(sent_model, ''), asked_model, '')",
    "client": "coalesce(client, '')",
    "app": "coalesce(app, '')",
    "route": "coalesce(route, '')",
    "endpoint": "endpoint",
    "outcome": "outcome",
    "host": "host",
    "credential": "coalesce(credential, '')",
    "ip": "coalesce(ip, '')",
}
# Spans of time: how much of `2026-11-01T14:30` each takes, from the coarsest to the finest. A week is ISO 8601's.
SPANS = {"month": 7, "week": 10, "day": 10, "hour": 13}
DIMENSIONS = (*WORDS, *reversed(SPANS))
# What a report can be confined to by name.
FILTERS = ("provider", "model", "client", "app", "route")

_QUARTER = (
    "substr(started_at, 1, 14) || CASE WHEN substr(started_at, 15, 2) < '15' THEN '00' WHEN substr(started_at, 15, 2)"
    " < '30' THEN '15' WHEN substr(started_at, 15, 2) < '45' THEN '30' ELSE '45' END"
)
_SINCE = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which calls are counted: begun at or after `since` and before `until`, of the writers whose names begin with
    `writer`, and with `only` values of some words (`*` and `?` stand for anything, "" for none). `zone` is whose days
    they are.
    """

    since: datetime | None = None
    until: datetime | None = None
    writer: str | None = None
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: tzinfo | None = UTC

    def where(self) -> tuple[list[str], list[object]]:
        """The conditions in SQL as to when and by whom, and their arguments."""
        conditions: list[str] = []
        arguments: list[object] = []
        for moment, sign in ((self.since, ">="), (self.until, "<")):
            if moment is not None:
                conditions.append(f"started_at {sign} ?")
                arguments.append(utc_text(moment.timestamp()))
        if self.writer is not None:
            conditions.append("writer >= ? AND writer < ?")
            arguments += named_from(self.writer)
        return conditions, arguments

    def confines(self, dialect: Dialect) -> tuple[str, list[object]]:
        """The condition that `only` makes ("" if it makes none), and its arguments."""
        every: list[str] = []
        arguments: list[object] = []
        for name, patterns in self.only.items():
            some = []
            for pattern in patterns:
                globbed = "*" in pattern or "?" in pattern
                some.append(f"{WORDS[name]} {dialect.like if globbed else '='} ?")
                arguments.append(dialect.pattern(pattern) if globbed else pattern)
            every.append(f"({' OR '.join(some)})")
        return " AND ".join(every), arguments


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that calls are grouped by in SQL, so that rows of each of `groupings` can be made of them."""

    names: tuple[str, ...]
    sql: tuple[str, ...]
    groupings: tuple[tuple[str, ...], ...]
    zone: tzinfo | None

    @classmethod
    def of(cls, groupings: Sequence[Sequence[str]], zone: tzinfo | None) -> Columns:
        asked = dict.fromkeys(name for grouping in groupings for name in grouping)
        names = [name for name in asked if name in WORDS]
        sql = [WORDS[name] for name in names]
        if spans := [SPANS[name] for name in asked if name in SPANS]:
            names.append("moment")
            sql.append(f"substr(started_at, 1, {max(spans)})" if zone is UTC else _QUARTER)
        return cls(tuple(names), tuple(sql), tuple(map(tuple, groupings)), zone)

    def projections(self) -> list[Callable[[Sequence[str]], tuple[str, ...]]]:
        """Of each grouping, what makes the key of its row from the values of `names`."""
        return [self._projection(grouping) for grouping in self.groupings]

    def _projection(self, grouping: tuple[str, ...]) -> Callable[[Sequence[str]], tuple[str, ...]]:
        if grouping == self.names:
            return tuple
        takes: list[tuple[int, Callable[[str], str]]] = [
            (self.names.index("moment"), cache(_label(name, self.zone)))
            if name in SPANS
            else (self.names.index(name), str)
            for name in grouping
        ]
        return lambda values: tuple(label(values[place]) for place, label in takes)


def span_of(span: str, moment: datetime) -> str:
    """What the hour, day, week or month of a moment is called."""
    if span == "hour":
        return moment.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes").replace("+00:00", "Z")
    if span == "week":
        year, week, _ = moment.isocalendar()
        return f"{year}-W{week:02}"
    return moment.date().isoformat()[: SPANS[span]]


def _label(span: str, zone: tzinfo | None) -> Callable[[str], str]:
    """What a span is called, from a moment in UTC."""

    def label(moment: str) -> str:
        try:
            # A month alone is no moment, yet to somebody who reads it.
            whole = moment + "-01" if len(moment) == SPANS["month"] else moment
            return span_of(span, datetime.fromisoformat(whole).replace(tzinfo=UTC).astimezone(zone))
        except (ValueError, OverflowError):
            return moment  # a tampered one

    return label


def in_time(name: str) -> tuple[float, str]:
    """What spans are sorted by: of two hours that are called the same, the first is the one before clocks went back."""
    try:
        return (datetime.fromisoformat(name).timestamp() if "T" in name else 0.0, name)
    except (ValueError, OverflowError):
        return (0.0, name)


def dimensions(text: str) -> tuple[str, ...]:
    """What `--by` says: comma-separated names of `DIMENSIONS`. Raises LedgerError naming the ones there are."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known(names)
    return names


def known(names: Sequence[str]) -> None:
    """Raises LedgerError if there is one that is no dimension."""
    if unknown := [name for name in names if name not in DIMENSIONS]:
        raise LedgerError(f"usage cannot be grouped by {', '.join(unknown)}: there are {', '.join(DIMENSIONS)}")


def since_moment(text: str, now: datetime, zone: tzinfo | None = UTC) -> datetime:
    """What `--since` says: `7d`, `24h`, `30m`, `2w` before `now`, or an ISO date or time, of `zone` if it has none.

    Raises LedgerError on anything else.
    """
    text = text.strip()
    try:
        if match := _SINCE.fullmatch(text):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo or zone is None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise LedgerError(f"{text!r} is no time: write 7d, 24h, 30m, or a date like 2026-11-01") from None


def until_moment(text: str, now: datetime, zone: tzinfo | None = UTC) -> datetime:
    """What `--until` says, as `since_moment`; a date alone takes in that day. Raises LedgerError."""
    moment = since_moment(text, now, zone)
    if not _DATE.fullmatch(text.strip()):
        return moment
    try:
        # By the calendar: a day of a time zone may have 23 hours.
        return since_moment((datetime.fromisoformat(text.strip()) + timedelta(days=1)).date().isoformat(), now, zone)
    except OverflowError:
        return moment


def time_zone(name: str) -> tzinfo | None:
    """UTC, a name of the IANA's database, or None for `local`, this machine's. Raises LedgerError."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    if name.lower() == "local":
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise LedgerError(f"{name!r} is no time zone: write UTC, local, or one like Europe/Berlin") from None
