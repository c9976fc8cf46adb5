"""Where limits stand, for somebody who looks: of what calls have asked for, as it is now."""

from __future__ import annotations

from interpose.engine.gate import MOST_WATCHED, Gate
from interpose.limits.memory import MemoryStore
from interpose.limits.periods import Period
from interpose.limits.queue import WaitingStore
from interpose.limits.store import Demand

NOW = 1_700_049_600.0
TOKENS = Demand("chat/tokens/client=ci", "tokens", 1000, 400, 60)
SLOT = Demand("chat/concurrent/client=ci", "concurrent", 2)
SPEND = Demand("spend/budget/client=ci", "budget", 5_000_000, 1_000_000, period=Period("day"))


def gate() -> Gate:
    return Gate(WaitingStore(MemoryStore(), lambda: NOW, lambda: NOW), lambda: NOW)


async def pressure(of: Gate) -> dict[str, int]:
    """What is used of each bucket."""
    return {each.key: each.limit - each.remaining for each in await of.pressure()}


async def test_a_bucket_stands_where_it_stands_now() -> None:
    """Not where it stood when a call asked: what was settled since counts, and what was given back does not."""
    watched = gate()
    watched.watch()
    granted = await watched.enter([TOKENS, SLOT], 0.0, "openai")
    assert await pressure(watched) == {TOKENS.key: 400, SLOT.key: 1}
    assert granted is not None
    watched.leave(granted.reservation, 150)
    await watched.close()
    assert await pressure(watched) == {TOKENS.key: 150, SLOT.key: 0}


async def test_looking_charges_nothing_and_is_refused_by_nothing() -> None:
    """Of a limit that is reached, too."""
    watched = gate()
    watched.watch()
    for _ in range(2):
        await watched.enter([SLOT], 0.0, "openai")
    for _ in range(3):
        assert await pressure(watched) == {SLOT.key: 2}


async def test_what_was_spent_before_the_start_is_seen() -> None:
    """Budgets come from the ledger before anybody looks."""
    watched = gate()
    await watched.seed(SPEND, 3_000_000)
    watched.watch()
    assert await pressure(watched) == {SPEND.key: 3_000_000}


async def test_nothing_is_remembered_where_nobody_looks_and_little_where_somebody_does() -> None:
    """Whoever makes up clients makes up no more than so many buckets."""
    watched = gate()
    await watched.enter([TOKENS], 0.0, "openai")
    assert await watched.pressure() == ()
    watched.watch()
    for number in range(MOST_WATCHED + 50):
        await watched.enter([Demand(f"chat/requests/client={number}", "requests", 9, 1, 60)], 0.0, "openai")
    assert len(await watched.pressure()) == MOST_WATCHED
