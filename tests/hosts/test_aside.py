"""What is open as long as a program needs it: in a thread, and in the program's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from interpose.errors import InterposeError
from interpose.hosts.aside import Aside, Within

Told = list[str]


def opening(
    told: Told, *, wait: asyncio.Event | None = None, fails: bool = False
) -> Callable[[], AbstractAsyncContextManager[str]]:
    """Tells of its life; it is opened when `wait` is set, or fails to be."""

    @asynccontextmanager
    async def life() -> AsyncIterator[str]:
        if wait is not None:
            told.append("begins")
            await wait.wait()
        if fails:
            raise InterposeError("it cannot be opened")
        told.append("open")
        try:
            yield "it"
        finally:
            told.append("closed")

    return life


async def test_many_who_need_it_open_it_once() -> None:
    """The first one does; the others wait for it."""
    told: Told = []
    within = Within(opening(told), "this")
    assert await asyncio.gather(within.open(), within.open(), within.open()) == ["it"] * 3
    assert (told, within.held, within.here) == (["open"], "it", "it")
    await within.close()
    await within.close()
    assert (told, within.held) == (["open", "closed"], None)


async def test_who_gives_up_gives_up_for_himself() -> None:
    """It is opened all the same, for those who wait on."""
    told: Told = []
    wait = asyncio.Event()
    within = Within(opening(told, wait=wait), "this")
    first, second = asyncio.create_task(within.open()), asyncio.create_task(within.open())
    while not told:
        await asyncio.sleep(0)
    first.cancel()
    wait.set()
    assert await second == "it"
    with pytest.raises(asyncio.CancelledError):
        await first
    await within.close()


async def test_a_failure_is_told_to_all_and_tried_again_by_the_next() -> None:
    """Nothing of it is left."""
    within = Within(opening([], fails=True), "this")
    for _ in range(2):
        results = await asyncio.gather(within.open(), within.open(), return_exceptions=True)
        assert [str(result) for result in results] == ["it cannot be opened"] * 2
    assert within.held is None
    await within.close()


async def test_one_that_is_closing_is_opened_again() -> None:
    """By whoever needs it meanwhile, when it has been closed."""
    told: Told = []
    within = Within(opening(told), "this")
    await within.open()
    closing = asyncio.create_task(within.close())
    await asyncio.sleep(0)
    assert await within.open() == "it"
    await closing
    assert told == ["open", "closed", "open"]
    await within.close()


def test_a_loop_that_ends_closes_it() -> None:
    """Where nobody has; the next loop opens it anew."""
    told: Told = []
    within = Within(opening(told), "this")
    for _ in range(2):
        asyncio.run(within.open())
    assert told == ["open", "closed"] * 2
    assert within.held is None


def test_a_loop_that_was_thrown_away_does_not_keep_it() -> None:
    """What was open in it is lost with it."""
    told: Told = []
    within = Within(opening(told), "this")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(within.open())
    kept = [*asyncio.all_tasks(loop)]
    loop.close()
    asyncio.run(within.open())
    assert told == ["open", "open", "closed"]
    for task in kept:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]


async def test_another_loop_is_told_so() -> None:
    """As long as it is open in this one: to open it, and to close it."""
    within = Within(opening([]), "this gateway")
    await within.open()
    for work in (within.open, within.close):
        with pytest.raises(InterposeError, match="this gateway belongs to another event loop"):
            await asyncio.to_thread(lambda work=work: asyncio.run(work()))
    await within.close()


def test_a_thread_holds_it_until_it_is_stopped() -> None:
    """And does what it is given to do, from wherever."""
    told: Told = []
    aside = Aside(opening(told))
    aside.start().result()
    assert aside.held == "it"
    assert aside.submit(asyncio.sleep(0, "done")).result() == "done"
    endless = aside.submit(asyncio.Event().wait())
    aside.stop().result()
    assert endless.cancelled()
    assert (told, aside.held) == (["open", "closed"], None)
    with pytest.raises(InterposeError, match="nothing is open"):
        aside.submit(asyncio.sleep(0))


def test_a_thread_that_cannot_open_it_says_why() -> None:
    """To whoever has started it."""
    with pytest.raises(InterposeError, match="it cannot be opened"):
        Aside(opening([], fails=True)).start().result()
