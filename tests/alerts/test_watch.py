"""When an alert begins and when it ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.alerts.watch import QUIET, Watch
from interpose.alerts.window import Measured
from interpose.rules.alerts import Alert
from interpose.rules.values import condition

SPIKE = Alert("spike", condition("error_rate > 5%"), window=100.0, min_requests=10)


def seen(watch: Watch, at: float, value: float | None, of: int = 100, subject: str = "") -> list[str]:
    values = {} if value is None else {subject: Measured(value, of)}
    return [f"{change.state} {change.subject}".strip() for change in watch.look(values, at)]


def test_it_is_told_once_and_again_when_it_is_over() -> None:
    """Over means for a fifth of its window: a value that wavers says nothing."""
    watch = Watch(SPIKE)
    assert seen(watch, 0, 0.01) == []
    assert seen(watch, 1, 0.06) == ["firing"]
    assert seen(watch, 2, 0.20) == []
    assert seen(watch, 3, 0.04) == []
    assert seen(watch, 10, 0.06) == []
    assert seen(watch, 11, 0.01) == []
    assert seen(watch, 30, 0.01) == []
    assert seen(watch, 31, 0.01) == ["resolved"]
    assert seen(watch, 32, 0.06) == ["firing"]


def test_few_calls_say_nothing() -> None:
    """One failure of two calls is no spike; and when the calls stop, it is over."""
    watch = Watch(SPIKE)
    assert seen(watch, 0, 0.5, of=9) == []
    assert seen(watch, 1, 0.5, of=10) == ["firing"]
    assert seen(watch, 2, None) == []
    assert seen(watch, 22, None) == ["resolved"]


def test_each_subject_is_told_by_itself() -> None:
    """One budget that is spent says nothing of another."""
    watch = Watch(Alert("spend", condition("budget >= 80%"), window=5.0, min_requests=0))
    assert seen(watch, 0, 0.9, 0, "ann") == ["firing ann"]
    assert seen(watch, 1, 0.9, 0, "bob") == ["firing bob"]
    assert seen(watch, 2, 0.9, 0, "bob") == ["resolved ann"]


@pytest.mark.parametrize(
    ("text", "values"),
    [("quota < 10%", [0.2, 0.1, 0.09]), ("latency_p95 >= 2s", [1, 1.9, 2]), ("cost > $1", [0, 1, 2])],
)
def test_each_comparison(text: str, values: list[float]) -> None:
    """The last of the three values is the first for which it holds."""
    watch = Watch(Alert("a", condition(text), min_requests=0))
    assert [seen(watch, 0, value) for value in values] == [[], [], ["firing"]]


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 0.1)), max_size=40))
def test_beginnings_and_ends_take_turns(steps: list[tuple[float, float]]) -> None:
    """And nothing ends sooner than it may."""
    watch, now, told = Watch(SPIKE), 0.0, []
    for pause, value in steps:
        now += pause
        told += [(change.state, change.at) for change in watch.look({"": Measured(value, 100)}, now)]
    assert [state for state, _ in told] == ["firing", "resolved"] * (len(told) // 2) + ["firing"] * (len(told) % 2)
    for (_, begin), (state, end) in pairwise(told):
        assert state == "firing" or end - begin >= QUIET * SPIKE.window


def test_what_fires_can_be_looked_at() -> None:
    """Each subject of an alert from its beginning to its end, with its last value for which the condition held."""
    watch = Watch(Alert("spend", condition("budget >= 80%"), window=300.0, min_requests=0))
    assert watch.firing() == []
    watch.look({"a": Measured(0.9, 0), "b": Measured(0.5, 0)}, 10.0)
    watch.look({"a": Measured(0.95, 0), "b": Measured(0.5, 0)}, 20.0)
    (change,) = watch.firing()
    assert (change.subject, change.value.value, change.since) == ("a", 0.95, 10.0)
    watch.look({}, 30.0)
    watch.look({}, 100.0)
    assert watch.firing() == []
