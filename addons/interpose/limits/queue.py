"""Waiting for a limit: a queue in front of a store, first come, first served per bucket.

- A call waits at the bucket that refused it, for the one that it must wait for longest. It is let in by age among those
  that wait there; a call that asks for a bucket at which others wait goes behind them, even if it would fit.
- One waiter per bucket asks the store, the oldest: when something was given back to that bucket, or when the store said
  that it may fit. Only if it is let in does the next one ask. So nothing wakes a crowd.
- A queue is bounded, so is the time that a call waits. One that must wait for longer than it may is refused at once.
- A client that leaves cancels its task, which leaves the queue; the next one moves up. What was granted at that very
  moment is given back.

Among the waiters of one bucket nobody starves. A call that is let in by its bucket and refused by another goes there,
before all that came later than it. Calls of other limits are not held up by it meanwhile: so one that needs two crowded
buckets at once may be passed over by calls that need one of them, until its wait ends.
"""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from .store import Demand, Granted, Refused, Reservation, Store

POLL = 0.25  # s: slots may be freed elsewhere, where nobody tells us


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call in a queue. `turn` is set when it may ask the store."""

    ticket: int
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class WaitingStore:
    """A `Store` whose `reserve` may wait. `clock` gives Unix time, `monotonic` the seconds that waits are counted in.

    `length` bounds each bucket's queue. Everything must be settled and released here, so that waiters hear of it.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float], monotonic: Callable[[], float], *, length: int = 1000
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._length = length
        self._queues: dict[str, list[_Waiter]] = {}
        self._tickets = count(1)

    def __len__(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._queues.values()))

    async def reserve(self, demands: Sequence[Demand], now: float, wait: float = 0) -> Granted | Refused:
        """As `Store.reserve`, waiting up to `wait` seconds. A refusal that was waited for is the last one."""
        until = self._monotonic() + wait
        waiter = _Waiter(next(self._tickets))  # its age is that of its arrival, however long the store takes
        crowded = next((demand for demand in demands if demand.key in self._queues), None)
        if crowded is None or any(demand.cost > demand.limit for demand in demands):
            answer = await self._ask(demands, now)
        elif wait <= 0:
            # Others wait there: who does not wait gets nothing that they wait for.
            answer = await self._behind(demands, crowded)
        else:
            answer = Refused(crowded, 0.0, ())
        if isinstance(answer, Granted) or wait <= 0:
            return answer
        return await self._wait(waiter, demands, answer, until)

    async def settle(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        try:
            await self._store.settle(reservation, actual, now)
        finally:
            self._stir(reservation)

    async def release(self, reservation: Reservation, now: float) -> None:
        try:
            await self._store.release(reservation, now)
        finally:
            self._stir(reservation)

    async def peek(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        return await self._store.peek(demands, now)

    async def seed(self, demand: Demand, spent: int, now: float) -> None:
        await self._store.seed(demand, spent, now)

    async def aclose(self) -> None:
        await self._store.aclose()

    async def _behind(self, demands: Sequence[Demand], crowded: Demand) -> Refused:
        """The refusal of a call that would have to wait at `crowded`."""
        answer = await self._store.peek(demands, self._clock())
        if isinstance(answer, Refused):
            return answer
        return Refused(crowded, POLL, answer.standings)

    async def _wait(
        self, waiter: _Waiter, demands: Sequence[Demand], answer: Refused, until: float
    ) -> Granted | Refused:
        while True:
            if self._hopeless(answer, until):
                return answer
            key = answer.demand.key
            queue = self._queues.setdefault(key, [])
            if len(queue) >= self._length:
                return await self._behind(demands, answer.demand)
            insort(queue, waiter, key=lambda one: one.ticket)
            try:
                admitted = await self._stand(queue, waiter, demands, answer, until)
            finally:
                self._leave(key, waiter)
            if isinstance(admitted, Granted):
                return admitted
            answer = admitted
            if answer.demand.key == key:
                return answer

    async def _stand(
        self, queue: list[_Waiter], waiter: _Waiter, demands: Sequence[Demand], answer: Refused, until: float
    ) -> Granted | Refused:
        """Wait in `queue`. Gives a grant, a refusal by another bucket, or in the end the last one by this."""
        key = answer.demand.key
        pause = self._pause(answer)
        while True:
            head = queue[0] is waiter
            left = until - self._monotonic()
            if left <= 0:
                return answer if answer.standings else await self._behind(demands, answer.demand)
            try:
                await asyncio.wait_for(waiter.turn.wait(), min(left, pause if head else math.inf))
            except TimeoutError:
                pass
            waiter.turn.clear()
            if queue[0] is not waiter:
                continue
            reply = await self._ask(demands, self._clock())
            if isinstance(reply, Granted) or reply.demand.key != key:
                return reply
            answer = reply
            pause = self._pause(answer)
            if self._hopeless(answer, until):
                return answer

    async def _ask(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        asking = asyncio.ensure_future(self._store.reserve(demands, now))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # The store may have granted what nobody wants any more.
            answer = await asking
            if isinstance(answer, Granted):
                await self.release(answer.reservation, self._clock())
            raise

    def _hopeless(self, answer: Refused, until: float) -> bool:
        """Whether there is nothing to wait for as long as one may."""
        left = until - self._monotonic()
        if answer.retry_after is None or answer.unavailable or left <= 0:
            return True
        # Slots are free when calls end, which nobody can foretell.
        return answer.demand.kind != "concurrent" and answer.retry_after > left

    def _pause(self, answer: Refused) -> float:
        retry = answer.retry_after or 0.0
        return min(retry, POLL) if answer.demand.kind == "concurrent" else retry

    def _leave(self, key: str, waiter: _Waiter) -> None:
        queue = self._queues[key]
        was_head = queue[0] is waiter
        queue.remove(waiter)
        if not queue:
            del self._queues[key]
        elif was_head:
            queue[0].turn.set()

    def _stir(self, reservation: Reservation) -> None:
        """Something was given back: the oldest waiter of each bucket may ask."""
        for charge in reservation.charges:
            if (queue := self._queues.get(charge.demand.key)) is not None:
                queue[0].turn.set()
