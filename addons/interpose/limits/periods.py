"""Calendar periods of budgets: an hour, day, week (from Monday), month or year, in UTC or in a stated time zone."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Unit = Literal["hour", "day", "week", "month", "year"]


class Bounds(NamedTuple):
    """Unix seconds: a period begins at `start` and ends before `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Period:
    """A kind of calendar period. `zone` is a name of the IANA time zone database."""

    unit: Unit
    zone: str = "UTC"

    def bounds(self, now: float) -> Bounds:
        """The period that the Unix time `now` falls into."""
        return _bounds(self.unit, self.zone, int(now // 900))  # no zone is off by a part of a quarter of an hour


def _hour(local: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    # In UTC: a local hour exists twice when clocks are put back, and both are an hour.
    start = local.astimezone(datetime.UTC).replace(minute=0)
    return start, start + datetime.timedelta(hours=1)


def _day(local: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    start = local.replace(hour=0, minute=0, fold=0)
    return start, start + datetime.timedelta(days=1)


def _week(local: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    start = local.replace(hour=0, minute=0, fold=0) - datetime.timedelta(days=local.weekday())
    return start, start + datetime.timedelta(days=7)


def _month(local: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    start = local.replace(day=1, hour=0, minute=0, fold=0)
    return start, (start + datetime.timedelta(days=31)).replace(day=1)


def _year(local: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    start = local.replace(month=1, day=1, hour=0, minute=0, fold=0)
    return start, start.replace(year=start.year + 1)


_UNITS: Mapping[str, Callable[[datetime.datetime], tuple[datetime.datetime, datetime.datetime]]] = {
    "hour": _hour,
    "day": _day,
    "week": _week,
    "month": _month,
    "year": _year,
}


@lru_cache(maxsize=1024)
def _bounds(unit: str, zone: str, quarter: int) -> Bounds:
    local = datetime.datetime.fromtimestamp(quarter * 900, ZoneInfo(zone))
    start, end = _UNITS[unit](local)
    return Bounds(int(start.timestamp()), int(end.timestamp()))
