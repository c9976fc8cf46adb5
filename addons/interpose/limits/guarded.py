"""A shared store that may be down or slow: every decision within `patience` (50 ms), whatever becomes of the server.

While the server does not answer, `policy` says what happens: `deny` refuses, `allow` grants without counting, and
`local_share` counts here, in memory, with the limit divided by how many processes shared it when it was last heard of
(rounded down, so that all of them together stay within it; a limit below their number admits nobody meanwhile).

What was granted by shared store and local share never meet in a burst:
- While the server answers, this process counts its own grants in its local share as well; when the server is lost, what
  it has had is known. Only what others had is not: for one window, all together may get up to one more limit.
- When the server is back, what was granted meanwhile is charged there, calls in flight included, before it decides
  again. It may then stand above a limit, and grants nothing until that has slid out.

A server that comes back without its memory has forgotten what was granted before; keep it on disk (`appendonly`), and
seed budgets again.

The server is asked again after 50 ms, 100 ms … 1 s, by one task. What could not be settled is settled then. A decision
that comes too late to be waited for is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .memory import MemoryStore
from .store import Demand, Granted, Refused, Reservation, Standing, StoreError
from .valkey import ValkeyStore

logger = logging.getLogger(__name__)

Policy = Literal["local_share", "deny", "allow"]
# What is said of each while the server is away.
MEANWHILE: Mapping[Policy, str] = {
    "local_share": "this process keeps to its share of each limit",
    "deny": "calls with limits are refused",
    "allow": "calls pass uncounted",
}

OWED = 100_000  # settlements that are remembered while the server is away; it frees what is forgotten by its leases
BATCH = 500  # buckets that are told of at once
TURNS = 20  # of the event loop, which reading an answer takes at most
RETRY = 1.0  # s after which to ask again who is denied


@dataclass(slots=True)
class _Held:
    """An open reservation: where it is charged. Both are the same call's; one of them is there at least."""

    demands: tuple[Demand, ...]
    shared: Reservation | None
    local: Reservation | None


class GuardedStore:
    """A `Store` around a shared one. `clock` gives Unix time, for what is done later. `told` is the store's name in the
    log, which hears of each loss and each return of it once.
    """

    def __init__(
        self,
        store: ValkeyStore,
        policy: Policy,
        clock: Callable[[], float],
        *,
        patience: float = 0.05,
        capacity: int = 1_000_000,
        told: str = "of limits",
    ) -> None:
        self.up = True
        self._store = store
        self._policy: Policy = policy
        self._clock = clock
        self._patience = patience
        self._capacity = capacity
        self._told = told
        self._local = MemoryStore(capacity)
        self._held: dict[str, _Held] = {}
        self._owed: OrderedDict[str, tuple[Reservation, Mapping[str, int]]] = OrderedDict()
        # What was used of each bucket while the server was away, as the cost of a demand.
        self._meanwhile: OrderedDict[str, Demand] = OrderedDict()
        # What is spent of budgets, and when that was said, where the server has not heard of it.
        self._seeds: dict[str, tuple[Demand, int, float]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self, seconds: float) -> None:
        """Connect, which may take longer than a decision; a server that does not answer is away from the beginning."""
        try:
            await self._in_time(self._store.enrol(), seconds)
        except StoreError as error:
            self._lost(error)

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        if self.up:
            try:
                answer = await self._in_time(self._store.reserve(demands, now))
            except StoreError as error:
                self._lost(error)
            else:
                if isinstance(answer, Granted):
                    local = self._local.charge(demands, now).reservation if self._policy == "local_share" else None
                    self._held[answer.reservation.id] = _Held(tuple(demands), answer.reservation, local)
                return answer
        alone = _POLICIES[self._policy](self._local, demands, now, self._store.writers)
        if isinstance(alone, Granted):
            self._held[alone.reservation.id] = _Held(tuple(demands), None, alone.reservation)
        return alone

    async def peek(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        if self.up:
            try:
                return await self._in_time(self._store.peek(demands, now))
            except StoreError as error:
                self._lost(error)
        alone = _POLICIES[self._policy](self._local, demands, now, self._store.writers)
        if isinstance(alone, Granted):
            await self._local.release(alone.reservation, now)
        return alone

    async def settle(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        """Never raises: what the server does not hear now it hears when it is back."""
        if (held := self._held.pop(reservation.id, None)) is None:
            return
        if held.local is not None:
            await self._local.settle(held.local, actual, now)
        if held.shared is None:
            self._note(held.demands, actual)
            return
        self._owe(held.shared, actual)
        if self.up:
            try:
                await self._in_time(self._pay(held.shared.id))
            except StoreError as error:
                self._lost(error)

    async def release(self, reservation: Reservation, now: float) -> None:
        await self.settle(reservation, _nothing(reservation), now)

    async def seed(self, demand: Demand, spent: int, now: float) -> None:
        """Never raises: here it is known at once, and the server hears of it when it is back."""
        await self._local.seed(demand, spent, now)
        if self.up:
            try:
                await self._in_time(self._store.seed(demand, spent, now))
            except StoreError as error:
                self._lost(error)
            else:
                return
        self._seeds[demand.key] = (demand, spent, now)

    async def aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.aclose()

    def _task[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_time[T](self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        """The outcome of `work` within the patience, else a StoreError; a grant that comes later is given back."""
        task = self._task(work)
        try:
            await asyncio.wait((task,), timeout=patience or self._patience)
            for _ in range(TURNS):
                if task.done():
                    break
                # An answer that arrived while this process was busy with something else is not late: let it be read.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.add_done_callback(self._give_back)
            raise
        if not task.done():
            task.add_done_callback(self._give_back)
            raise StoreError(f"the store of limits did not answer within {(patience or self._patience) * 1000:.0f} ms")
        return task.result()

    def _give_back(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None or not isinstance(answer := task.result(), Granted):
            return
        if not answer.reservation.closed:
            self._owe(answer.reservation, _nothing(answer.reservation))
            self._task(self._pay_quietly(answer.reservation.id))

    def _owe(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        self._owed[reservation.id] = (reservation, dict(actual))
        while len(self._owed) > OWED:
            self._owed.popitem(last=False)

    async def _pay(self, name: str) -> None:
        if (owed := self._owed.get(name)) is not None:
            await self._store.settle(*owed, self._clock())
            self._owed.pop(name, None)

    async def _pay_quietly(self, name: str) -> None:
        try:
            await self._pay(name)
        except StoreError as error:
            self._lost(error)

    def _note(self, demands: Sequence[Demand], actual: Mapping[str, int]) -> None:
        """Remember what was used while the server was away."""
        for demand in demands:
            used = actual.get(demand.key, demand.cost)
            if demand.kind == "concurrent" or not used:
                continue
            before = self._meanwhile.get(demand.key)
            self._meanwhile[demand.key] = replace(demand, cost=used + (before.cost if before else 0))
        while len(self._meanwhile) > self._capacity:
            self._meanwhile.popitem(last=False)

    def _lost(self, error: StoreError) -> None:
        if self.up:
            self.up = False
            meanwhile = MEANWHILE[self._policy]
            logger.warning("the store %s is away: %s. Until it is back, %s", self._told, error, meanwhile)
            self._task(self._return())

    async def _return(self) -> None:
        """Ask the server until it answers in time; then tell it what happened, and let it decide again."""
        pause = self._patience
        while not self.up:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            try:
                await self._in_time(self._store.enrol())
                await self._tell()
            except StoreError:
                continue
            # Nothing has happened since the last look, because nothing was waited for.
            self.up = not (self._owed or self._meanwhile or self._unshared() or self._seeds)
        logger.warning("the store %s is back: limits are counted there again", self._told)

    def _unshared(self) -> list[str]:
        return [name for name, held in self._held.items() if held.shared is None]

    async def _tell(self) -> None:
        """What is told again, since it is not known whether it was heard, may count twice: never the other way."""
        for seed in tuple(self._seeds.values()):
            await self._sow(*seed)
        for name in tuple(self._owed):
            await self._pay(name)
        for name in self._unshared():
            if (held := self._held.get(name)) is None:
                continue
            reservation = (await self._store.charge(held.demands, self._clock())).reservation
            if name in self._held:
                held.shared = reservation
            else:  # it has ended meanwhile, and was noted
                self._owe(reservation, _nothing(reservation))
        while self._meanwhile:
            told = tuple(self._meanwhile.values())[:BATCH]
            reservation = (await self._store.charge(told, self._clock())).reservation
            for demand in told:
                rest = self._meanwhile[demand.key].cost - demand.cost
                if rest:
                    self._meanwhile[demand.key] = replace(demand, cost=rest)
                else:
                    del self._meanwhile[demand.key]
            self._owe(reservation, {})
            await self._pay(reservation.id)

    async def _sow(self, demand: Demand, spent: int, then: float) -> None:
        """Seed a budget late, unless its period is over: the next one begins with nothing spent."""
        now = self._clock()
        if demand.period is not None and demand.period.bounds(now) == demand.period.bounds(then):
            await self._store.seed(demand, spent, now)
        if self._seeds.get(demand.key) == (demand, spent, then):
            del self._seeds[demand.key]


def _nothing(reservation: Reservation) -> Mapping[str, int]:
    return {charge.demand.key: 0 for charge in reservation.charges}


def _share(local: MemoryStore, demands: Sequence[Demand], now: float, writers: int) -> Granted | Refused:
    """Decide here, within this process's part of every limit."""
    parts = tuple(replace(demand, limit=demand.limit // writers) for demand in demands)
    answer = local.decide(parts, now, charging=True)
    if (
        isinstance(answer, Refused)
        and answer.retry_after is None
        and answer.demand.cost <= (next(demand.limit for demand in demands if demand.key == answer.demand.key))
    ):
        # It fits into the whole, which may be back at any time.
        return replace(answer, retry_after=RETRY)
    return answer


def _deny(local: MemoryStore, demands: Sequence[Demand], now: float, writers: int) -> Granted | Refused:
    if not demands:
        return local.charge(demands, now)
    standings = tuple(Standing(demand.key, demand.kind, demand.limit, 0, RETRY) for demand in demands)
    return Refused(demands[0], RETRY, standings, unavailable=True)


def _allow(local: MemoryStore, demands: Sequence[Demand], now: float, writers: int) -> Granted | Refused:
    return local.charge(demands, now)


_POLICIES: Mapping[Policy, Callable[[MemoryStore, Sequence[Demand], float, int], Granted | Refused]] = {
    "local_share": _share,
    "deny": _deny,
    "allow": _allow,
}
