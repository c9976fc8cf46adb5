"""What was used: sums over the ledger by provider, model, client, app, day ….

The sums are the database's; nothing here prices or estimates. How they are shown is `report.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import orjson

from interpose.errors import Outcome

from .address import Readable
from .record import GAP_ENTRANCE, LedgerError
from .source import open_source

OUTCOMES: tuple[str, ...] = get_args(Outcome)

# What `--by` may name: the SQL that gives it. `day` is UTC's.
DIMENSIONS = {
    # The host of a call to the gateway is our own.
    "provider": "coalesce(nullif(provider, ''), CASE WHEN entrance = 'gateway' THEN '' ELSE host END)",
    "model": "coalesce(nullif(sent_model, ''), asked_model, '')",
    "client": "coalesce(client, '')",
    "app": "coalesce(app, '')",
    "day": "substr(started_at, 1, 10)",
    "endpoint": "endpoint",
    "route": "coalesce(route, '')",
    "credential": "coalesce(credential, '')",
    "ip": "coalesce(ip, '')",
    "outcome": "outcome",
}

_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
# A list of models uses no tokens, and a call that was refused none either: they lack nothing.
_UNMETERED = (
    "count(CASE WHEN usage_source = 'none' AND status BETWEEN 200 AND 299"
    " AND endpoint IN ('chat', 'completions', 'embeddings') THEN 1 END)"
)
# What used nothing lacks no price.
_UNPRICED = "count(CASE WHEN cost_usd IS NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL THEN 1 END)"
# What JSON and CSV can tell of a sum.
MOST = 2**63 - 1
_TIMES = ("ttft_ms", "duration_ms")
_SINCE = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Row:
    """One group of calls. `key` has a value for each dimension asked for, in that order; "" is "none".

    `input_tokens` includes the cache tokens, `output_tokens` the reasoning tokens. `estimated` and `unmetered` count
    the calls whose usage was estimated, or is not known at all though they are of an endpoint that uses tokens and were
    answered. `cost_usd` is None if no call had a price, else the sum over those that had; `unpriced` counts the calls
    that used something which has no known price. Times are milliseconds by nearest rank, None without data.
    """

    key: dict[str, str]
    calls: int
    outcomes: dict[str, int]
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated: int
    unmetered: int
    cost_usd: float | None
    unpriced: int
    ttft_ms_median: float | None
    ttft_ms_p95: float | None
    duration_ms_median: float | None
    duration_ms_p95: float | None

    @property
    def errors(self) -> int:
        """Calls that did not end well: every outcome but ok."""
        return self.calls - self.outcomes.get("ok", 0)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Usage(list[Row]):
    """The rows of a report, and how many records were lost while the ledger could not be written."""

    def __init__(self, rows: Sequence[Row] = (), *, lost: int = 0) -> None:
        super().__init__(rows)
        self.lost = lost


def since_moment(text: str, now: datetime) -> datetime:
    """What `--since` says: `7d`, `24h`, `30m`, `2w` before `now`, or an ISO date or time, UTC unless it says else.

    Raises LedgerError on anything else.
    """
    text = text.strip()
    try:
        if match := _SINCE.fullmatch(text):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise LedgerError(f"{text!r} is no time: write 7d, 24h, 30m, or a date like 2026-11-01") from None


def dimensions(text: str) -> tuple[str, ...]:
    """What `--by` says: comma-separated names of `DIMENSIONS`. Raises LedgerError naming the ones there are."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    _known(names)
    return names


def _known(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in DIMENSIONS]:
        raise LedgerError(f"usage cannot be grouped by {', '.join(unknown)}: there are {', '.join(DIMENSIONS)}")


def usage(
    place: Readable,
    *,
    by: Sequence[str] = ("provider", "model"),
    since: datetime | None = None,
    writer: str | None = None,
) -> Usage:
    """The calls that began at or after `since` (of that writer alone, if one is named), grouped by `by`.

    By day the rows run in time, otherwise those with the most tokens come first. Raises LedgerError if there is no
    ledger at `place`, if it cannot be read, or if `by` names something that there is not.
    """
    _known(by)
    where, arguments = ["1 = 1"], []
    if since is not None:
        where.append("started_at >= ?")
        arguments.append(since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if writer is not None:
        where.append("writer = ?")
        arguments.append(writer)
    chosen = " AND ".join(where)
    with open_source(place) as source:
        rows = [_row(by, values) for values in source.rows(_query(by, chosen), *arguments, GAP_ENTRANCE)]
        gaps = list(
            source.rows(
                f"SELECT losses FROM calls WHERE {chosen} AND entrance = ?",  # noqa: S608 - `chosen` is made above
                *arguments,
                GAP_ENTRANCE,
            )
        )
    if "day" in by:
        rows.sort(key=lambda row: (row.key["day"], -row.tokens, -row.calls, *row.key.values()))
    else:
        rows.sort(key=lambda row: (-row.tokens, -row.calls, *row.key.values()))
    return Usage(rows, lost=sum(_lost(text) for (text,) in gaps))


def _query(by: Sequence[str], chosen: str) -> str:
    """One pass for the sums; the ranks for median and p95 come from window functions over the same groups."""
    keys = [f"{DIMENSIONS[name]} AS k{place}" for place, name in enumerate(by)] or ["0 AS k"]
    names = ", ".join(f"k{place}" for place in range(len(by))) or "k"
    ranks = ", ".join(
        f"row_number() OVER (PARTITION BY {names} ORDER BY {time} IS NULL, {time}) AS {time}_rank,"
        f" count({time}) OVER (PARTITION BY {names}) AS {time}_count"
        for time in _TIMES
    )
    quantiles = ", ".join(
        f"max(CASE WHEN {time}_rank = ({time}_count * {percent} + 99) / 100 THEN {time} END)"
        for time in _TIMES
        for percent in (50, 95)
    )
    outcomes = ", ".join(f"count(CASE WHEN outcome = '{outcome}' THEN 1 END)" for outcome in OUTCOMES)
    # Of reals: a provider that claims 2^53 tokens must not end the report in an overflow.
    tokens = ", ".join(f"coalesce(sum(CAST({column} AS DOUBLE PRECISION)), 0.0)" for column in _TOKENS)
    return (
        f"WITH chosen AS (SELECT *, {', '.join(keys)} FROM calls WHERE {chosen} AND entrance <> ?),"  # noqa: S608 - all of it from the tables above
        f" ranked AS (SELECT *, {ranks} FROM chosen)"
        f" SELECT {names}, count(*), {outcomes}, {tokens}, count(CASE WHEN usage_source = 'estimated' THEN 1 END),"
        f" {_UNMETERED}, sum(cost_usd), {_UNPRICED}, {quantiles} FROM ranked GROUP BY {names}"
    )


def _row(by: Sequence[str], found: Sequence[Any]) -> Row:
    width = max(len(by), 1)
    calls, *numbers = found[width:]
    tokens, rest = numbers[len(OUTCOMES) :][: len(_TOKENS)], numbers[len(OUTCOMES) + len(_TOKENS) :]
    return Row(
        {name: _readable(value) for name, value in zip(by, found, strict=False)},
        calls,
        dict(zip(OUTCOMES, numbers, strict=False)),
        *(min(int(total), MOST) for total in tokens),
        *rest,
    )


def _readable(value: object) -> str:
    """A key's text; what is no UTF-8, as only a tampered file has it, in other characters."""
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _lost(text: str) -> int:
    """The count in a gap record's `losses`; 0 if it was tampered with (`verify` says so)."""
    try:
        return sum(int(loss["count"]) for loss in orjson.loads(text))
    except (ValueError, KeyError, TypeError):
        return 0
