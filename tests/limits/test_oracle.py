"""Both stores against a brute-force log, over random schedules with costs, refunds and clocks that jump."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpose.limits import Demand, Granted, Period, Refused, Reservation
from interpose.limits import valkey as valkey_module
from interpose.limits.memory import MemoryStore
from interpose.limits.shelves import GRACE
from interpose.limits.valkey import ValkeyStore

from .oracle import PROMISED, Entry, Log

START = 1_790_000_000_000_000  # µs
PUT_BACK = GRACE * 1_000_000  # how far clocks are put back: budgets of a period that is over are kept for so long
BUCKETS = (
    Demand("a/requests", "requests", 3, seconds=60),
    Demand("a/tokens", "tokens", 100, seconds=60),
    Demand("b/tokens", "tokens", 40, seconds=1),
    Demand("b/slots", "concurrent", 2),
    Demand("b/money", "budget", 500, period=Period("hour")),
    Demand("c/money", "budget", 900, period=Period("day", "Asia/Kathmandu")),
)
COSTS = {"requests": (1, 2), "tokens": (0, 60), "concurrent": (1, 1), "budget": (0, 300)}


@dataclass(frozen=True)
class Ask:
    """Some microseconds later (or earlier, by a clock that was set): a reservation."""

    later: int
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class Close:
    """Some microseconds later: the end of an earlier reservation, with so many percent of its estimate used."""

    later: int
    which: int
    percent: int


def _demand(bucket: Demand) -> st.SearchStrategy[Demand]:
    low, high = COSTS[bucket.kind]
    return st.integers(low, high).map(lambda cost: replace(bucket, cost=cost))


later = st.one_of(
    st.integers(0, 2_000_000),
    st.integers(0, 66_000_000),
    st.sampled_from([-1, -4_000_000, -5_000_001, -90_000_000, -3_000_000_000, 4_000_000_000, 86_400_000_000]),
    st.sampled_from([60_000_000, 59_999_999, 60_000_001, 5_454_546, 65_454_552, 1_000_000, 90_910, 1_090_920]),
)
asks = st.builds(
    Ask,
    later,
    st.lists(st.sampled_from(BUCKETS), min_size=1, unique=True).flatmap(
        lambda chosen: st.tuples(*(_demand(bucket) for bucket in chosen))
    ),
)


def schedules(most: int) -> st.SearchStrategy[list[Ask | Close]]:
    closes = st.builds(Close, later, st.integers(0, 30), st.sampled_from([0, 10, 50, 100, most]))
    return st.lists(st.one_of(asks, asks, closes), max_size=40)


async def replay(
    store: MemoryStore | ValkeyStore, steps: Sequence[Ask | Close], set_clock: object = None
) -> list[object]:
    """Judge every answer of the store; what it answered."""
    log, now, furthest = Log(), START, START
    open_: list[tuple[Reservation, list[Entry]]] = []
    answers: list[object] = []
    for step in steps:
        now = max(now + step.later, furthest - PUT_BACK)
        furthest = max(now, furthest)
        log.tick(now)
        if callable(set_clock):
            await set_clock(now)
        await store.reserve((), now / 1_000_000)  # so that it sees every reading, as the log does
        if isinstance(step, Ask):
            before = await store.peek(step.demands, now / 1_000_000)
            answer = await store.reserve(step.demands, now / 1_000_000)
            assert type(before) is type(answer)
            made = log.judge(step.demands, answer, now)
            if isinstance(answer, Granted):
                open_.append((answer.reservation, made))
            for standing, demand in zip(answer.standings, step.demands, strict=True):
                assert standing.remaining >= max(demand.limit - log.used(demand, now, PROMISED), 0)
                assert standing.remaining <= max(demand.limit - log.used(demand, now, 1), 0)
            refusal = (answer.demand, answer.retry_after) if isinstance(answer, Refused) else None
            answers.append((refusal, answer.standings))
        elif open_:
            reservation, made = open_.pop(step.which % len(open_))
            actual = [entry.amount * step.percent // 100 for entry in made]
            named = {entry.demand.key: used for entry, used in zip(made, actual, strict=True)}
            await store.settle(reservation, named, now / 1_000_000)
            await store.settle(reservation, {}, now / 1_000_000)
            await store.release(reservation, now / 1_000_000)
            log.close(made, actual, now)
    return answers


@settings(max_examples=400, deadline=None)
@given(schedules(most=300))
def test_memory_keeps_the_law_and_the_promise(steps: list[Ask | Close]) -> None:
    """Granted is only what the last 60 s leave room for, and all that the last 12/11 of them leave room for."""
    asyncio.run(replay(MemoryStore(), steps))


@settings(max_examples=150, deadline=None)
@given(schedules(most=100))
def test_no_window_anywhere_holds_more_than_its_limit(steps: list[Ask | Close]) -> None:
    """Where estimates are not exceeded, no window of the whole history has more than its limit, wherever it begins."""

    async def run() -> None:
        store, log, now, furthest = MemoryStore(), Log(), START, START
        open_: list[tuple[Reservation, list[Entry]]] = []
        for step in steps:
            now = max(now + step.later, furthest - PUT_BACK)
            furthest = max(now, furthest)
            log.tick(now)
            await store.reserve((), now / 1_000_000)
            if isinstance(step, Ask):
                answer = await store.reserve(step.demands, now / 1_000_000)
                made = log.judge(step.demands, answer, now)
                if isinstance(answer, Granted):
                    open_.append((answer.reservation, made))
            elif open_:
                reservation, made = open_.pop(step.which % len(open_))
                actual = [entry.amount * step.percent // 100 for entry in made]
                named = {entry.demand.key: used for entry, used in zip(made, actual, strict=True)}
                await store.settle(reservation, named, now / 1_000_000)
                log.close(made, actual, now)
        for bucket in BUCKETS:
            mine = [entry for entry in log.entries if entry.demand.key == bucket.key]
            for first in mine if bucket.seconds is not None else ():
                end = first.passed + bucket.seconds * 1_000_000
                assert sum(entry.amount for entry in mine if first.passed <= entry.passed < end) <= bucket.limit

    asyncio.run(run())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=schedules(most=300))
def test_valkey_answers_as_memory_does(
    valkey: str, fresh: Callable[[], str], monkeypatch: pytest.MonkeyPatch, steps: list[Ask | Close]
) -> None:
    """The same schedule gets the same answers of both stores, to the millisecond, and they hold before the log."""

    async def run() -> None:
        name = fresh()
        # The server's clock is read from a key, so that the test can set it. Nothing else of the script is changed.
        clock = f"{{string.match(redis.call('GET', '{{{name}}}:now'), '(%d+) (%d+)')}}"
        script = valkey_module._SCRIPT.replace("redis.call('TIME')", clock)
        assert script != valkey_module._SCRIPT
        client = redis.asyncio.Redis.from_url(valkey)

        async def set_clock(now: int) -> None:
            await client.set(f"{{{name}}}:now", f"{now // 1_000_000} {now % 1_000_000}")

        with monkeypatch.context() as patch:
            patch.setattr(valkey_module, "_SCRIPT", script)
            store = ValkeyStore.connect(valkey, lease=10**9, name=name)
        await set_clock(START)
        try:
            shared = await replay(store, steps, set_clock)
        finally:
            await store.aclose()
            await client.aclose()
        assert shared == await replay(MemoryStore(), steps)

    asyncio.run(run())
