"""The brute-force log that limits are held against: every charge with its time, added up at every question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from interpose.limits import Demand, Granted, Refused

PROMISED = 12 / 11  # what was charged this many windows ago is surely forgotten


@dataclass
class Entry:
    """One charge: when, of which bucket, how much of it is left, and whether a call in flight holds it."""

    passed: float
    now: float
    demand: Demand
    amount: int
    closed: bool = False


@dataclass
class Log:
    """All charges, and the time that has passed as the windows count it, of readings in microseconds."""

    entries: list[Entry] = field(default_factory=list)
    passed: int = 0
    last: int | None = None

    def tick(self, now: int) -> None:
        if self.last is None or now < self.last - 5_000_000:
            self.last = now
        self.passed += max(now - self.last, 0)
        self.last = max(now, self.last)

    def used(self, demand: Demand, now: int, stretch: float) -> int:
        """What counts in a bucket: in the last `stretch` windows, in this calendar period, or in flight."""
        mine = [entry for entry in self.entries if entry.demand.key == demand.key]
        if demand.seconds is not None:
            # A dozen sub-buckets, each of which is rounded up to a whole microsecond.
            since = self.passed - stretch * demand.seconds * 1_000_000 - (12 if stretch > 1 else 0)
            return sum(entry.amount for entry in mine if entry.passed > since)
        if demand.period is not None:
            start, end = demand.period.bounds(now / 1_000_000)
            return sum(entry.amount for entry in mine if start <= entry.now / 1_000_000 < end)
        return sum(entry.amount for entry in mine if not entry.closed)

    def judge(self, demands: Sequence[Demand], answer: Granted | Refused, now: int) -> list[Entry]:
        """Assert the law and the promise for one answer. Gives the charges of a grant."""
        surely = all(self.used(demand, now, PROMISED) + demand.cost <= demand.limit for demand in demands)
        legal = all(self.used(demand, now, 1) + demand.cost <= demand.limit for demand in demands)
        if isinstance(answer, Refused):
            assert not surely, (demands, answer)
            return []
        assert legal, (demands, answer)
        made = [Entry(self.passed, now, demand, demand.cost) for demand in demands]
        self.entries += made
        return made

    def close(self, made: Sequence[Entry], actual: Sequence[int], now: int) -> None:
        """What was used replaces what was charged, where it was charged; what is more is charged now."""
        for entry, used in zip(made, actual, strict=True):
            entry.closed = True
            more = used - entry.amount
            if entry.demand.kind == "concurrent":
                continue
            if more > 0 and entry.demand.seconds is not None:
                self.entries.append(Entry(self.passed, now, entry.demand, more))
            else:
                entry.amount = used
