"""The usage report as a page: what was spent, on what and by whom, how it went, and what the numbers lack.

All of it is of one state of the ledger, in three passes over it. Names are those that clients chose: they are shown as
text, cut where they are long, and without what would turn the lines around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache
from importlib.resources import files

from jinja2 import FunctionLoader, Template
from markupsafe import Markup

from interpose.ledger.address import Readable
from interpose.ledger.grouping import Selection
from interpose.ledger.record import GAP_ENTRANCE
from interpose.ledger.source import Source, open_source
from interpose.ledger.sums import Row, Usage, summed
from interpose.ledger.table import notes
from interpose.ledger.tally import NEEDED, Progress
from interpose.ledger.wording import human_cost, human_count, human_share, human_time, printable, short_count
from interpose.pages import Frame, templates

from .charts import NARROW, WIDE, Chart, Series
from .timeline import short, span_for, spans

# Models that have a colour of their own; the others are one.
COLOURED = 7
# Rows of a table: who wants more takes the CSV.
MOST_ROWS = 500
_LONG_NAME = 60
_TITLES = {
    ("provider", "model"): "Models",
    ("client",): "Clients",
    ("app",): "Applications",
    ("route",): "Routes",
    ("endpoint",): "Endpoints",
}


@dataclass(frozen=True, slots=True)
class Heading:
    """What the page is about, as it was asked for."""

    ledger: str
    made: datetime
    timezone: str = "UTC"
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    by: tuple[str, ...] = ("provider", "model")


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart in its two sizes, the colours in it, and its numbers as a table."""

    title: str
    about: str
    wide: Markup
    narrow: Markup
    legend: Sequence[Series]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """A table of groups, those with the most tokens first."""

    title: str
    usage: Usage

    @property
    def rows(self) -> Sequence[Row]:
        return self.usage[:MOST_ROWS]

    @property
    def left_out(self) -> int:
        return len(self.usage) - len(self.rows)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the ledger says."""

    span: str
    labels: Sequence[str]
    by_span: Usage
    by_span_and_model: Usage
    models: Usage
    rankings: Sequence[Ranking]
    first: datetime | None
    last: datetime | None


def usage_page(place: Readable, selection: Selection, heading: Heading, progress: Progress | None = None) -> str:
    """The HTML. Raises LedgerError."""
    with open_source(place, NEEDED) as source:
        found = _found(source, selection, heading.by, progress)
    total = found.models.total
    return _template().render(
        page=Frame("AI usage", style=_file("usage.css"), script=_file("sort.js")),
        heading=heading,
        found=found,
        total=total,
        figures=list(_figures(found)) if total is not None else [],
        notes=notes(found.models, total) if total is not None else [],
        period=_period(found, selection.zone),
    )


def _found(source: Source, selection: Selection, by: tuple[str, ...], progress: Progress | None) -> _Found:
    first, last = _reach(source, selection)
    span = span_for(first, last) if first and last else "day"
    passes: list[tuple[tuple[str, ...], ...]] = [
        ((span,), (span, "model"), ("provider", "model")),
        (("client",), ("app",)),
        (("route",), ("endpoint",)),
    ]
    if by and by not in {grouping for groupings in passes for grouping in groupings}:
        passes.append((by,))
    found: dict[tuple[str, ...], Usage] = {}
    for number, groupings in enumerate(passes):
        told = None if progress is None else _part(progress, number, len(passes))
        found |= zip(groupings, summed(source, groupings, selection, told), strict=True)
    return _Found(
        span,
        spans(span, first, last, selection.zone) if first and last else [row.key[span] for row in found[(span,)]],
        found.pop((span,)),
        found.pop((span, "model")),
        found[("provider", "model")],
        [Ranking(_TITLES.get(grouping, f"By {', '.join(grouping)}"), usage) for grouping, usage in found.items()],
        first,
        last,
    )


def _part(progress: Progress, number: int, parts: int) -> Progress:
    return lambda done: progress((number + done) / parts)


def _reach(source: Source, selection: Selection) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of the calls began; None of none, or of what somebody has written there instead."""
    conditions, arguments = selection.where()
    only, values = selection.confines(source.dialect)
    where = " AND ".join([*conditions, *([only] if only else []), f"entrance <> '{GAP_ENTRANCE}'"])
    ((first, last),) = source.rows(
        f"SELECT min(started_at), max(started_at) FROM calls WHERE {where}",  # noqa: S608 - made of tables
        *arguments,
        *values,
    )
    try:
        begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    except (TypeError, ValueError):
        return None, None
    return (begin, end) if begin.tzinfo and end.tzinfo else (None, None)


def _period(found: _Found, zone: tzinfo | None) -> str:
    if found.first is None or found.last is None:
        return ""
    begin, end = (moment.astimezone(zone) for moment in (found.first, found.last))
    texts = [f"{begin:%Y-%m-%d %H:%M}", f"{end:{'%H:%M' if begin.date() == end.date() else '%Y-%m-%d %H:%M'}}"]
    return texts[0] if texts[0].endswith(texts[1]) else " – ".join(texts)


# --- charts -----------------------------------------------------------------------------------------------------------


def _figures(found: _Found) -> list[Figure]:
    rows = {row.key[found.span]: row for row in found.by_span}
    every = f"each {found.span}"

    def series(name: str, colour: str, value: Callable[[Row], float | None], absent: float | None = 0) -> Series:
        return Series(name, colour, [value(rows[label]) if label in rows else absent for label in found.labels])

    def outcome(*names: str) -> Callable[[Row], float]:
        return lambda row: sum(row.outcomes[name] for name in names)

    def latency(title: str, about: str, name: str) -> Chart:
        lines = [
            series(f"p{percent}", colour, lambda row, p=percent: getattr(row, f"{name}_p{p}"), None)  # type: ignore[misc]
            for percent, colour in ((50, "series-3"), (95, "series-1"), (99, "series-2"))
        ]
        return _chart(found, title, about, lines, human_time, stacked=False)

    charts = [
        _chart(
            found, "Spend", f"dollars {every}, by model", _by_model(found, lambda row: row.cost_usd or 0), human_cost
        ),
        _chart(
            found,
            "Tokens",
            f"tokens {every}: input, of it from a cache, and output",
            [
                series("input, fresh", "series-1", lambda row: row.input_tokens - row.cache_read_tokens),
                series("input, cached", "series-8", lambda row: row.cache_read_tokens),
                series("output", "series-2", lambda row: row.output_tokens),
            ],
            short_count,
        ),
        _chart(
            found,
            "Calls",
            f"calls {every}, by how they ended",
            [
                series("ok", "series-3", outcome("ok")),
                series("errors", "series-bad", outcome("error", "truncated")),
                series("refused or limited", "series-7", outcome("refused", "limited")),
                series("left by the client", "series-6", outcome("aborted")),
            ],
            short_count,
        ),
        latency("Duration", f"of calls that ended well, percentiles {every}", "duration_ms"),
        latency("Time to first token", f"of calls that ended well, percentiles {every}", "ttft_ms"),
    ]
    return [_figure(found, chart) for chart in charts if any(any(each.values) for each in chart.series)]


def _chart(
    found: _Found, title: str, about: str, series: Sequence[Series], said: Callable[[float], str], stacked: bool = True
) -> Chart:
    # What is nowhere is no part of the legend.
    shown = [each for each in series if any(each.values)]
    return Chart(title, about, [short(found.span, label) for label in found.labels], shown, said, stacked)


def _by_model(found: _Found, value: Callable[[Row], float]) -> list[Series]:
    """One series a model, for those that come to the most, and one for all others."""
    sums: dict[str, float] = {}
    cells: dict[tuple[str, str], float] = {}
    for row in found.by_span_and_model:
        model, label = row.key["model"], row.key[found.span]
        sums[model] = sums.get(model, 0) + value(row)
        cells[label, model] = value(row)
    ranked = sorted(sums, key=lambda model: (-sums[model], model))
    # A lone other one may as well have its name.
    alone = len(ranked) == COLOURED + 1
    named, others = ranked[: COLOURED + alone], ranked[COLOURED + alone :]
    series = [
        Series(clipped(model), f"series-{place}", [cells.get((label, model), 0) for label in found.labels])
        for place, model in enumerate(named, 1)
    ]
    if others:
        rest = [sum(cells.get((label, model), 0) for model in others) for label in found.labels]
        series.append(Series(f"{len(others)} others", f"series-{COLOURED + 1}", rest))
    return series


def _figure(found: _Found, chart: Chart) -> Figure:
    rows = [
        [label, *("–" if (value := each.values[place]) is None else chart.said(value) for each in chart.series)]
        for place, label in enumerate(found.labels)
    ]
    return Figure(chart.title, chart.about, chart.svg(WIDE), chart.svg(NARROW), chart.series, rows)


# --- the page ---------------------------------------------------------------------------------------------------------


def clipped(name: str) -> str:
    """A name where there is room for one line."""
    text = printable(name) or "–"
    return text if len(text) <= _LONG_NAME else text[: _LONG_NAME - 1] + "…"


def _file(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    environment = templates(FunctionLoader(_file))
    environment.filters |= {
        "count": human_count,
        "short": short_count,
        "cost": human_cost,
        "share": human_share,
        "duration": human_time,
        "printable": lambda name: printable(name) or "–",
    }
    return environment.get_template("usage.html")
