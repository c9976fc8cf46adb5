"""Limits in recorded time: each call asks when it was made, holds what it was granted for as long as its answer took,
and waits behind those that came before it, as in the engine; nobody waits here.

Buckets begin empty with the first call. What was refused then and is sent now takes as long as a call took on average.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from interpose.engine.gate import refusal as limit_refusal
from interpose.limits.memory import MemoryStore
from interpose.limits.store import Demand, Granted, Refused, Reservation

from .fates import Fate
from .outcomes import Outcomes, micro
from .prospects import Passage, Prospect

# A queue that is longer turns away, as the engine's does.
LENGTH = 1000
# How long a call takes of which nobody knows, in seconds, before any is known.
USUAL = 1.0

Done = Callable[[int, Prospect, Fate], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call that waits in the queue of the bucket `key`, until it has to give up."""

    number: int
    prospect: Prospect
    until: float
    key: str = ""
    over: bool = False


class Clockwork:
    """One set of rules' limits. `done` is told the fate of each call, by its number, once it is known.

    Calls have to come in the order of their times (`arrive`); after the last one, `finish`. `late` counts those that
    did not.
    """

    def __init__(self, outcomes: Outcomes, done: Done) -> None:
        self.late = 0
        self._outcomes = outcomes
        self._done = done
        self._store = MemoryStore()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._queues: dict[str, list[_Waiting]] = {}
        self._took, self._taken = 0.0, 0
        self._now = -math.inf

    def arrive(self, number: int, prospect: Prospect) -> None:
        """A call is made at its time; all that happens before is done first."""
        at = prospect.at
        if at < self._now:
            self.late += 1
            at = self._now
        self._run(at)
        self._now = at
        past = prospect.past
        if past.duration is not None and past.fate.sent:
            self._took += past.duration
            self._taken += 1
        if prospect.fate is not None:
            self._done(number, prospect, prospect.fate)
        else:
            self._enter(_Waiting(number, prospect, at + prospect.wait), at)

    def finish(self) -> None:
        """Until nothing is in flight."""
        self._run(math.inf)

    def _run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, happens = heapq.heappop(self._events)
            self._now = max(self._now, at)
            happens(self._now)

    def _later(self, at: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), happens))

    # The limits of the call

    def _enter(self, call: _Waiting, now: float) -> None:
        demands = call.prospect.demands
        crowded = next((demand for demand in demands if demand.key in self._queues), None)
        if crowded is None or any(demand.cost > demand.limit for demand in demands):
            self._ask(call, now)
        elif call.prospect.wait > 0:
            self._join(call, crowded.key, now)
        else:
            # Others wait there: who does not wait gets nothing that they wait for.
            self._limit(call, self._behind(demands, crowded, now), now)

    def _ask(self, call: _Waiting, now: float) -> None:
        """Lets the call in, turns it away, or has it wait (on)."""
        if not call.prospect.demands:
            self._send(call, None, now)
            return
        answer = self._store.decide(call.prospect.demands, now, charging=True)
        if isinstance(answer, Granted):
            self._leave(call, now)
            self._send(call, answer.reservation, now)
            return
        left = call.until - now
        # Slots are free when calls end, which is when they are asked for again.
        told = answer.retry_after if answer.demand.kind != "concurrent" else 0.0
        if told is None or answer.retry_after is None or left <= 0 or told > left:
            self._limit(call, answer, now)
            return
        key = answer.demand.key
        if call.key != key:
            self._leave(call, now)
            self._join(call, key, now)
        if told and not call.over:
            self._later(now + told, lambda at: self._stir(key, at))

    def _join(self, call: _Waiting, key: str, now: float) -> None:
        """Stands in that bucket's queue, by its age."""
        queue = self._queues.setdefault(key, [])
        if len(queue) >= LENGTH:
            demand = next(demand for demand in call.prospect.demands if demand.key == key)
            self._limit(call, self._behind(call.prospect.demands, demand, now), now)
            return
        first = not call.key
        call.key = key
        insort(queue, call, key=lambda each: each.number)
        if first:
            self._later(call.until, lambda at: self._give_up(call, at))

    def _leave(self, call: _Waiting, now: float) -> None:
        """Out of its queue, if it stands in one; the next one may ask."""
        key = call.key
        queue = self._queues.get(key)
        if queue is None or call not in queue:
            return
        was_first = queue[0] is call
        queue.remove(call)
        if not queue:
            del self._queues[key]
        elif was_first:
            self._later(now, lambda at: self._stir(key, at))

    def _stir(self, key: str, now: float) -> None:
        """Something may be free in that bucket: the oldest asks."""
        if (queue := self._queues.get(key)) is not None:
            self._ask(queue[0], now)

    def _give_up(self, call: _Waiting, now: float) -> None:
        if not call.over:
            demands = call.prospect.demands
            demand = next((demand for demand in demands if demand.key == call.key), demands[0])
            self._limit(call, self._behind(demands, demand, now), now)

    def _behind(self, demands: Sequence[Demand], crowded: Demand, now: float) -> Refused:
        """The refusal of a call that would have to wait there (longer)."""
        answer = self._store.decide(demands, now, charging=False)
        return answer if isinstance(answer, Refused) else Refused(crowded, 0.0, answer.standings)

    def _limit(self, call: _Waiting, answer: Refused, now: float) -> None:
        """Turns the call away."""
        self._leave(call, now)
        call.over = True
        prospect = call.prospect
        error = limit_refusal(answer, prospect.format, now)
        fate = Fate(
            "limited",
            error.status,
            f"{error.code} by {answer.demand.key.partition('/')[0]}",
            client=prospect.client,
            route=prospect.route,
            losses=prospect.losses,
            waited=max(0.0, now - prospect.at),
            knows=prospect.knows,
        )
        self._done(call.number, prospect, fate)

    # The attempts

    def _send(self, call: _Waiting, held: Reservation | None, now: float) -> None:
        """Goes by the first passage that is free, and does not fail as it failed then."""
        call.over = True
        prospect = call.prospect
        course = self._outcomes.course(prospect)
        full: Refused | None = None
        boarded: Reservation | None = None
        passage: Passage | None = None
        while (passage := course.next()) is not None:
            answer = self._board(passage.demands, now)
            if isinstance(answer, Refused):
                full = full or answer
                course.drop()
                continue
            if course.fails():
                # It came to nothing, for nothing.
                self._settle(answer, {demand.key: 0 for demand in passage.demands}, now)
                continue
            boarded = answer
            break
        if passage is None and course.best(full=full is not None):
            assert full is not None
            # It has called, and used nothing.
            self._settle(held, self._actual(prospect.demands, Fate("limited")), now)
            self._limit(call, full, now)
            return
        fate = course.fate(max(0.0, now - prospect.at))
        self._done(call.number, prospect, fate)
        if held is None and boarded is None:
            return
        actual = self._actual((*prospect.demands, *(passage.demands if passage is not None else ())), fate)

        def end(at: float) -> None:
            self._settle(held, actual, at)
            self._settle(boarded, actual, at)

        self._later(now + self._duration(prospect), end)

    def _board(self, demands: Sequence[Demand], now: float) -> Reservation | Refused | None:
        if not demands:
            return None
        answer = self._store.decide(demands, now, charging=True)
        return answer.reservation if isinstance(answer, Granted) else answer

    def _duration(self, prospect: Prospect) -> float:
        past = prospect.past
        if past.duration is not None and past.fate.sent:
            return past.duration
        return self._took / self._taken if self._taken else USUAL

    def _actual(self, demands: Sequence[Demand], fate: Fate) -> dict[str, int]:
        """What the call has used of each bucket, as the engine settles it."""
        unknown = None if fate.outcome in ("ok", "aborted") else 0
        usage = fate.usage
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage else unknown
        cost = micro(fate.cost)
        used = {"tokens": tokens, "budget": unknown if cost is None else cost}
        return {demand.key: spent for demand in demands if (spent := used.get(demand.kind)) is not None}

    def _settle(self, reservation: Reservation | None, actual: Mapping[str, int], now: float) -> None:
        if reservation is None:
            return
        self._store.settle_now(reservation, actual, now)
        for charge in reservation.charges:
            key = charge.demand.key
            if key in self._queues:
                self._later(now, lambda at, key=key: self._stir(key, at))  # type: ignore[misc]
