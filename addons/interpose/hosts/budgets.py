"""Budgets outlive a restart: what the ledger says was spent in the running periods is told to the store of limits.

A limit's conditions are asked of what a record tells. Those on headers, on what a body holds and on quotas are in no
record: calls are counted as if they held, so that a budget is rather too tight after a restart than too wide. A budget
by a header begins anew.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from interpose.ledger.address import Readable
from interpose.ledger.record import LedgerError
from interpose.ledger.spending import Spent, spending
from interpose.limits.periods import Period
from interpose.limits.store import Demand
from interpose.rules.compiled import HEADER_WORD, Limit, Rules
from interpose.rules.facts import Facts
from interpose.rules.matching import Match
from interpose.rules.values import Budget
from interpose.stages.limits import of_key, whom

logger = logging.getLogger(__name__)

# The fields of a match that a record answers.
_KEPT = frozenset(("endpoint", "host", "model", "client", "ip", "app", "method", "path", "stream"))

Seed = tuple[Demand, int]


def budgets_of(rules: Rules, issued: Iterable[Budget]) -> list[Limit]:
    """Every budget: the limits that have one, and one for each kind that clients' keys have."""
    of_keys = {key.budget for key in rules.clients.keys if key.budget is not None} | set(issued)
    units = {budget.period: budget for budget in of_keys}
    return [*(limit for limit in rules.limits if limit.budget is not None), *map(of_key, units.values())]


def spent(limits: Iterable[Limit], places: Sequence[Readable], now: float) -> list[Seed]:
    """What is spent of each budget at `now`, in micro-dollars, by the first of these ledgers that can answer. Reads
    them: not for an event loop.

    If none can be read, that is told in the log; budgets begin anew then.
    """
    seeds: list[Seed] = []
    left = list(places)
    why = LedgerError("no place of the ledger can be read")
    for limit in limits:
        while left:
            try:
                seeds += _of_limit(limit, left[0], now)
                break
            except LedgerError as error:
                why = error
                left.pop(0)
                if left:
                    logger.warning("budgets are restored from another ledger: %s", error)
        else:
            logger.error("the budget %s begins anew: %s", limit.name, why)
    return seeds


def _of_limit(limit: Limit, ledger: Readable, now: float) -> list[Seed]:
    budget = limit.budget
    assert budget is not None
    if any(word.startswith(HEADER_WORD) for word in limit.per):
        logger.warning("the budget %s goes by a header, of which no record is kept: it begins anew", limit.name)
        return []
    told = replace(limit, match=_told(limit.match), unless=_told(limit.unless) if limit.unless is not None else None)
    words = sorted({*limit.per, *_asked(told.match), *(_asked(told.unless) if told.unless is not None else ())})
    period = Period(budget.period)
    totals: dict[str, float] = {}
    for each in spending(ledger, words, period.bounds(now).start):
        facts = _facts(each)
        if told.takes(facts):
            named = {word: _text(each.words.get(word)) for word in ("provider", "route", "key")}
            bucket = f"{limit.name}/budget/{whom(limit, facts, named)}"
            totals[bucket] = totals.get(bucket, 0.0) + each.usd
    return [
        (Demand(bucket, "budget", budget.micro, 0, period=period), math.ceil(round(usd * 1_000_000, 3)))
        for bucket, usd in totals.items()
    ]


def _asked(match: Match) -> list[str]:
    return [each.name for each in fields(match) if each.name in _KEPT and getattr(match, each.name) is not None]


def _told(match: Match) -> Match:
    """What is left of it without the conditions that no record answers."""
    return Match(**{name: getattr(match, name) for name in _asked(match)})


def _facts(spent: Spent) -> Facts:
    def text(word: str) -> str:
        return _text(spent.words.get(word)) or ""

    stream = spent.words.get("stream")
    return Facts(
        method=text("method"),
        scheme="https",
        host=text("host"),
        port=443,
        path=text("path"),
        endpoint=text("endpoint"),
        format="",
        wire="",
        model=_text(spent.words.get("model")),
        client=_text(spent.words.get("client")),
        ip=text("ip"),
        entrance="",
        stream=None if stream is None else bool(stream),
        header=lambda _: None,
        app=_text(spent.words.get("app")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
