"""The buckets of one process by kind: windows, purses (a budget's calendar period) and slots. `memory` asks them.

A shelf keeps buckets in order of when they will be empty, lets go of those that are, and of no others, and counts
newcomers together in shared buckets while there is no room (see `memory` for why).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .periods import Period
from .store import SLOT_RETRY, Charge, Demand
from .window import STEPS, Window, seconds_of, step_width

SHARED = 256
GRACE = 3600  # s that the budget of a past period is kept, for a clock that is put back: by more, and it counts anew
_MARK = "\0"  # begins the names of shared buckets


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of one decision: the clock, and what has surely passed in microseconds."""

    now: float
    passed: int


class Found[B](NamedTuple):
    """A bucket and its name. It is not kept yet if it is new."""

    name: str
    bucket: B


class Shelf[B](ABC):
    """Buckets of one kind and length. Those in `kept` are in order of when they will be empty."""

    def __init__(self) -> None:
        self.kept: OrderedDict[str, B] = OrderedDict()
        self._shared: dict[str, B] = {}

    def look(self, demand: Demand, moment: Moment, room: Callable[[], bool]) -> Found[B]:
        """The bucket that counts `demand`; `room` says whether there may be another one."""
        name = self.name(demand.key, moment)
        if (bucket := self.kept.get(name)) is not None:
            return Found(name, bucket)
        if (roomy := room()) and not self._shared:
            return Found(name, self.new())
        # Python's hash of a text is another one in every process.
        shared = self.name(f"{_MARK}{hash(demand.key) % SHARED}/{demand.kind}/{demand.limit}", moment)
        bucket = self._shared.get(shared)
        if bucket is not None and not self.empty(bucket, moment):
            return Found(shared, bucket)
        self._shared.pop(shared, None)
        return Found(name if roomy else shared, self.new())

    def keep(self, found: Found[B]) -> B:
        """Keep a bucket that is about to be charged. It is another one if another demand just made it."""
        shelf = self._shared if found.name[0] == _MARK else self.kept
        return shelf.setdefault(found.name, found.bucket)

    def settle(self, charge: Charge, actual: int, moment: Moment) -> None:
        """Replace what was charged by what was used."""
        shelf = self._shared if charge.bucket[0] == _MARK else self.kept
        if (bucket := shelf.get(charge.bucket)) is None:
            if actual <= charge.demand.cost or not self.reopens:
                return
            bucket = shelf[charge.bucket] = self.new()
        self.correct(bucket, charge, actual, moment)
        if self.empty(bucket, moment):
            del shelf[charge.bucket]

    def evict(self, moment: Moment) -> None:
        """Let go of the oldest buckets that are empty: of two, so that there are fewer in time."""
        for _ in range(2):
            name = next(iter(self.kept), None)
            if name is None or not self.empty(self.kept[name], moment):
                return
            del self.kept[name]

    reopens = False  # whether a bucket that is gone may be charged when a reservation is settled

    @abstractmethod
    def new(self) -> B: ...

    @abstractmethod
    def name(self, key: str, moment: Moment) -> str:
        """The name of the bucket of `key` at that moment."""

    @abstractmethod
    def used(self, bucket: B, moment: Moment) -> int:
        """What is charged at that moment."""

    @abstractmethod
    def charge(self, found: Found[B], cost: int, moment: Moment) -> int:
        """Charge a bucket that is kept. Gives the place of the charge."""

    @abstractmethod
    def correct(self, bucket: B, charge: Charge, actual: int, moment: Moment) -> None:
        """Replace what was charged by what was used, in a bucket that is kept."""

    @abstractmethod
    def wait(self, bucket: B, over: int, moment: Moment) -> float:
        """In how many seconds there will be `over` less."""

    @abstractmethod
    def reset(self, bucket: B, moment: Moment) -> float:
        """In how many seconds nothing will be charged."""

    @abstractmethod
    def empty(self, bucket: B, moment: Moment) -> bool:
        """Whether the bucket is as good as none."""


class Windows(Shelf[Window]):
    """The windows of one length."""

    reopens = True

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self._width = step_width(seconds)

    def new(self) -> Window:
        return Window()

    def name(self, key: str, moment: Moment) -> str:
        return key

    def used(self, bucket: Window, moment: Moment) -> int:
        bucket.slide(moment.passed // self._width)
        return bucket.total

    def charge(self, found: Found[Window], cost: int, moment: Moment) -> int:
        step = moment.passed // self._width
        found.bucket.charge(step, cost)
        if found.name in self.kept:
            self.kept.move_to_end(found.name)
        return step

    def correct(self, bucket: Window, charge: Charge, actual: int, moment: Moment) -> None:
        more = actual - charge.demand.cost
        if more < 0:
            bucket.refund(charge.place, -more)
        elif more > 0:
            bucket.slide(moment.passed // self._width)
            self.charge(Found(charge.bucket, bucket), more, moment)

    def wait(self, bucket: Window, over: int, moment: Moment) -> float:
        return seconds_of(bucket.frees(over) * self._width - moment.passed)

    def reset(self, bucket: Window, moment: Moment) -> float:
        return seconds_of((bucket.last() + STEPS) * self._width - moment.passed) if bucket.total else 0.0

    def empty(self, bucket: Window, moment: Moment) -> bool:
        return not bucket.total or bucket.last() <= moment.passed // self._width - STEPS


class Purse:
    """What was spent of a budget in one period, and what calls in flight hold of it."""

    __slots__ = ("end", "held", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.held = 0
        self.end = 0  # Unix time, once it is charged


class Purses(Shelf[Purse]):
    """The budgets of one kind of period."""

    reopens = True

    def __init__(self, period: Period) -> None:
        super().__init__()
        self._period = period

    def new(self) -> Purse:
        return Purse()

    def name(self, key: str, moment: Moment) -> str:
        return f"{key}@{self._period.bounds(moment.now).start}"

    def used(self, bucket: Purse, moment: Moment) -> int:
        return bucket.spent + bucket.held

    def charge(self, found: Found[Purse], cost: int, moment: Moment) -> int:
        start, found.bucket.end = self._period.bounds(moment.now)
        found.bucket.held += cost
        return start

    def correct(self, bucket: Purse, charge: Charge, actual: int, moment: Moment) -> None:
        # A purse that is long over may have been let go and be a new one.
        bucket.end = self._period.bounds(charge.place).end
        bucket.held = max(bucket.held - charge.demand.cost, 0)
        bucket.spent += actual

    def seed(self, demand: Demand, spent: int, moment: Moment) -> None:
        """At least `spent` is spent in the period of `moment`. A seed is kept even where there is no room."""
        purse = self.kept.setdefault(self.name(demand.key, moment), Purse())
        purse.end = self._period.bounds(moment.now).end
        purse.spent = max(purse.spent, spent)

    def wait(self, bucket: Purse, over: int, moment: Moment) -> float:
        return seconds_of(self._period.bounds(moment.now).end * 1_000_000 - int(moment.now * 1_000_000))

    def reset(self, bucket: Purse, moment: Moment) -> float:
        return seconds_of(self._period.bounds(moment.now).end * 1_000_000 - int(moment.now * 1_000_000))

    def empty(self, bucket: Purse, moment: Moment) -> bool:
        return not bucket.spent + bucket.held or bucket.end + GRACE <= moment.now


class Taken:
    """How many slots are taken."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Slots(Shelf[Taken]):
    """The slots of calls in flight."""

    def new(self) -> Taken:
        return Taken()

    def name(self, key: str, moment: Moment) -> str:
        return key

    def used(self, bucket: Taken, moment: Moment) -> int:
        return bucket.count

    def charge(self, found: Found[Taken], cost: int, moment: Moment) -> int:
        found.bucket.count += cost
        return 0

    def correct(self, bucket: Taken, charge: Charge, actual: int, moment: Moment) -> None:
        bucket.count -= charge.demand.cost

    def wait(self, bucket: Taken, over: int, moment: Moment) -> float:
        return SLOT_RETRY

    def reset(self, bucket: Taken, moment: Moment) -> float:
        return 0.0

    def empty(self, bucket: Taken, moment: Moment) -> bool:
        return not bucket.count
