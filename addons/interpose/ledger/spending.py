"""What was spent in a span of time, by whatever tells calls apart: the sums that budgets begin with after a start.

Read by a connection of its own, which blocks: not for an event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .record import LedgerError, utc_text
from .schema import open_for_reading

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
    "provider": "coalesce(json_extract(leg.value, '$.provider'), host)",
    "key": "json_extract(leg.value, '$.credential')",
}
OF_ATTEMPT = frozenset(("provider", "key"))


@dataclass(frozen=True, slots=True)
class Spent:
    """Dollars of the calls that have these words in common."""

    words: Mapping[str, object]
    usd: float


def spending(path: Path, words: Sequence[str], since: float) -> list[Spent]:
    """What calls have cost that began at or after the Unix time `since`, by those words; nothing without a ledger.

    Raises LedgerError if it cannot be read.
    """
    if not path.exists():
        return []
    by_attempt = not OF_ATTEMPT.isdisjoint(words)
    cost = "json_extract(leg.value, '$.cost_usd')" if by_attempt else "cost_usd"
    source = "calls, json_each(attempts) AS leg" if by_attempt else "calls"
    chosen = ", ".join(_WORDS[word] for word in words) or "0"
    places = ", ".join(str(place) for place in range(1, max(len(words), 1) + 1))
    query = (
        f"SELECT {chosen}, sum({cost}) FROM {source}"  # noqa: S608 - of the table above
        f" WHERE started_at >= ? AND {cost} > 0 GROUP BY {places}"
    )
    connection = open_for_reading(path)
    try:
        rows = connection.execute(query, (utc_text(since),)).fetchall()
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error}") from error
    finally:
        connection.close()
    return [Spent(dict(zip(words, row, strict=False)), row[-1]) for row in rows]
