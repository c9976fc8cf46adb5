"""What `interpose explain` says of limits: which hold for the call, what it asks of each, and what is left there.

What is left is asked of the store that the rules share, without taking anything. Where limits are counted in memory it
is known to the interceptor's process alone; a store that does not answer leaves it unknown, and is no failure here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpose.errors import InterposeError
from interpose.limits.store import Demand, Kind, Standing, StoreError
from interpose.rules.compiled import Rules
from interpose.rules.problem import printable
from interpose.stages.draft import Plan

# So long is waited for the store: nobody is held up but the person who asks.
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What one limit is asked: by the call, or by the attempt of that number. `standing` None: nobody here knows."""

    attempt: int | None
    demand: Demand
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Standings:
    """`store` None is the interceptor's memory; `problem` is why the store did not tell."""

    store: str | None
    problem: str
    asked: tuple[Asked, ...]


def standings(rules: Rules, chosen: Plan) -> Standings | None:
    """Where the limits of a planned call stand; None if there are none."""
    groups: list[tuple[int | None, Sequence[Demand]]] = [(None, chosen.demands)]
    groups += [(number, attempt.demands) for number, attempt in enumerate(chosen.attempts, start=1)]
    groups = [group for group in groups if group[1]]
    if not groups:
        return None
    if rules.state.store is None:
        return Standings(None, "", _joined(groups, {}))
    problem = ""
    found: Mapping[str, Standing] = {}
    try:
        found = asyncio.run(_peek(rules, [demands for _, demands in groups]))
    except (StoreError, TimeoutError, InterposeError) as error:
        problem = str(error) or "it does not answer"
    return Standings(str(rules.state.store), problem, _joined(groups, found))


def _joined(groups: Sequence[tuple[int | None, Sequence[Demand]]], found: Mapping[str, Standing]) -> tuple[Asked, ...]:
    return tuple(Asked(number, demand, found.get(demand.key)) for number, demands in groups for demand in demands)


async def _peek(rules: Rules, groups: Sequence[Sequence[Demand]]) -> dict[str, Standing]:
    from interpose.hosts.sharing import counted

    from .sharing import login_of

    store = counted(rules.state, await login_of(rules))
    assert store is not None
    try:
        async with asyncio.timeout(PATIENCE):
            answers = [await store.peek(demands, time.time()) for demands in groups]
    finally:
        await store.aclose()
    return {standing.key: standing for answer in answers for standing in answer.standings}


def heading(told: Standings) -> str:
    if told.store is None:
        return "Limits (counted in the interceptor's memory, which knows what is left)"
    if told.problem:
        return f"Limits (what is left is not known: {told.store}: {told.problem})"
    return f"Limits (counted at {told.store})"


def rows(told: Standings) -> list[tuple[str, ...]]:
    """A line for each limit: its name, whom it counts, what is asked, what is left."""
    lines: list[tuple[str, ...]] = []
    for asked in told.asked:
        name, _, whom = _parts(asked.demand)
        attempt = f"attempt {asked.attempt}: " if asked.attempt is not None else ""
        lines.append((f"{attempt}{name}", printable(whom, 200) or "all", _asks(asked.demand), _left(asked)))
    return lines


def as_json(told: Standings | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {
        "store": told.store,
        "problem": told.problem or None,
        "asked": [
            {
                "limit": name,
                "kind": kind,
                "of": whom,
                "attempt": asked.attempt,
                "asks": asked.demand.cost,
                "allowed": asked.demand.limit,
                "seconds": asked.demand.seconds,
                "remaining": asked.standing.remaining if asked.standing is not None else None,
                "reset": asked.standing.reset if asked.standing is not None else None,
            }
            for asked in told.asked
            for name, kind, whom in (_parts(asked.demand),)
        ],
    }


def _parts(demand: Demand) -> tuple[str, str, str]:
    name, kind, whom = demand.key.split("/", 2)
    return name, kind, whom


_UNITS: Mapping[Kind, Callable[[int], str]] = {
    "requests": lambda count: f"{count} request{'' if count == 1 else 's'}",
    "tokens": lambda count: f"{count} token{'' if count == 1 else 's'}",
    "concurrent": lambda count: f"{count} call{'' if count == 1 else 's'} at a time",
    "budget": lambda count: f"${count / 1_000_000:,.6g}",
}


def _asks(demand: Demand) -> str:
    unit = _UNITS[demand.kind]
    span = f" in {demand.seconds} s" if demand.seconds else f" a {demand.period.unit}" if demand.period else ""
    return f"asks {unit(demand.cost).split()[0]} of {unit(demand.limit)}{span}"


def _left(asked: Asked) -> str:
    if (standing := asked.standing) is None:
        return ""
    left = f"{_UNITS[standing.kind](standing.remaining).split()[0]} left"
    again = f", all of it again in {standing.reset:.0f} s" if standing.reset else ""
    return f"{left}{again}" + (": too little" if standing.remaining < asked.demand.cost else "")
