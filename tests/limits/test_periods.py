"""Calendar periods: where they begin and end, in UTC and elsewhere."""

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.limits import Period
from interpose.limits.periods import Unit

UNITS: tuple[Unit, ...] = ("hour", "day", "week", "month", "year")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        ("hour", "2026-11-25T22:00", "2026-11-25T23:00"),
        ("day", "2026-11-25", "2026-11-26"),
        ("week", "2026-11-23", "2026-11-30"),
        ("month", "2026-11-01", "2026-12-01"),
        ("year", "2026-01-01", "2027-01-01"),
    ],
)
def test_periods_are_those_of_the_calendar(unit: Unit, start: str, end: str) -> None:
    """A Wednesday in November, in each of its periods."""
    assert Period(unit).bounds(at("2026-11-25T22:31:07")) == (at(start), at(end))


def test_a_stated_zone_has_its_own_midnight_and_its_days_of_23_and_25_hours() -> None:
    """Berlin's days of the changes of its clocks."""
    period = Period("day", "Europe/Berlin")
    for day, hours in (("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)):
        start, end = period.bounds(at(f"{day}T12:00", "Europe/Berlin"))
        assert start == at(day, "Europe/Berlin")
        assert end - start == hours * 3600


@given(
    st.sampled_from(UNITS),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Asia/Beirut", "Australia/Lord_Howe", "America/St_Johns"]
    ),
    st.integers(at("2000-01-01").__int__(), at("2037-12-31").__int__()),
)
def test_every_moment_is_in_one_period_and_periods_follow_each_other(unit: Unit, zone: str, now: int) -> None:
    """A period contains the moment that it was asked for, and the next one begins where it ends."""
    period = Period(unit, zone)
    start, end = period.bounds(now)
    assert start <= now < end
    assert period.bounds(start) == (start, end)
    assert period.bounds(end - 1) == (start, end)
    assert period.bounds(end).start == end
