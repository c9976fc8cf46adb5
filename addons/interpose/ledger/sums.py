"""What was used: sums over the ledger by provider, model, client, app, day …, and what follows from them.

The sums are the database's; nothing here prices or estimates. How they are shown is `report.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .address import Readable
from .grouping import DIMENSIONS, SPANS, Columns, Selection, dimensions, in_time, known, since_moment
from .source import Source, open_source
from .tally import NEEDED, OUTCOMES, SUMS, TIMES, Progress, Tally, tallied

__all__ = ["DIMENSIONS", "OUTCOMES", "Row", "Usage", "dimensions", "since_moment", "usage", "usages"]

# What JSON and CSV can tell of a sum.
MOST = 2**63 - 1
PERCENTILES = (50, 95, 99)
# What failed; what was refused or limited is our own decision, and who leaves has seen enough.
FAILED = ("error", "truncated")
_EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Row:
    """One group of calls. `key` has a value for each dimension asked for, in that order; "" is "none".

    `input_tokens` includes the cache tokens, `output_tokens` the reasoning tokens. `metered` counts the calls with a
    usage, `estimated` those of them whose usage was estimated, `unmetered` those of which it is not known though they
    are of an endpoint that uses tokens and were answered. `cost_usd` is None if no call had a price, else the sum over
    those that had; `unpriced` counts the calls that used something which has no known price. Times are milliseconds by
    nearest rank, of the calls that ended well; None without data.
    """

    key: dict[str, str]
    calls: int
    outcomes: dict[str, int]
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    metered: int
    estimated: int
    unmetered: int
    cost_usd: float | None
    unpriced: int
    ttft_ms_p50: float | None
    ttft_ms_p95: float | None
    ttft_ms_p99: float | None
    duration_ms_p50: float | None
    duration_ms_p95: float | None
    duration_ms_p99: float | None

    @property
    def not_ok(self) -> int:
        """Calls that did not end well: every outcome but ok."""
        return self.calls - self.outcomes.get("ok", 0)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def error_rate(self) -> float:
        """The share of the calls that failed or were cut short. As alerts have it."""
        return sum(self.outcomes.get(name, 0) for name in FAILED) / self.calls

    @property
    def refused_rate(self) -> float:
        return self.outcomes.get("refused", 0) / self.calls

    @property
    def limited_rate(self) -> float:
        return self.outcomes.get("limited", 0) / self.calls

    @property
    def cache_share(self) -> float | None:
        """The part of the input that came from a cache."""
        return self.cache_read_tokens / self.input_tokens if self.input_tokens else None

    @property
    def estimated_share(self) -> float | None:
        """Of the calls with a usage, those whose usage is an estimate."""
        return self.estimated / self.metered if self.metered else None


class Usage(list[Row]):
    """The rows of a report, by what they are grouped, the row of all calls together (None if there are none), and how
    many records were lost while the ledger could not be written. `confined`: it is of some calls only.
    """

    def __init__(
        self,
        rows: Sequence[Row] = (),
        *,
        by: Sequence[str] = (),
        total: Row | None = None,
        lost: int = 0,
        confined: bool = False,
    ) -> None:
        super().__init__(rows)
        self.by = tuple(by)
        self.total = total
        self.lost = lost
        self.confined = confined


def usage(
    place: Readable,
    *,
    by: Sequence[str] = ("provider", "model"),
    since: datetime | None = None,
    writer: str | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> Usage:
    """The calls of a selection (or since a moment, or of the writers whose names begin so) grouped by `by`.

    By time the rows run in time, otherwise those with the most tokens come first. Raises LedgerError if there is no
    ledger at `place`, if it cannot be read, or if `by` names something that there is not.
    """
    return usages(place, [by], selection or Selection(since=since, writer=writer), progress=progress)[0]


def usages(
    place: Readable,
    groupings: Sequence[Sequence[str]],
    selection: Selection = _EVERYTHING,
    *,
    progress: Progress | None = None,
) -> list[Usage]:
    """`usage` by several groupings, of one state of the ledger, in one pass over it."""
    for by in groupings:
        known(by)
    with open_source(place, NEEDED) as source:
        return summed(source, groupings, selection, progress)


def summed(
    source: Source, groupings: Sequence[Sequence[str]], selection: Selection, progress: Progress | None = None
) -> list[Usage]:
    """`usages` of a ledger that is open."""
    columns = Columns.of(groupings, selection.zone)
    tallies = tallied(source, columns, selection, progress)
    reports = []
    total: Row | None = None
    for by, groups in zip(columns.groupings, tallies.groupings, strict=True):
        rows = [_row(dict(zip(by, key, strict=True)), tally) for key, tally in groups.items()]
        if total is None and rows:
            total = replace(rows[0], key={}) if len(rows) == 1 else _row({}, _all(groups.values()))
        spans = [name for name in by if name in SPANS]
        rows.sort(key=_weight)
        rows.sort(key=lambda row: [in_time(row.key[name]) for name in spans])
        reports.append(Usage(rows, by=by, total=total, lost=tallies.lost, confined=bool(selection.only)))
    return reports


def _weight(row: Row) -> tuple[object, ...]:
    return (-row.tokens, -row.calls, *row.key.values())


def _all(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally.sums, tally.times)
    return total


def _row(key: dict[str, str], tally: Tally) -> Row:
    told = dict(zip(SUMS, tally.sums, strict=True))
    facts: dict[str, Any] = {name: min(int(told[name]), MOST) for name in SUMS if name in Row.__dataclass_fields__}
    # A tenth of a billionth of a dollar: what an order of adding up changes is left out.
    facts["cost_usd"] = round(told["cost_usd"], 10) if told["priced"] else None
    for name, ranked in zip(TIMES, tally.ranked(), strict=True):
        facts.update((f"{name}_p{percent}", _percentile(ranked, percent)) for percent in PERCENTILES)
    return Row(key, outcomes={outcome: int(told[outcome]) for outcome in OUTCOMES}, **facts)


def _percentile(ranked: Sequence[float], percent: int) -> float | None:
    """By nearest rank."""
    return ranked[(len(ranked) * percent + 99) // 100 - 1] if ranked else None
