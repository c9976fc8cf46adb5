"""The gate before the upstream: asks the store of limits for each call, and tells it what was really used.

What is asked has been decided (`stages.limits`); here the answer becomes a 429 or the headers of a reply. A reservation
is settled once, in the background: no reply waits for it.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace

from cachetools import LRUCache

from interpose.call import Headers
from interpose.errors import Refusal
from interpose.formats import ratelimits
from interpose.limits.periods import Period
from interpose.limits.queue import WaitingStore
from interpose.limits.store import Demand, Granted, Refused, Reservation, Standing
from interpose.stages.draft import EXPECTED_OUTPUT
from interpose.stages.limits import KEY

from .observer import NOBODY, Observer

logger = logging.getLogger(__name__)

# How much the last answer counts in what the next one is expected to have.
_WEIGHT = 0.2
# How long a call whose turn nobody can foretell is asked to stay away, in seconds.
SOON = 1.0
# So many buckets are remembered, those that were asked for last, where somebody wants to see where they stand.
MOST_WATCHED = 256
# The longest that a client is asked to stay away: budgets are raised, and clocks set.
LONGEST_WAIT = 86_400.0


class Gate:
    """One engine's limits. `close` when done."""

    def __init__(self, store: WaitingStore, now: Callable[[], float], observer: Observer = NOBODY) -> None:
        """`now` gives Unix time in seconds."""
        self._store = store
        self._now = now
        self._observer = observer
        self._outputs: LRUCache[str | None, float] = LRUCache(4096)
        self._settling: set[asyncio.Task[None]] = set()
        # The share of each budget that was used when a call asked last, and until when (Unix time) that means anything.
        self._budgets: LRUCache[str, tuple[float, float]] = LRUCache(4096)
        self._watched: LRUCache[str, Demand] = LRUCache(MOST_WATCHED)
        self._watching = False

    async def enter(self, demands: Sequence[Demand], wait: float, client_format: str) -> Granted | None:
        """Charges what is demanded, waiting for its turn; None if nothing is demanded.

        Raises Refusal: a 429, or a 503 if the store cannot be asked and the rules let nothing through then.
        """
        if not demands:
            return None
        answer = await self._store.reserve(demands, self._now(), wait)
        self._mind(answer)
        if self._watching:
            for demand in demands:
                self._watched[demand.key] = demand
        if isinstance(answer, Refused):
            if not answer.unavailable:
                self._observer.limited(*answer.demand.key.split("/", 2)[:2])
            raise refusal(answer, client_format, self._now())
        return answer

    async def standings(self, demands: Sequence[Demand]) -> tuple[Standing, ...]:
        """Where these limits stand. Nothing is charged."""
        return (await self._store.peek(demands, self._now())).standings if demands else ()

    def leave(self, reservation: Reservation, tokens: int | None, cost: int | None = None) -> None:
        """The call has ended: it used so many tokens and cost so many micro-dollars; None of what nobody knows."""
        used = {"tokens": tokens, "budget": cost}
        actual = {
            charge.demand.key: count
            for charge in reservation.charges
            if (count := used.get(charge.demand.kind)) is not None
        }
        self._later(self._store.settle(reservation, actual, self._now()))

    def give_back(self, reservation: Reservation, cost: int | None = None) -> None:
        """The attempt was not sent, or came to nothing, for so many micro-dollars."""
        if not cost:
            self._later(self._store.release(reservation, self._now()))
            return
        actual = {charge.demand.key: cost if charge.demand.kind == "budget" else 0 for charge in reservation.charges}
        self._later(self._store.settle(reservation, actual, self._now()))

    async def seed(self, demand: Demand, spent: int) -> None:
        """At least so many micro-dollars of that budget are spent already."""
        self._watched[demand.key] = demand
        await self._store.seed(demand, spent, self._now())

    def watch(self) -> None:
        """From now on it is remembered what calls ask for, for `pressure`."""
        self._watching = True

    async def pressure(self) -> tuple[Standing, ...]:
        """Where the buckets stand that were asked for last, of limits whatever rules they are of."""
        # Asked for nothing, none refuses.
        return await self.standings([replace(demand, cost=0) for demand in self._watched.values()])

    def budgets(self) -> Iterator[tuple[str, float]]:
        """The share of each budget that is used, as far as calls have asked lately: what is reserved counts."""
        now = self._now()
        for key, (share, until) in list(self._budgets.items()):
            if until > now:
                name, _, whose = key.split("/", 2)
                yield f"{name}, {whose}" if whose else name, share

    def _mind(self, answer: Granted | Refused) -> None:
        for standing in answer.standings:
            if standing.kind == "budget" and standing.limit:
                share = 1 - standing.remaining / standing.limit
                if isinstance(answer, Refused) and answer.demand.key == standing.key and answer.retry_after is not None:
                    # What is left is too little for the next call.
                    share = 1.0
                self._budgets[standing.key] = share, self._now() + standing.reset

    def learn(self, model: str | None, output: int) -> None:
        """What a model has answered with."""
        before = self._outputs.get(model, output)
        self._outputs[model] = before + _WEIGHT * (output - before)

    def expected(self, model: str | None) -> int:
        return round(self._outputs.get(model, EXPECTED_OUTPUT))

    async def close(self) -> None:
        if self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)
        await self._store.aclose()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a limit could not be settled: %s", error)


def refusal(answer: Refused, client_format: str, now: float) -> Refusal:
    """The 429, with when to come back; the 503 where nobody can tell whether a limit is reached."""
    if answer.unavailable:
        return Refusal(
            503,
            "limits_unavailable",
            "The limits cannot be checked just now. Try again in a second.",
            outcome="error",
            headers=((b"retry-after", b"1"),),
        )
    name, kind, whom = answer.demand.key.split("/", 2)
    if answer.demand.period is not None:
        return spent(answer, answer.demand.period, headers(answer.standings, client_format, now), now)
    limit = f"{answer.demand.limit} {'calls at a time' if kind == 'concurrent' else kind}"
    of = f" of {whom}" if whom else ""
    within = f" in {answer.demand.seconds} s" if answer.demand.seconds is not None else ""
    if answer.retry_after is None:
        return Refusal(
            429,
            "request_too_large_for_limit",
            f"This call alone needs {answer.demand.cost} {kind}, more than the limit {name} of {limit}{within}{of} "
            "ever gives.",
            outcome="limited",
            headers=headers(answer.standings, client_format, now),
        )
    seconds = max(answer.retry_after, SOON if kind == "concurrent" else 0.0)
    return Refusal(
        429,
        "rate_limit_exceeded",
        f"The limit {name} of {limit}{within}{of} is reached. Try again in {math.ceil(seconds)} s.",
        outcome="limited",
        headers=(
            (b"retry-after", str(max(1, math.ceil(seconds))).encode()),
            *headers(answer.standings, client_format, now),
        ),
    )


def spent(answer: Refused, period: Period, told: Headers, now: float) -> Refusal:
    """The 429 of a budget. The official SDKs of OpenAI and Anthropic would send it again, which is of no use here:
    x-should-retry tells them not to (https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py).
    """
    name, _, whose = answer.demand.key.split("/", 2)
    budget = f"The budget of ${_dollars(answer.demand.limit)} a {period.unit}"
    named = f"{budget} of this key" if name == KEY else f"{budget} ({name}{f', {whose}' if whose else ''})"
    needs = f"this call may cost ${_dollars(answer.demand.cost)}"
    final = (b"x-should-retry", b"false")
    if answer.retry_after is None:
        return Refusal(
            429,
            "request_too_large_for_limit",
            f"{named} is less than what this call alone needs: {needs}. A smaller limit of output may help.",
            outcome="limited",
            headers=(final, *told),
        )
    anew = datetime.datetime.fromtimestamp(period.bounds(now).end, datetime.UTC)
    return Refusal(
        429,
        "insufficient_quota",
        f"{named} is spent, or what is left is too little: {needs}. It starts anew at {anew:%Y-%m-%d %H:%M} UTC.",
        outcome="limited",
        headers=(
            (b"retry-after", str(max(1, math.ceil(min(answer.retry_after, LONGEST_WAIT)))).encode()),
            final,
            *told,
        ),
    )


def headers(standings: Sequence[Standing], client_format: str, now: float) -> Headers:
    """The rate-limit headers of the client's dialect: of several limits of a kind, that which is nearest to its end."""
    tightest: dict[str, Standing] = {}
    for standing in standings:
        if standing.kind in ratelimits.KINDS:
            other = tightest.get(standing.kind)
            if other is None or standing.remaining * other.limit < other.remaining * standing.limit:
                tightest[standing.kind] = standing
    dialect = ratelimits.DIALECTS.get(client_format, ratelimits.OPENAI)
    return tuple(
        (dialect.name(kind, field), value.encode())
        for kind, standing in tightest.items()
        for field, value in (
            ("limit", str(standing.limit)),
            ("remaining", str(standing.remaining)),
            ("reset", dialect.writes(standing.reset, now)),
        )
    )


def _dollars(micro: int) -> str:
    """Cents, and what is below them only where there is something: a budget of $0.0002 is not $0.00."""
    whole, _, part = f"{micro / 1_000_000:,.6f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"
