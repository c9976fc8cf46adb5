"""Texts with a unit, as rules write them: durations, rates, budgets, sizes, dates, hosts. Strict: no unit is guessed.

Each parser takes whatever stood in the file and returns a frozen value, or raises BadValue saying what to write.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from interpose.limits.periods import Unit

from .problem import BadValue, printable

_NUMBER = r"(?:[0-9]{1,12}(?:\.[0-9]{1,6})?)"

SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
PERIODS: Mapping[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
CALENDAR = ("hour", "day", "week", "month", "year")
BYTES: Mapping[str, int] = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

LEAST_BODY, MOST_BODY = 2**10, 2**26

# The same texts as JSON Schema patterns, for editors.
DURATION_PATTERN = rf"^{_NUMBER}(ms|s|m|h|d)$"
RANGE_PATTERN = rf"^{_NUMBER}(ms|s|m|h|d)\.\.{_NUMBER}(ms|s|m|h|d)$"
RATE_PATTERN = r"^[0-9]{1,12}/(second|minute|hour|day)$"
BUDGET_PATTERN = rf"^\${_NUMBER}/(hour|day|week|month|year)$"
SIZE_PATTERN = rf"^{_NUMBER} ?(B|kB|MB|GB|KiB|MiB|GiB|tokens)$"
BYTES_PATTERN = rf"^{_NUMBER} ?(B|kB|MB|GB|KiB|MiB|GiB)$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
CONDITION_PATTERN = rf"^[a-z0-9_]+ *(>=|<=|>|<) *\$?{_NUMBER}(%|ms|s|m)?$"
PERCENT_PATTERN = rf"^{_NUMBER}%$"


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high` seconds."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Never more than `count` in any `seconds`."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Budget:
    """So many US dollars per calendar period, UTC."""

    usd: Decimal
    period: Unit

    def __str__(self) -> str:
        return f"${self.usd.normalize():f}/{self.period}"

    @property
    def micro(self) -> int:
        """In micro-dollars."""
        return int(self.usd * 1_000_000)


@dataclass(frozen=True, slots=True)
class Size:
    """So many bytes or estimated tokens."""

    count: int
    unit: str


@dataclass(frozen=True, slots=True)
class Shares:
    """Less than so much of a provider's quota: the shares by provider, None for the one where a call goes by itself."""

    of: tuple[tuple[str | None, float], ...]

    def covers(self, other: Shares) -> bool:
        """Whether these hold wherever those do."""
        theirs = dict(other.of)
        return all(provider in theirs and theirs[provider] <= share for provider, share in self.of)


@dataclass(frozen=True, slots=True)
class Condition:
    """What an alert waits for: `error_rate > 5%`. `unit` is one of "", %, $, s (seconds)."""

    metric: str
    operator: str
    threshold: float
    unit: str


def _text(value: object, example: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise BadValue(f"{printable(str(value))} has no unit", f"write for example {example}")
    raise BadValue(f"expected text such as {example}, got {kind(value)}")


def duration(value: object) -> float:
    """`10s`, `500ms`, `5m` -> seconds, more than none."""
    return _seconds(value, 366)


def age(value: object) -> float:
    """`400d` -> seconds; how long something is kept."""
    return _seconds(value, 3660)


def _seconds(value: object, days: int) -> float:
    text = _text(value, "10s")
    match = re.fullmatch(rf"({_NUMBER})(ms|s|m|h|d)", text)
    if match is None:
        raise BadValue(f'"{printable(text)}" is not a duration', "write for example 500ms, 10s, 5m, 2h or 1d")
    seconds = float(match[1]) * SECONDS[match[2]]
    if not 0 < seconds <= days * 86_400:
        raise BadValue(
            f'"{printable(text)}" is not a usable duration', f"it must be more than zero and at most {days}d"
        )
    return seconds


def duration_range(value: object) -> Range:
    """`0.5s..20s` -> Range."""
    text = _text(value, "0.5s..20s")
    low, dots, high = text.partition("..")
    if not dots:
        raise BadValue(f'"{printable(text)}" is not a range of durations', "write for example 0.5s..20s")
    result = Range(duration(low), duration(high))
    if result.low > result.high:
        raise BadValue(f'"{printable(text)}" ends before it begins', f"write {high}..{low}")
    return result


def rate(value: object) -> Rate:
    """`60/minute` -> Rate."""
    text = _text(value, "60/minute")
    match = re.fullmatch(r"([0-9]{1,12})/([a-z]+)", text)
    if match is None or match[2] not in PERIODS:
        raise BadValue(f'"{printable(text)}" is not a rate', "write N/second, N/minute, N/hour or N/day")
    return Rate(int(match[1]), PERIODS[match[2]])


def budget(value: object) -> Budget:
    """`$20/day` -> Budget."""
    text = _text(value, "$20/day")
    match = re.fullmatch(rf"\$({_NUMBER})/([a-z]+)", text)
    if match is None or match[2] not in CALENDAR:
        raise BadValue(f'"{printable(text)}" is not a budget', "write $N/hour, $N/day, $N/week, $N/month or $N/year")
    return Budget(Decimal(match[1]), cast("Unit", match[2]))


def size(value: object) -> Size:
    """`8MiB` -> Size in bytes; `1000 tokens` -> Size in tokens."""
    text = _text(value, "8MiB")
    match = re.fullmatch(rf"({_NUMBER}) ?([A-Za-z]+)", text)
    if match is None or match[2] not in (*BYTES, "tokens"):
        raise BadValue(f'"{printable(text)}" is not a size', "write for example 500kB, 8MiB or 1000 tokens")
    if match[2] == "tokens":
        return Size(int(Decimal(match[1])), "tokens")
    return Size(int(Decimal(match[1]) * BYTES[match[2]]), "bytes")


def body_limit(value: object) -> int:
    """`1MiB` -> bytes, of one body: so much is in memory until it is written."""
    limit = size(value)
    if limit.unit != "bytes":
        raise BadValue("is of tokens, where bodies are cut at bytes", "write for example 1MiB")
    if not LEAST_BODY <= limit.count <= MOST_BODY:
        raise BadValue(
            f'"{printable(str(value))}" is no limit for a body', "write a size from 1KiB to 64MiB; 1MiB is the default"
        )
    return limit.count


def date(value: object) -> datetime.date:
    """`2027-01-01` -> date."""
    text = _text(value, "2027-01-31")
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return datetime.date.fromisoformat(text)
        except ValueError:
            pass
    raise BadValue(f'"{printable(text)}" is not a date', "write year-month-day, for example 2027-01-31")


def percent(value: object) -> float:
    """`20%` -> 0.2."""
    text = _text(value, "20%")
    if re.fullmatch(rf"{_NUMBER}%", text) is None or float(text[:-1]) > 100:
        raise BadValue(f'"{printable(text)}" is not a percentage', "write for example 20%")
    return float(text[:-1]) / 100


def shares(value: object) -> Shares:
    """`20%`, or `{openai: 20%}` -> Shares."""
    if not isinstance(value, dict):
        return Shares(((None, percent(value)),))
    if not value:
        raise BadValue("is empty", "write for example {openai: 20%}")
    return Shares(tuple((name, percent(share)) for name, share in value.items()))


def condition(value: object) -> Condition:
    """`error_rate > 5%` -> Condition."""
    text = _text(value, '"error_rate > 5%"')
    match = re.fullmatch(rf"([a-z0-9_]+) *(>=|<=|>|<) *(\$?)({_NUMBER})(%|ms|s|m)?", text)
    if match is None or (match[3] and match[5]):
        raise BadValue(f'"{printable(text)}" is not a condition', 'write for example "error_rate > 5%"')
    unit = match[3] or match[5] or ""
    scale, unit = {"%": (0.01, "%"), "ms": (0.001, "s"), "m": (60.0, "s")}.get(unit, (1.0, unit))
    return Condition(match[1], match[2], float(match[4]) * scale, unit)


def dollars(value: object) -> float:
    """A plain number of US dollars, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise BadValue(f"{shown(value)} is not a price", "write a plain number of US dollars, without $")
    return float(value)


STATUS_CLASSES = ("4xx", "5xx")
FAILURES = ("connect", "timeout", "reset", "truncated")


def retryable(value: object) -> int | str:
    """`429`, `5xx`, `connect`, `timeout` … : what a retry answers."""
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return value
    if isinstance(value, str) and value in (*STATUS_CLASSES, *FAILURES):
        return value
    words = ", ".join((*STATUS_CLASSES, *FAILURES))
    raise BadValue(f"{shown(value)} is nothing to retry on", f"write a status from 400 to 599 or one of {words}")


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "a mapping"),
    (type(None), "nothing"),
)


def kind(value: object) -> str:
    """What a value is, in plain language."""
    return next((name for type_, name in _KINDS if isinstance(value, type_)), "something else")


def shown(value: object) -> str:
    """A value for a message: short scalars as they are, anything else by its kind."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{printable(value)}"'
    return printable(str(value)) if isinstance(value, int | float) else kind(value)


Parser = Callable[[object], object]
