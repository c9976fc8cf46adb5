"""Waiting for limits: in order, bounded, and no longer than the client stays."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from interpose.limits import Demand, Granted, Refused
from interpose.limits.memory import MemoryStore
from interpose.limits.queue import WaitingStore

SLOT = Demand("slots", "concurrent", 1)
OTHER = Demand("other", "concurrent", 1)


class Counting(MemoryStore):
    """A memory store that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        self.asked += 1
        return await super().reserve(demands, now)


def waiting(length: int = 1000) -> WaitingStore:
    return WaitingStore(MemoryStore(), time.time, time.monotonic, length=length)


async def granted(store: WaitingStore, *demands: Demand, wait: float = 60) -> Granted:
    answer = await store.reserve(demands, time.time(), wait)
    assert isinstance(answer, Granted)
    return answer


async def until(store: WaitingStore, length: int) -> None:
    """Let others run until so many wait."""
    while len(store) != length:
        await asyncio.sleep(0)


async def test_waiters_are_let_in_one_by_one_in_the_order_in_which_they_came() -> None:
    """Fifty calls that wait for one slot get it in turn."""
    store, order = waiting(), []
    first = await granted(store, SLOT)

    async def call(number: int) -> None:
        answer = await granted(store, SLOT)
        order.append(number)
        await asyncio.sleep(0)
        await store.settle(answer.reservation, {}, time.time())

    calls = []
    for number in range(50):
        calls.append(asyncio.create_task(call(number)))
        await until(store, number + 1)
    await store.settle(first.reservation, {}, time.time())
    await asyncio.gather(*calls)
    assert order == list(range(50))
    assert len(store) == 0


async def test_giving_back_wakes_one_waiter_not_a_crowd() -> None:
    """The store is asked once per grant and once per arrival and head of the queue, however many wait."""
    counting = Counting()
    store = WaitingStore(counting, time.time, lambda: 0.0)
    first = await granted(store, SLOT)
    calls = [asyncio.create_task(granted(store, SLOT)) for _ in range(200)]
    await until(store, 200)
    before = counting.asked
    await store.settle(first.reservation, {}, time.time())
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    # The one that got in, and the next one, which found the slot taken; polls of slots may add a few.
    assert len(done) == 1
    assert counting.asked - before <= 10
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(store) == 0


async def test_a_client_that_leaves_loses_its_place_and_nothing_else() -> None:
    """Those behind it move up, and no slot is lost."""
    store = waiting()
    first = await granted(store, SLOT)
    leaves = asyncio.create_task(granted(store, SLOT))
    await until(store, 1)
    stays = asyncio.create_task(granted(store, SLOT))
    await until(store, 2)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    await store.release(first.reservation, time.time())
    await store.settle((await stays).reservation, {}, time.time())
    assert isinstance(await store.reserve([SLOT], time.time()), Granted)


class Slow(MemoryStore):
    """A memory store whose answers take until `answer` is set, as a server's may."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        self.deciding = asyncio.Event()
        self.slow = False

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        decided = await super().reserve(demands, now)
        if self.slow:
            self.deciding.set()
            await self.answer.wait()
        return decided


async def test_what_is_granted_while_the_client_leaves_is_given_back() -> None:
    """A grant that nobody waits for any more does not keep its slot."""
    slow = Slow()
    store = WaitingStore(slow, time.time, time.monotonic)
    first = await granted(store, SLOT)
    leaves = asyncio.create_task(granted(store, SLOT))
    await until(store, 1)
    slow.slow = True
    await store.settle(first.reservation, {}, time.time())
    await slow.deciding.wait()
    leaves.cancel()
    await asyncio.sleep(0)
    slow.answer.set()
    await asyncio.gather(leaves, return_exceptions=True)
    assert leaves.cancelled()
    assert isinstance(await store.reserve([SLOT], time.time()), Granted)


async def test_what_is_granted_to_a_newcomer_that_leaves_is_given_back() -> None:
    """The same holds for a call that did not have to queue."""
    slow = Slow()
    slow.slow = True
    store = WaitingStore(slow, time.time, time.monotonic)
    leaves = asyncio.create_task(granted(store, SLOT))
    await slow.deciding.wait()
    leaves.cancel()
    await asyncio.sleep(0)
    slow.answer.set()
    await asyncio.gather(leaves, return_exceptions=True)
    assert isinstance(await store.reserve([SLOT], time.time()), Granted)


async def test_a_newcomer_goes_behind_those_who_wait() -> None:
    """Who asks for something small does not overtake a large one at the same bucket."""
    store = waiting()
    tokens = Demand("tokens", "tokens", 100, 60, seconds=1)
    await granted(store, tokens)
    large = asyncio.create_task(granted(store, Demand("tokens", "tokens", 100, 90, seconds=1)))
    await until(store, 1)
    small = Demand("tokens", "tokens", 100, 1, seconds=1)
    assert isinstance(await store.reserve([small], time.time()), Refused)
    await large
    await granted(store, small, wait=10)


async def test_a_queue_is_bounded_and_so_is_the_wait() -> None:
    """A full queue refuses at once; a wait that must be longer than allowed is not begun."""
    store = waiting(length=2)
    await granted(store, SLOT)
    calls = [asyncio.create_task(store.reserve([SLOT], time.time(), 60)) for _ in range(2)]
    await until(store, 2)
    full = await store.reserve([SLOT], time.time(), 60)
    assert isinstance(full, Refused)
    assert [one.key for one in full.standings] == ["slots"]
    requests = Demand("requests", "requests", 1, seconds=3600)
    await granted(store, requests)
    hopeless = await store.reserve([requests], time.time(), 60)
    assert isinstance(hopeless, Refused)
    assert hopeless.retry_after is not None
    assert hopeless.retry_after > 3000
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_wait_ends_with_the_refusal() -> None:
    """When the time is over, the call hears which limit it was."""
    store = waiting()
    await granted(store, SLOT)
    answer = await store.reserve([SLOT, OTHER], time.time(), 0.05)
    assert isinstance(answer, Refused)
    assert answer.demand is SLOT
    assert [one.key for one in answer.standings] == ["slots", "other"]
    assert len(store) == 0


async def test_a_window_lets_waiters_in_as_it_slides() -> None:
    """Twelve calls on 4/second all get in, in order, and never more than 4 in a second."""
    store = waiting()
    demand = Demand("requests", "requests", 4, seconds=1)
    times: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        await granted(store, demand)
        times.append((number, time.time()))

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(call(number))
            await asyncio.sleep(0)
    assert [number for number, _ in times] == list(range(12))
    assert times[4][1] - times[0][1] > 0.9
    assert times[8][1] - times[4][1] > 0.9


async def test_a_call_of_two_buckets_keeps_its_age() -> None:
    """Let in by one bucket and refused by the other, it waits there before those that came later."""
    store, order = waiting(), []
    first, second = await granted(store, SLOT), await granted(store, OTHER)

    async def call(name: str, *demands: Demand) -> None:
        answer = await granted(store, *demands)
        order.append(name)
        await store.settle(answer.reservation, {}, time.time())

    both = asyncio.create_task(call("both", SLOT, OTHER))
    await until(store, 1)
    later = asyncio.create_task(call("later", OTHER))
    await until(store, 2)
    await store.settle(first.reservation, {}, time.time())
    while "slots" in store._queues:
        await asyncio.sleep(0)
    await store.settle(second.reservation, {}, time.time())
    await asyncio.gather(both, later)
    assert order == ["both", "later"]


async def test_two_hundred_concurrent_calls_overshoot_by_one_estimation_error() -> None:
    """On a tight token limit what is used in a window passes the limit by no more than one call's error."""
    store = waiting()
    demand = Demand("tokens", "tokens", 1000, 100, seconds=1)
    used: list[tuple[int, int]] = []
    turn = Counter[str]()

    async def call() -> None:
        answer = await granted(store, demand)
        await asyncio.sleep(0)
        turn["calls"] += 1
        # Every tenth call uses more than was estimated, the others less.
        real = 130 if turn["calls"] % 10 == 0 else 20
        await store.settle(answer.reservation, {"tokens": real}, time.time())
        used.append((answer.reservation.charges[0].place, real))

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(call())
    # In steps of the window: 12 of them are more than a second.
    for begin, _ in used:
        assert sum(real for at, real in used if begin <= at < begin + 12) <= 1000 + 30


async def test_what_never_fits_does_not_wait_behind_others() -> None:
    """A call whose cost alone is above a limit is refused at once, however long the queue there is."""
    store = waiting()
    await granted(store, SLOT)
    waits = asyncio.create_task(store.reserve([SLOT], time.time(), 60))
    await until(store, 1)
    answer = await store.reserve([SLOT, Demand("requests", "requests", 1, 2, seconds=60)], time.time(), 60)
    assert isinstance(answer, Refused)
    assert answer.retry_after is None
    assert answer.demand.key == "requests"
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)


async def test_a_store_that_cannot_tell_is_not_waited_for() -> None:
    """Where the rules refuse calls while the store is away, they are refused at once, however long they would wait."""

    class Away(MemoryStore):
        """What a guarded store answers under `on_store_error: deny`."""

        async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
            return Refused(demands[0], 1.0, (), unavailable=True)

    store = WaitingStore(Away(), time.time, time.monotonic)
    answer = await asyncio.wait_for(store.reserve([SLOT], time.time(), 3600), 60)
    assert isinstance(answer, Refused)
    assert answer.unavailable
    assert len(store) == 0
