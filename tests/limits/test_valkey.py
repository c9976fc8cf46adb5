"""The shared store on a real Valkey: several processes, one of them killed, leases, and what is said twice."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from interpose.limits import Demand, Granted, Period, Refused
from interpose.limits.queue import WaitingStore
from interpose.limits.valkey import ValkeyStore

SLOTS = Demand("slots", "concurrent", 3)
MONEY = Demand("money", "budget", 1000, 400, period=Period("year"))
TOKENS = Demand("tokens", "tokens", 100, 60, seconds=60)


@pytest.fixture
async def stores(valkey: str, fresh: Callable[[], str]) -> AsyncIterator[Callable[..., ValkeyStore]]:
    """Makes stores of one deployment, and closes them."""
    name = fresh()
    made: list[ValkeyStore] = []

    def make(**options: Any) -> ValkeyStore:
        made.append(ValkeyStore.connect(valkey, name=name, **options))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


async def granted(store: ValkeyStore | WaitingStore, *demands: Demand) -> Granted:
    answer = await store.reserve(demands, time.time())
    assert isinstance(answer, Granted), answer
    return answer


async def test_two_stores_count_as_one(stores: Callable[..., ValkeyStore]) -> None:
    """What one charges, the other finds charged; a refund is the other's, too."""
    one, other = stores(), stores()
    mine = await granted(one, TOKENS, SLOTS, MONEY)
    refused = await other.reserve([TOKENS, SLOTS, MONEY], time.time())
    assert isinstance(refused, Refused)
    assert refused.demand is TOKENS
    assert [standing.remaining for standing in refused.standings] == [40, 2, 600]
    await one.settle(mine.reservation, {"tokens": 10, "money": 5}, time.time())
    again = await other.reserve([TOKENS, SLOTS, MONEY], time.time())
    assert [standing.remaining for standing in again.standings] == [30, 2, 595]


async def test_a_refusal_charges_nothing(stores: Callable[..., ValkeyStore]) -> None:
    """A call that one limit refuses costs the others nothing."""
    store = stores()
    assert isinstance(await store.reserve([SLOTS, MONEY, replace(TOKENS, cost=101)], time.time()), Refused)
    standings = (await store.peek([SLOTS, MONEY, TOKENS], time.time())).standings
    assert [standing.remaining for standing in standings] == [3, 1000, 100]


async def test_a_settlement_that_is_said_again_counts_once(stores: Callable[..., ValkeyStore]) -> None:
    """A writer that did not hear whether its settlement arrived may repeat it."""
    store = stores()
    answer = await granted(store, TOKENS, SLOTS, MONEY)
    for _ in range(3):
        answer.reservation.closed = False  # as if no reply had come
        await store.settle(answer.reservation, {"tokens": 70, "money": 500}, time.time())
    standings = (await store.peek([SLOTS, MONEY, TOKENS], time.time())).standings
    assert [standing.remaining for standing in standings] == [3, 500, 30]


async def test_a_budget_is_seeded_and_seeded_again(stores: Callable[..., ValkeyStore]) -> None:
    """Seeding never adds up, and never gives back what was spent since."""
    store = stores()
    for spent in (300, 300, 200):
        await store.seed(MONEY, spent, time.time())
    answer = await granted(store, MONEY)
    assert answer.standings[0].remaining == 300
    await store.settle(answer.reservation, {"money": 100}, time.time())
    await store.seed(MONEY, 300, time.time())
    assert (await store.peek([MONEY], time.time())).standings[0].remaining == 600


async def test_a_clock_of_ours_that_is_wrong_is_the_servers(stores: Callable[..., ValkeyStore]) -> None:
    """A machine whose clock is a year ahead charges the budget of the year that the server has."""
    store = stores()
    await granted(store, MONEY)
    wrong = await store.reserve([MONEY], time.time() + 400 * 86_400)
    assert wrong.standings[0].remaining == 200


async def test_a_script_that_the_server_has_forgotten_is_sent_again(
    stores: Callable[..., ValkeyStore], valkey: str
) -> None:
    """A server that was restarted, or whose scripts were flushed, decides all the same."""
    store = stores()
    await granted(store, TOKENS)
    client = redis.asyncio.Redis.from_url(valkey)
    await client.script_flush()
    await client.aclose()
    await granted(store, replace(TOKENS, cost=40))


async def test_an_owner_that_lives_keeps_its_slots(stores: Callable[..., ValkeyStore]) -> None:
    """A call may last for many leases; it is renewed for as long as it is open."""
    store, other = stores(lease=0.3), stores(lease=0.3)
    held = await granted(store, SLOTS, MONEY)
    begun = time.monotonic()
    while time.monotonic() < begun + 1.2:  # four leases
        assert (await other.peek([SLOTS, MONEY], time.time())).standings[0].remaining == 2
        await asyncio.sleep(0.02)
    await store.settle(held.reservation, {"money": 0}, time.time())
    standings = (await other.peek([SLOTS, MONEY], time.time())).standings
    assert [standing.remaining for standing in standings] == [3, 1000]


async def test_a_settlement_after_the_lease_counts_what_was_used(stores: Callable[..., ValkeyStore]) -> None:
    """An owner that was cut off for longer than its lease settles late: money is spent, slots are not freed twice."""
    store = stores(lease=0.2)
    late = await granted(store, SLOTS, MONEY)
    store._open.clear()  # as if it could not renew
    while [one.remaining for one in (await store.peek([SLOTS, MONEY], time.time())).standings] != [3, 1000]:
        await asyncio.sleep(0.02)
    await granted(store, SLOTS)
    await store.settle(late.reservation, {"money": 250}, time.time())
    standings = (await store.peek([SLOTS, MONEY], time.time())).standings
    assert [standing.remaining for standing in standings] == [2, 750]


async def test_a_renewal_that_comes_after_the_end_holds_nothing(stores: Callable[..., ValkeyStore]) -> None:
    """The two may overtake each other on their way."""
    store = stores()
    answer = await granted(store, SLOTS, MONEY)
    await store.settle(answer.reservation, {"money": 0}, time.time())
    await store._run("renew", answer.reservation.id, answer.reservation.charges, None)
    standings = (await store.peek([SLOTS, MONEY], time.time())).standings
    assert [standing.remaining for standing in standings] == [3, 1000]


async def test_a_renewal_holds_again_what_the_server_has_lost(stores: Callable[..., ValkeyStore], valkey: str) -> None:
    """Slots and reserved money of calls in flight survive a server that does not."""
    store = stores()
    answer = await granted(store, SLOTS, MONEY)
    client = redis.asyncio.Redis.from_url(valkey)
    await client.delete(*[key async for key in client.scan_iter(f"{store._prefix}*")])
    await client.aclose()
    await store.renew()
    standings = (await store.peek([SLOTS, MONEY], time.time())).standings
    assert [standing.remaining for standing in standings] == [2, 600]
    await store.settle(answer.reservation, {"money": 100}, time.time())
    standings = (await store.peek([SLOTS, MONEY], time.time())).standings
    assert [standing.remaining for standing in standings] == [3, 900]


async def test_a_refund_of_what_has_slid_out_leaves_nothing_behind(
    stores: Callable[..., ValkeyStore], valkey: str
) -> None:
    """A long call that used less than was estimated makes no key that never expires."""
    store = stores()
    answer = await granted(store, TOKENS)
    client = redis.asyncio.Redis.from_url(valkey)
    await client.delete(f"{store._prefix}c:tokens")  # as it is when its time has come
    await store.settle(answer.reservation, {"tokens": 1}, time.time())
    assert not await client.exists(f"{store._prefix}c:tokens")
    await client.aclose()
    assert (await store.peek([TOKENS], time.time())).standings[0].remaining == 100


async def test_nothing_is_left_of_calls_that_have_ended(stores: Callable[..., ValkeyStore], valkey: str) -> None:
    """Every key on the server expires by itself, but for the clock and the list of writers."""
    store = stores()
    answer = await granted(store, TOKENS, SLOTS, MONEY)
    await store.settle(answer.reservation, {}, time.time())
    client = redis.asyncio.Redis.from_url(valkey)
    keys = [key async for key in client.scan_iter(f"{store._prefix}*")]
    lasting = [key.decode().removeprefix(store._prefix) for key in keys if await client.ttl(key) == -1]
    await client.aclose()
    assert len(keys) > len(lasting)
    assert sorted(lasting) == ["clock", "writers"]


WRITER = """
import asyncio, json, sys, time
from interpose.limits import Demand, Granted, Period
from interpose.limits.queue import WaitingStore
from interpose.limits.valkey import ValkeyStore

async def main(url, name, calls, what):
    inner = ValkeyStore.connect(url, name=name, lease=2.0, timeout=30)
    store = WaitingStore(inner, time.time, time.monotonic)
    demands = (
        Demand("tokens", "tokens", 1000, 100, seconds=1),
        Demand("slots", "concurrent", 8),
        Demand("money", "budget", 10**9, 1000, period=Period("year")),
    )
    log = []

    async def call(number):
        answer = await store.reserve(demands, time.time(), 120)
        assert isinstance(answer, Granted), answer
        if what == "hang":
            print("held", flush=True)
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        # One of ten calls of one process uses more than was estimated, the others less.
        real = 130 if what == "exceed" and number % 10 == 0 else 20
        await store.settle(answer.reservation, {"tokens": real, "money": 10}, time.time())
        log.append((answer.reservation.charges[0].place, real))

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(call(number))
    await store.aclose()
    print(json.dumps(log))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
"""


def writer(url: str, name: str, calls: int, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, str(calls), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_three_processes_share_limits_and_a_killed_one_leaks_nothing(
    valkey: str, fresh: Callable[[], str], stores: Callable[..., ValkeyStore]
) -> None:
    """Two hundred calls of three processes overshoot by one call's error; a fourth is killed with slots in hand."""
    name = fresh()
    killed = writer(valkey, name, 4, "hang")
    assert killed.stdout is not None
    for _ in range(4):
        assert await asyncio.to_thread(killed.stdout.readline) == "held\n"
    watch = ValkeyStore.connect(valkey, name=name, lease=2.0)
    slots, money = Demand("slots", "concurrent", 8), Demand("money", "budget", 10**9, period=Period("year"))
    before = await watch.peek([slots, money], time.time())
    assert [standing.remaining for standing in before.standings] == [4, 10**9 - 4000]
    killed.kill()
    killed.communicate()
    dead = time.monotonic()
    writers = [writer(valkey, name, 67, what) for what in ("exceed", "work", "work")]
    outputs = await asyncio.gather(*(asyncio.to_thread(one.communicate) for one in writers))
    assert [one.returncode for one in writers] == [0, 0, 0]
    while time.monotonic() < dead + 2.0:  # its lease
        await asyncio.sleep(0.02)
    after = await watch.peek([slots, money], time.time())
    await watch.aclose()
    # 201 calls at 10 each: what the dead one held is free, what the others used is spent.
    assert [standing.remaining for standing in after.standings] == [8, 10**9 - 2010]
    log: Sequence[tuple[int, int]] = [tuple(entry) for output, _ in outputs for entry in json.loads(output)]
    assert len(log) == 201
    # By the server's own time, in steps of a window: 12 of them are more than a second.
    for begin, _ in log:
        assert sum(real for at, real in log if begin <= at < begin + 12) <= 1000 + 30


async def test_a_slot_that_another_process_frees_is_found(stores: Callable[..., ValkeyStore]) -> None:
    """Nobody tells this process, so the oldest of its waiters looks."""
    one, other = stores(), WaitingStore(stores(), time.time, time.monotonic)
    single = Demand("single", "concurrent", 1)
    held = await granted(one, single)
    waits = asyncio.create_task(other.reserve([single], time.time(), 60))
    while not len(other):
        await asyncio.sleep(0)
    await one.settle(held.reservation, {}, time.time())
    assert isinstance(await waits, Granted)
