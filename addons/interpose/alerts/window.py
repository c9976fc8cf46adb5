"""What the calls of the last so many seconds say: a sliding window of constant size, whatever the traffic.

It has 60 buckets, the oldest of which leaves as a whole: a window of 5 minutes forgets in steps of 5 seconds. Durations
are kept as a histogram of steps of 5 %, which is as exact as anybody needs to be woken up.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from interpose.ledger.record import Record

BUCKETS = 60
# Each step of a histogram is so much longer than the one before.
STEP = math.log(1.05)
# What is our own decision is no error of anybody's.
FAILED = frozenset(("error", "truncated"))


@dataclass(slots=True)
class Sums:
    """What some calls come to. `latency` and `ttft` count milliseconds by the logarithm of their size."""

    requests: int = 0
    failed: int = 0
    limited: int = 0
    metered: int = 0
    estimated: int = 0
    tokens: int = 0
    cost: float = 0.0
    latency: Counter[int] = field(default_factory=Counter)
    ttft: Counter[int] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        self.requests += 1
        self.failed += record.outcome in FAILED
        self.limited += record.outcome == "limited"
        self.metered += record.usage_source != "none"
        self.estimated += record.usage_source == "estimated"
        self.tokens += (record.input_tokens or 0) + (record.output_tokens or 0)
        self.cost += record.cost_usd or 0.0
        if record.outcome == "ok" and record.duration_ms is not None:
            self.latency[step(record.duration_ms)] += 1
        if record.outcome == "ok" and record.stream and record.ttft_ms is not None:
            self.ttft[step(record.ttft_ms)] += 1

    def plus(self, other: Sums) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.limited += other.limited
        self.metered += other.metered
        self.estimated += other.estimated
        self.tokens += other.tokens
        self.cost += other.cost
        self.latency.update(other.latency)
        self.ttft.update(other.ttft)


class Window:
    """The calls of the last `seconds`. Times are seconds of any clock that does not go back."""

    __slots__ = ("_buckets", "_width", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._width = seconds / BUCKETS
        self._buckets: deque[tuple[int, Sums]] = deque()

    def add(self, record: Record, now: float) -> None:
        place = int(now // self._width)
        if not self._buckets or self._buckets[-1][0] < place:
            self._buckets.append((place, Sums()))
        self._buckets[-1][1].add(record)
        self._forget(place)

    def sums(self, now: float) -> Sums:
        self._forget(int(now // self._width))
        total = Sums()
        for _, sums in self._buckets:
            total.plus(sums)
        return total

    def _forget(self, place: int) -> None:
        while self._buckets and self._buckets[0][0] <= place - BUCKETS:
            self._buckets.popleft()


def step(milliseconds: float) -> int:
    """The place of a duration in a histogram."""
    return math.ceil(math.log(max(milliseconds, 0.001)) / STEP)


def quantile(histogram: Mapping[int, int], share: float) -> float | None:
    """The duration in seconds that so large a share does not exceed; None of nothing."""
    wanted = share * sum(histogram.values())
    seen = 0
    for place in sorted(histogram):
        seen += histogram[place]
        if seen >= wanted:
            return math.exp(place * STEP) / 1000
    return None


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value, and how many calls it is of."""

    value: float
    of: int


def share(part: int, whole: int) -> Measured | None:
    return Measured(part / whole, whole) if whole else None


def of_latency(quota: float) -> Callable[[Sums], Measured | None]:
    return lambda sums: timed(sums.latency, quota)


def of_ttft(quota: float) -> Callable[[Sums], Measured | None]:
    return lambda sums: timed(sums.ttft, quota)


def timed(histogram: Counter[int], part: float) -> Measured | None:
    found = quantile(histogram, part)
    return None if found is None else Measured(found, histogram.total())


# Metrics of calls; rates are of all calls, durations of those that ended well.
OF_CALLS: Mapping[str, Callable[[Sums], Measured | None]] = {
    "error_rate": lambda sums: share(sums.failed, sums.requests),
    "limited_rate": lambda sums: share(sums.limited, sums.requests),
    "estimated_share": lambda sums: share(sums.estimated, sums.metered),
    "requests": lambda sums: Measured(sums.requests, sums.requests),
    "tokens": lambda sums: Measured(sums.tokens, sums.requests),
    "cost": lambda sums: Measured(sums.cost, sums.requests),
    "latency_p50": of_latency(0.5),
    "latency_p95": of_latency(0.95),
    "latency_p99": of_latency(0.99),
    "ttft_p50": of_ttft(0.5),
    "ttft_p95": of_ttft(0.95),
    "ttft_p99": of_ttft(0.99),
}
