"""What was spent in a span of time, by whatever tells calls apart: the sums that budgets begin with after a start.

Read by a connection of its own, which blocks: not for an event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .address import Readable
from .record import utc_text
from .source import missing, open_source

# What a sum can be asked by: the SQL that gives it, of a call and, the last two, of each of its attempts. A call that
# went where it was addressed has no provider: its host stands for it.
_WORDS: Mapping[str, str] = {
    "client": "client",
    "ip": "ip",
    "app": "app",
    "endpoint": "endpoint",
    "host": "host",
    "model": "asked_model",
    "method": "method",
    "path": "path",
    "stream": "stream",
    "route": "route",
    "provider": "coalesce(leg.value ->> 'provider', host)",
    "key": "leg.value ->> 'credential'",
}
OF_ATTEMPT = frozenset(("provider", "key"))


@dataclass(frozen=True, slots=True)
class Spent:
    """Dollars of the calls that have these words in common."""

    words: Mapping[str, object]
    usd: float


def spending(place: Readable, words: Sequence[str], since: float) -> list[Spent]:
    """What calls have cost that began at or after the Unix time `since`, by those words; nothing without a ledger.

    Raises LedgerError if it cannot be read.
    """
    if missing(place):
        return []
    by_attempt = not OF_ATTEMPT.isdisjoint(words)
    cost = "CAST(leg.value ->> 'cost_usd' AS DOUBLE PRECISION)" if by_attempt else "cost_usd"
    chosen = ", ".join(_WORDS[word] for word in words) or "0"
    places = ", ".join(str(place) for place in range(1, max(len(words), 1) + 1))
    with open_source(place) as source:
        query = (
            f"SELECT {chosen}, sum({cost}) FROM calls{f', {source.dialect.legs}' if by_attempt else ''}"  # noqa: S608 - of the table above
            f" WHERE started_at >= ? AND {cost} > 0 GROUP BY {places}"
        )
        rows = list(source.rows(query, utc_text(since)))
    return [Spent(dict(zip(words, row, strict=False)), row[-1]) for row in rows]
