"""Calls added up by groups, in one pass over the ledger however many groupings are asked for.

The database adds up pieces of it (in SQLite ten thousand rows at a time, which takes a third of the time of grouping
all of them at once); here they are put together. Latencies come along as they are, eight bytes each, since percentiles
of percentiles are none.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Any, get_args

import orjson

from interpose.errors import Outcome

from .grouping import Columns, Selection
from .record import CALLS, GAP_ENTRANCE
from .source import Source

OUTCOMES: tuple[str, ...] = get_args(Outcome)
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
TIMES = ("ttft_ms", "duration_ms")

# What is read of the ledger here.
NEEDED = (CALLS,)
Progress = Callable[[float], None]
"""Is told now and then which part of the work is done, from 0 to 1."""


def _count(condition: str) -> str:
    return f"count(CASE WHEN {condition} THEN 1 END)"


# What is added up of calls, and how.
SUMS: dict[str, str] = {
    "calls": "count(*)",
    **{outcome: _count(f"outcome = '{outcome}'") for outcome in OUTCOMES},
    # Of reals: a provider that claims 2^53 tokens must not end the report in an overflow.
    **{column: f"coalesce(sum(CAST({column} AS DOUBLE PRECISION)), 0.0)" for column in TOKENS},
    "metered": _count("usage_source <> 'none'"),
    "estimated": _count("usage_source = 'estimated'"),
    # A list of models uses no tokens, and a call that was refused none either: they lack nothing.
    "unmetered": _count(
        "usage_source = 'none' AND status BETWEEN 200 AND 299 AND endpoint IN ('chat', 'completions', 'embeddings')"
    ),
    "cost_usd": "coalesce(sum(cost_usd), 0.0)",
    "priced": "count(cost_usd)",
    # What used nothing lacks no price.
    "unpriced": _count("cost_usd IS NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL"),
}


class Tally:
    """One group: its sums in the order of `SUMS`, and the latencies of its calls that ended well."""

    __slots__ = ("sums", "times")

    def __init__(self) -> None:
        self.sums: list[float] = [0] * len(SUMS)
        self.times = tuple(array("d") for _ in TIMES)

    def add(self, sums: Sequence[float], times: Sequence[Iterable[float]]) -> None:
        self.sums = list(map(add, self.sums, sums))
        for mine, more in zip(self.times, times, strict=True):
            mine.extend(more)

    def ranked(self) -> tuple[array[float], ...]:
        """The latencies in order; they stay so, which makes ranking all groups together a matter of merging."""
        self.times = tuple(array("d", sorted(times)) for times in self.times)
        return self.times


class Tallies:
    """The groups of each grouping, and how many records were lost."""

    def __init__(self, columns: Columns) -> None:
        self.groupings: list[dict[tuple[str, ...], Tally]] = [{} for _ in columns.groupings]
        self.lost = 0


def tallied(source: Source, columns: Columns, selection: Selection, progress: Progress | None = None) -> Tallies:
    """Raises LedgerError."""
    tallies = Tallies(columns)
    projections = columns.projections()
    width = len(columns.names)
    begin = width + len(source.dialect.also) + 1
    conditions, arguments = selection.where()
    only, values = selection.confines(source.dialect)
    # What the ledger says of itself is told whatever is asked for.
    query = _query(columns, source, [*conditions, f"(entrance = '{GAP_ENTRANCE}' OR {only})" if only else "1 = 1"])
    gaps = " AND ".join([*conditions, f"entrance = '{GAP_ENTRANCE}'"])
    pieces = list(source.pieces(conditions, arguments))
    if not pieces:
        return tallies
    condition = pieces[0].condition
    answers = source.each(
        f"{query[0]}{condition}{query[1]}", [(*arguments, *values, *piece.arguments) for piece in pieces]
    )
    for piece, rows in zip(pieces, answers, strict=True):
        lost = False
        for row in rows:
            if row[begin - 1]:
                lost = True
                continue
            key = tuple(map(_readable, row[:width]))
            times = [source.dialect.numbers(value) for value in row[-len(TIMES) :]]
            sums = row[begin : -len(TIMES)]
            for groups, project in zip(tallies.groupings, projections, strict=True):
                name = project(key)
                if (tally := groups.get(name)) is None:
                    tally = groups[name] = Tally()
                tally.add(sums, times)
        if lost:
            found = source.rows(
                f"SELECT losses FROM calls WHERE {gaps} AND {condition}",  # noqa: S608 - made above and in `source`
                *arguments,
                *piece.arguments,
            )
            tallies.lost += sum(_lost(text) for (text,) in found)
        if progress is not None:
            progress(piece.done)
    return tallies


def _query(columns: Columns, source: Source, conditions: Sequence[str]) -> tuple[str, str]:
    """What stands before and behind the condition of a piece."""
    dialect = source.dialect
    keys = [*columns.sql, *dialect.also, f"CASE WHEN entrance = '{GAP_ENTRANCE}' THEN 1 ELSE 0 END"]
    times = [dialect.gathered(time, "outcome = 'ok'") for time in TIMES]
    places = ", ".join(str(place) for place in range(1, len(keys) + 1))
    return (
        f"SELECT {', '.join([*keys, *SUMS.values(), *times])} FROM calls {dialect.unsorted}"  # noqa: S608 - of tables
        f" WHERE {' AND '.join(conditions)} AND ",
        f" GROUP BY {places}",
    )


def _readable(value: Any) -> str:
    """A key's text; what is no UTF-8, as only a tampered file has it, in other characters."""
    text = value if type(value) is str else str(value)
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _lost(text: str) -> int:
    """The count in a gap record's `losses`; 0 if it was tampered with (`verify` says so)."""
    try:
        return sum(int(loss["count"]) for loss in orjson.loads(text))
    except (ValueError, KeyError, TypeError):
        return 0
