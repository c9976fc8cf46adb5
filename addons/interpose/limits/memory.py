"""The store of one process: everything in memory, nothing outlives it.

Memory is bounded. A bucket from which everything has slid out is as good as none: those are let go, the oldest first,
and those alone. A client that makes up keys can therefore fill the store, but not have another's bucket, or its own,
counted from zero again. While `capacity` buckets are in use, newcomers share: their demands are counted in one of 256
buckets per kind, limit and window, chosen by a hash that nobody outside can foresee. No key ever gets more than its
limit by that; newcomers get less, and old ones do not notice. A key stays with its shared bucket until that is empty.
(A cache that evicts what was used least recently, as cachetools has them, would reset buckets in use.)

Slots need no bound of their own, and no lease: they are gone with the calls that hold them, or with the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from .periods import Period
from .shelves import Found, Moment, Purses, Shelf, Slots, Windows
from .store import Charge, Demand, Granted, Refused, Reservation, Standing
from .window import Progress


class MemoryStore:
    """A `Store` in this process. One event loop may use it; no call of it waits for anything."""

    def __init__(self, capacity: int = 1_000_000) -> None:
        self._capacity = capacity
        self._progress = Progress()
        self._windows: dict[int, Windows] = {}
        self._purses: dict[Period, Purses] = {}
        self._slots = Slots()
        self._ids = count(1)

    def __len__(self) -> int:
        """How many windows and budgets are kept, the shared ones aside."""
        return sum(len(shelf.kept) for shelf in self._shelves())

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        return self.decide(demands, now, charging=True)

    async def peek(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        return self.decide(demands, now, charging=False)

    async def settle(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        self.settle_now(reservation, actual, now)

    def settle_now(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        """`settle`, at once."""
        if reservation.closed:
            return
        reservation.closed = True
        moment = self._moment(now, current=False)
        for charge in reservation.charges:
            used = actual.get(charge.demand.key, charge.demand.cost)
            self._shelf(charge.demand).settle(charge, used, moment)

    async def release(self, reservation: Reservation, now: float) -> None:
        await self.settle(reservation, {charge.demand.key: 0 for charge in reservation.charges}, now)

    async def seed(self, demand: Demand, spent: int, now: float) -> None:
        shelf = self._shelf(demand)
        if isinstance(shelf, Purses):
            shelf.seed(demand, spent, self._moment(now, current=False))

    async def aclose(self) -> None:
        return

    def charge(self, demands: Sequence[Demand], now: float) -> Granted:
        """Charge every demand, whatever the limits say: it has been granted elsewhere."""
        answer = self.decide(demands, now, charging=True, checking=False)
        assert isinstance(answer, Granted)
        return answer

    def decide(
        self, demands: Sequence[Demand], now: float, *, charging: bool, checking: bool = True
    ) -> Granted | Refused:
        """`reserve` or `peek`, at once."""
        moment = self._moment(now)

        def room() -> bool:
            return self._room(moment)

        shelves = [self._shelf(demand) for demand in demands]
        found = [shelf.look(demand, moment, room) for shelf, demand in zip(shelves, demands, strict=True)]
        used = [shelf.used(bucket, moment) for shelf, (_, bucket) in zip(shelves, found, strict=True)]
        refused = _refused(demands, shelves, found, used, moment) if checking else None
        charges: list[Charge] = []
        if refused is None and charging:
            for at, demand in enumerate(demands):
                kept = Found(found[at].name, shelves[at].keep(found[at]))
                charges.append(Charge(demand, kept.name, shelves[at].charge(kept, demand.cost, moment)))
                found[at] = kept
                used[at] = shelves[at].used(kept.bucket, moment)
        standings = tuple(
            Standing(
                demand.key,
                demand.kind,
                demand.limit,
                max(demand.limit - used[at], 0),
                shelves[at].reset(found[at].bucket, moment),
            )
            for at, demand in enumerate(demands)
        )
        if refused is not None:
            return Refused(refused[0], refused[1], standings)
        return Granted(Reservation(str(next(self._ids)), tuple(charges), closed=not charging), standings)

    def _moment(self, now: float, *, current: bool = True) -> Moment:
        return Moment(now, self._progress.read(now, current=current))

    def _shelf(self, demand: Demand) -> Shelf[Any]:
        if demand.seconds is not None:
            windows = self._windows.get(demand.seconds)
            if windows is None:
                windows = self._windows[demand.seconds] = Windows(demand.seconds)
            return windows
        if demand.period is not None:
            purses = self._purses.get(demand.period)
            if purses is None:
                purses = self._purses[demand.period] = Purses(demand.period)
            return purses
        return self._slots

    def _shelves(self) -> Iterator[Shelf[Any]]:
        yield from self._windows.values()
        yield from self._purses.values()

    def _room(self, moment: Moment) -> bool:
        for shelf in self._shelves():
            shelf.evict(moment)
        return len(self) < self._capacity


def _refused(
    demands: Sequence[Demand],
    shelves: Sequence[Shelf[Any]],
    found: Sequence[Found[Any]],
    used: Sequence[int],
    moment: Moment,
) -> tuple[Demand, float | None] | None:
    """The demand that does not fit and must be waited for longest, and how long; None if all of them fit."""
    longest: tuple[Demand, float | None] | None = None
    for at, demand in enumerate(demands):
        # Two demands of one call may meet in one shared bucket.
        before = sum(demands[i].cost for i in range(at) if found[i].name == found[at].name)
        over = used[at] + before + demand.cost - demand.limit
        if over <= 0:
            continue
        if demand.cost > demand.limit:
            return demand, None
        wait = shelves[at].wait(found[at].bucket, over, moment)
        if longest is None or longest[1] is None or wait > longest[1]:
            longest = (demand, wait)
    return longest
