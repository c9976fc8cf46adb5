"""The store of one process: what it does under a flood of keys, by clocks that are set, and over borders of periods."""

import random
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import pytest

from interpose.limits import Demand, Granted, Period, Refused
from interpose.limits.memory import MemoryStore
from interpose.limits.shelves import SHARED

START = 1_790_000_000.0
MINUTE = Demand("", "requests", 2, seconds=60)
MONTH = Demand("", "budget", 2, period=Period("month"))


async def grants(store: MemoryStore, demand: Demand, now: float, most: int = 100) -> int:
    count = 0
    while count < most and isinstance(await store.reserve([demand], now), Granted):
        count += 1
    return count


@pytest.mark.parametrize("bucket", [MINUTE, MONTH], ids=lambda bucket: bucket.kind)
async def test_a_flood_of_keys_resets_no_count(bucket: Demand) -> None:
    """A client that has had its limit does not get it again by making up ten thousand keys, nor does any of these."""
    store = MemoryStore(capacity=1000)
    victim = replace(bucket, key="victim")
    assert await grants(store, victim, START) == 2
    had: dict[str, int] = {}
    for number in range(10_000):
        key = f"made-up-{number % 5000}"
        had[key] = had.get(key, 0) + await grants(store, replace(bucket, key=key), START + number / 1000, most=1)
    assert len(store) == 1000
    assert max(had.values()) <= 2
    assert await grants(store, victim, START + 20) == 0


async def test_newcomers_to_a_full_store_share_and_are_not_locked_out() -> None:
    """While the store is full, newcomers get what a few hundred buckets give; when it has room, all of their own."""
    store = MemoryStore(capacity=10)
    for number in range(10):
        assert await grants(store, replace(MINUTE, key=f"old-{number}"), START) == 2
    assert 1 <= sum([await grants(store, replace(MINUTE, key=f"new-{n}"), START) for n in range(5000)]) <= 2 * SHARED
    later = START + 66
    assert await grants(store, replace(MINUTE, key="another"), later) == 2
    assert await grants(store, replace(MINUTE, key="one more"), later) == 2


async def test_a_key_does_not_get_a_bucket_of_its_own_beside_its_shared_one() -> None:
    """Room that comes up within the window gives nobody its limit twice."""
    store = MemoryStore(capacity=1)
    first = await store.reserve([replace(MINUTE, key="old")], START)
    assert isinstance(first, Granted)
    newcomer = replace(MINUTE, key="new")
    assert await grants(store, newcomer, START) == 2
    await store.release(first.reservation, START)
    assert len(store) == 0
    assert await grants(store, newcomer, START) == 0
    assert await grants(store, newcomer, START + 66) == 2


async def test_two_demands_of_a_call_in_one_shared_bucket_are_added_up() -> None:
    """Where limits per client and per address meet in a shared bucket, the call counts twice there."""
    store = MemoryStore(capacity=0)
    keys = [f"k{number}" for number in range(20_000)]
    pairs = [
        (replace(MINUTE, key=one), replace(MINUTE, key=other))
        for one, other in pairwise(keys)
        if hash(one) % SHARED == hash(other) % SHARED
    ]
    assert pairs
    for pair in pairs:
        await store.reserve(pair, START)
    for pair in pairs:
        assert (await store.peek(pair, START)).standings[0].remaining == 0
    taken = [bucket.total for bucket in store._windows[60]._shared.values()]
    assert max(taken) == 2


async def test_empty_buckets_are_let_go() -> None:
    """Memory shrinks when those who came once do not come again."""
    store = MemoryStore()
    for number in range(1000):
        await grants(store, replace(MINUTE, key=f"once-{number}"), START, most=1)
    assert len(store) == 1000
    for number in range(1000):
        await grants(store, replace(MINUTE, key=f"later-{number}"), START + 100, most=1)
    assert len(store) == 1000


async def test_what_is_released_takes_no_memory() -> None:
    """A bucket of which everything was given back is gone at once."""
    store = MemoryStore()
    for number in range(100):
        demands = [replace(bucket, key=f"{bucket.kind}-{number}") for bucket in (MINUTE, MONTH)]
        answer = await store.reserve([*demands, Demand("slots", "concurrent", 1)], START)
        assert isinstance(answer, Granted)
        await store.release(answer.reservation, START)
    assert len(store) == 0
    assert not store._slots.kept


async def test_keys_take_less_than_half_a_kilobyte_each() -> None:
    """Memory grows with the keys in use by a few hundred bytes each, and not beyond the capacity."""
    store = MemoryStore(capacity=100_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(100_000):
        store.decide([Demand(f"chat/requests/ip={number}", "requests", 2, seconds=60)], START, charging=True)
    full, _ = tracemalloc.get_traced_memory()
    for number in range(20_000):
        store.decide([Demand(f"chat/requests/user={number}", "requests", 2, seconds=60)], START, charging=True)
    flooded, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (full - before) / 100_000 < 512
    assert flooded - full < 1_000_000


async def test_never_more_than_the_limit_in_real_time_when_the_clock_is_put_back() -> None:
    """A clock that is put back time and again admits nobody early, and stops nobody for longer than 5 s."""
    rng = random.Random(5)
    store, real, offset = MemoryStore(), 0.0, START
    demand = Demand("k", "requests", 10, seconds=60)
    times: list[float] = []
    for _ in range(20_000):
        real += rng.uniform(0, 2)
        if rng.random() < 0.01:
            offset -= rng.choice((0.5, 4.0, 60.0, 86_400.0))
        if isinstance(await store.reserve([demand], real + offset), Granted):
            times.append(real)
    assert all(later - first > 60 - 1e-3 for first, later in zip(times, times[10:], strict=False))
    # With nothing but waiting, a window of 60 s would let in 10 in every 65.5 s.
    assert len(times) > 0.9 * 10 * real / (65.5 + 5)


async def test_an_old_time_at_the_end_of_a_call_does_not_speed_time_up() -> None:
    """Settling with the time at which a call began, again and again, lets nobody in early."""
    store = MemoryStore()
    demand = Demand("k", "requests", 2, seconds=60)
    assert await grants(store, demand, START) == 2
    for second in range(60):
        old = await store.reserve([replace(demand, key=f"other-{second}")], START + second)
        assert isinstance(old, Granted)
        await store.settle(old.reservation, {}, START - 600)
        assert await grants(store, demand, START + second) == 0
    assert await grants(store, demand, START + 66) == 2


async def test_retry_after_is_when_it_fits() -> None:
    """Waiting for as long as a refusal says suffices; half a sub-bucket less does not."""
    rng = random.Random(7)
    for _ in range(200):
        store, now = MemoryStore(), START
        demand = Demand("k", "tokens", 100, 1, seconds=60)
        for _ in range(20):
            now += rng.uniform(0, 10)
            await store.reserve([replace(demand, cost=rng.randrange(40))], now)
        asked = replace(demand, cost=rng.randrange(60, 101))
        refused = await store.peek([asked], now)
        if isinstance(refused, Refused):
            assert refused.retry_after is not None
            assert isinstance(await store.peek([asked], now + refused.retry_after - 0.003), Refused)
            assert isinstance(await store.peek([asked], now + refused.retry_after), Granted)


async def test_a_cost_above_the_limit_never_fits() -> None:
    """There is nothing to wait for."""
    refused = await MemoryStore().reserve([replace(MINUTE, cost=3)], START)
    assert isinstance(refused, Refused)
    assert refused.retry_after is None


async def test_a_budget_is_settled_in_the_period_in_which_it_was_reserved() -> None:
    """A call over midnight is yesterday's; a clock that is put back finds yesterday's budget as it was."""
    store = MemoryStore()
    day = Demand("k", "budget", 100, 60, period=Period("day"))
    midnight = float(day.period.bounds(START).end) if day.period else 0.0
    call = await store.reserve([day], midnight - 1)
    assert isinstance(call, Granted)
    assert 1 <= call.standings[0].reset <= 1.01
    assert isinstance(await store.reserve([day], midnight), Granted)
    await store.settle(call.reservation, {"k": 90}, midnight + 1)
    assert (await store.peek([day], midnight + 1)).standings[0].remaining == 40
    assert (await store.peek([day], midnight - 1)).standings[0].remaining == 10


async def test_seeding_is_idempotent_and_survives_a_full_store() -> None:
    """What the ledger knows is spent, once."""
    store = MemoryStore(capacity=0)
    budget = Demand("k", "budget", 100, 10, period=Period("day"))
    for spent in (70, 70, 30):
        await store.seed(budget, spent, START)
    answer = await store.reserve([budget], START)
    assert answer.standings[0].remaining == 20
