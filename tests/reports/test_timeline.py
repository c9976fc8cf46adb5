"""The spans of time along a chart's axis."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.ledger.grouping import span_of
from interpose.reports.timeline import MOST, short, span_for, spans

DAY = datetime(2026, 11, 1, tzinfo=UTC)
ZONES = [UTC, *map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"))]


@pytest.mark.parametrize(
    ("days", "span"),
    [(0, "hour"), (3, "hour"), (3.1, "day"), (100, "day"), (101, "week"), (730, "week"), (731, "month")],
)
def test_the_longer_the_time_the_longer_the_spans(days: float, span: str) -> None:
    """So that bars can be told apart."""
    assert span_for(DAY, DAY + timedelta(days=days)) == span
    assert len(spans(span, DAY, DAY + timedelta(days=days), UTC)) <= 106


@given(
    start=st.integers(0, 2 * 365 * 24 * 3600),
    length=st.integers(0, 800 * 24 * 3600),
    inside=st.floats(0, 1),
    zone=st.sampled_from(ZONES),
)
def test_every_moment_has_its_span(start: int, length: int, inside: float, zone) -> None:
    """In any zone, over changes of its clocks: a call's span is one of the labels, and each is there once."""
    first = DAY + timedelta(seconds=start)
    last = first + timedelta(seconds=length)
    span = span_for(first, last)
    labels = spans(span, first, last, zone)
    moment = first + timedelta(seconds=length * inside)
    assert span_of(span, moment.astimezone(zone)) in labels
    assert labels[-1] == span_of(span, last.astimezone(zone))
    assert len(set(labels)) == len(labels)


def test_a_wrong_clock_does_not_make_an_endless_page() -> None:
    """A date in the year 1 leaves the last spans."""
    assert len(spans("month", datetime(1, 1, 2, tzinfo=UTC), DAY, UTC)) == MOST


@pytest.mark.parametrize(
    ("span", "name", "text"),
    [
        ("hour", "2026-11-01T14:00Z", "14:00"),
        ("day", "2026-11-01", "Nov 1"),
        ("week", "2026-W45", "W45"),
        ("month", "2026-11", "2026-11"),
        ("day", "yesterday", "yesterday"),
        ("week", "yesterday", "yesterday"),
    ],
)
def test_what_stands_at_the_axis(span: str, name: str, text: str) -> None:
    """Short, and what is no time as it is."""
    assert short(span, name) == text
