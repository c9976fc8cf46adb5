"""What the calls of the last so many seconds say, against counting them one by one."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.alerts.window import BUCKETS, OF_CALLS, Sums, Window, quantile, step
from interpose.ledger.record import Record

OUTCOMES = ("ok", "error", "truncated", "limited", "refused", "aborted")


def record(outcome: str = "ok", **more: object) -> Record:
    values: dict[str, object] = {
        "id": "c",
        "started_at": "",
        "finished_at": "",
        "entrance": "gateway",
        "method": "POST",
    }
    values |= {"host": "h", "path": "/", "endpoint": "chat", "outcome": outcome, **more}
    return Record(**values)  # type: ignore[arg-type]


CALLS = st.lists(st.tuples(st.floats(0, 300), st.sampled_from(OUTCOMES), st.floats(0.1, 1e6)), max_size=60)


@given(CALLS, st.floats(0, 60))
def test_a_window_has_what_happened_within_it(calls: list[tuple[float, str, float]], later: float) -> None:
    """All of what is younger by a bucket, nothing of what is older."""
    window = Window(60.0)
    now = 0.0
    for at, outcome, took in sorted(calls):
        window.add(record(outcome, duration_ms=took), at)
        now = at
    now += later
    found = window.sums(now)
    surely = [outcome for at, outcome, _ in calls if at > now - 60 + 60 / BUCKETS]
    at_most = [outcome for at, outcome, _ in calls if at >= now - 60 - 60 / BUCKETS]
    assert len(surely) <= found.requests <= len(at_most)
    for name, kinds in (("failed", ("error", "truncated")), ("limited", ("limited",))):
        count = getattr(found, name)
        assert sum(each in kinds for each in surely) <= count <= sum(each in kinds for each in at_most)


def test_it_stays_small() -> None:
    """Whatever the traffic."""
    window = Window(60.0)
    for second in range(10_000):
        window.add(record(duration_ms=5.0), second / 7)
    assert len(window._buckets) <= BUCKETS + 1


@given(st.lists(st.floats(0.01, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_right_to_a_twentieth(durations: list[float], share: float) -> None:
    """Of the sorted durations, the first that so large a share does not exceed."""
    found = quantile(Counter(map(step, durations)), share)
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1] / 1000
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.051


def test_nothing_has_no_quantile() -> None:
    """And no rate either: no call is no answer."""
    empty = Sums()
    assert quantile(empty.latency, 0.5) is None
    assert [name for name, measure in OF_CALLS.items() if measure(empty) is not None] == ["requests", "tokens", "cost"]


FIGURES = [
    ("error_rate", 2 / 6, 6),
    ("limited_rate", 1 / 6, 6),
    ("estimated_share", 1 / 3, 3),
    ("requests", 6, 6),
    ("tokens", 36, 6),
    ("cost", 0.75, 6),
    ("latency_p50", 1.0, 2),
    ("latency_p99", 9.0, 2),
    ("ttft_p95", 0.2, 1),
]


@pytest.mark.parametrize(("metric", "value", "of"), FIGURES)
def test_each_metric(metric: str, value: float, of: int) -> None:
    """Rates are of all calls, shares of estimates of those with a use, durations of those that ended well."""
    sums = Sums()
    used = {"input_tokens": 10, "output_tokens": 2, "usage_source": "provider", "cost_usd": 0.25}
    sums.add(record(**used, duration_ms=1000.0))
    sums.add(record(**used, duration_ms=9000.0, stream=True, ttft_ms=200.0))
    sums.add(record("truncated", **used | {"usage_source": "estimated"}, duration_ms=50.0))
    sums.add(record("error", duration_ms=50.0))
    sums.add(record("limited", duration_ms=1.0))
    sums.add(record("refused", duration_ms=1.0))
    found = OF_CALLS[metric](sums)
    assert found is not None
    assert found.value == pytest.approx(value, rel=0.05)
    assert found.of == of
