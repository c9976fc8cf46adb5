"""Texts with a unit: each accepted form, and strictness about everything else."""

import datetime
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.rules import values
from interpose.rules.problem import BadValue
from interpose.rules.values import Budget, Condition, Range, Rate, Size

Parser = Callable[[object], object]

GOOD: list[tuple[Parser, object, object]] = [
    (values.duration, "10s", 10.0),
    (values.duration, "500ms", 0.5),
    (values.duration, "0.5s", 0.5),
    (values.duration, "5m", 300.0),
    (values.duration, "2h", 7200.0),
    (values.duration, "1d", 86400.0),
    (values.duration_range, "0.5s..20s", Range(0.5, 20.0)),
    (values.duration_range, "1s..1s", Range(1.0, 1.0)),
    (values.rate, "60/minute", Rate(60, 60)),
    (values.rate, "0/day", Rate(0, 86400)),
    (values.budget, "$20/day", Budget(Decimal(20), "day")),
    (values.budget, "$0.10/month", Budget(Decimal("0.10"), "month")),
    (values.size, "8MiB", Size(8 << 20, "bytes")),
    (values.size, "500 kB", Size(500_000, "bytes")),
    (values.size, "1000 tokens", Size(1000, "tokens")),
    (values.date, "2028-02-29", datetime.date(2028, 2, 29)),
    (values.percent, "20%", 0.2),
    (values.condition, "error_rate > 5%", Condition("error_rate", ">", 0.05, "%")),
    (values.condition, "ttft_p95>=800ms", Condition("ttft_p95", ">=", 0.8, "s")),
    (values.condition, "cost > $10", Condition("cost", ">", 10.0, "$")),
    (values.retryable, 429, 429),
    (values.retryable, "5xx", "5xx"),
    (values.dollars, 2.5, 2.5),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_each_form_is_read(parse: Parser, text: object, value: object) -> None:
    """A text with its unit becomes a value in seconds, bytes, tokens or dollars."""
    assert parse(text) == pytest.approx(value) if isinstance(value, float) else parse(text) == value


BAD: list[tuple[Parser, list[object]]] = [
    (values.duration, ["10", "s", "-1s", "0s", "1 s", "10S", "10sec", "1e3s", "999d", "١s",
                       "10s\n", 10, 1.5, True, None, []]),
    (values.duration_range, ["1s", "1s...2s", "2s..1s", "..", "1s..", "1..2s", 5, None]),
    (values.rate, ["60", "60/min", "60 / minute", "-1/minute", "1.5/minute", "/minute", "60/minutes", 60, None]),
    (values.budget, ["20/day", "$20", "€20/day", "$-1/day", "$20/days", "$/day", 20, None]),
    (values.size, ["8", "8mib", "MiB", "8 mb", "-1B", 8, None]),
    (values.date, ["2027-02-29", "2027-1-1", "20270101", "2027-01-01T00:00", "today", 20270101, None]),
    (values.percent, ["20", "101%", "-1%", "%", 20, None]),
    (values.condition, ["error_rate", "> 5%", "error_rate = 5%", "error_rate > $5%", 5, None]),
    (values.retryable, [200, 600, True, "6xx", "nope", None, []]),
    (values.dollars, [-1, True, "1", float("nan"), float("inf"), None, 10**400]),
]  # fmt: skip


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, texts in BAD for text in texts])
def test_everything_else_is_refused_in_one_line(parse: Parser, text: object) -> None:
    """No unit is guessed and no near miss accepted; the message is one printable line."""
    with pytest.raises(BadValue) as caught:
        parse(text)
    assert str(caught.value).isprintable()


PARSERS = [parse for parse, _ in BAD]
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.lists(st.integers(), max_size=2),
    st.from_regex(r"[0-9.$]{1,6}[a-z%/. ]{0,8}", fullmatch=True),
)  # fmt: skip


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@settings(deadline=None)
@given(value=ANYTHING)
def test_nothing_but_bad_value_is_raised(parse: Parser, value: object) -> None:
    """Whatever stood in the file, a parser answers with a value or a BadValue."""
    try:
        parse(value)
    except BadValue:
        return


PATTERNS = [
    (values.duration, values.DURATION_PATTERN),
    (values.rate, values.RATE_PATTERN),
    (values.budget, values.BUDGET_PATTERN),
    (values.size, values.SIZE_PATTERN),
    (values.duration_range, values.RANGE_PATTERN),
]


@pytest.mark.parametrize(("parse", "pattern"), PATTERNS, ids=lambda value: getattr(value, "__name__", ""))
@settings(deadline=None)
@given(data=st.data())
def test_what_is_read_is_what_editors_are_told(parse: Parser, pattern: str, data: st.DataObject) -> None:
    """Every text that a parser accepts matches the pattern in the JSON Schema."""
    text = data.draw(st.from_regex(pattern.replace("{1,12}", "{1,3}").replace("{1,6}", "{1,2}"), fullmatch=False))
    try:
        parse(text)
    except BadValue:
        return
    assert re.search(pattern, text)
