"""The usage report in its forms: a table for people, JSON and CSV for programs.

The sums come from `sums.py`, whose names are offered here too. Names that clients chose (a model, an app) are shown
so that they can neither steer a terminal nor start a formula in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import orjson
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .sums import DIMENSIONS, OUTCOMES, Row, Usage, dimensions, since_moment, usage

__all__ = [
    "DIMENSIONS",
    "OUTCOMES",
    "Row",
    "Usage",
    "cost",
    "dimensions",
    "human_cost",
    "human_count",
    "human_time",
    "printable",
    "render",
    "since_moment",
    "spreadsheet_safe",
    "to_csv",
    "to_json",
    "usage",
]

_SHARE_CELLS = 10
# How much a column is needed: below `_USEFUL` it goes before a name is cut, `_NEEDED` ones never go.
_USEFUL = 5
_NEEDED = 9
# The cells that a name is left with where room is short.
_READABLE = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
# What spreadsheets take for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(rows: Sequence[Row]) -> RenderableType:
    """A table for people: one line a group, totals below, footnotes for what failed, is estimated, unpriced or lost.

    Without rows, one friendly line. Columns that would say nothing (no failures, no cache, no prices) are left out,
    and so are the least needed ones where the terminal is too narrow.
    """
    lost = rows.lost if isinstance(rows, Usage) else 0
    if rows:
        return _Report(rows, lost)
    line = "No calls recorded yet in this span: point an application at the proxy and they appear here."
    return Text(f"{line} {_lost_note(lost)}" if lost else line)


@dataclass(frozen=True, slots=True)
class _Report:
    """The table, laid out when the width is known."""

    rows: Sequence[Row]
    lost: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [column for column in _COLUMNS if column.shown(self.rows)]
        widths = self._key_widths()
        table = self._table(columns, widths)
        while excess := self._excess(console, options, table):
            least = min(columns, key=lambda column: column.need)
            narrower = _narrowed(widths, excess, _READABLE)
            # What is dispensable goes before a name is cut, what is needed only before a name cannot be read.
            if least.need < _USEFUL or (least.need < _NEEDED and sum(widths) - sum(narrower) < excess):
                columns.remove(least)
                table = self._table(columns, widths)
                continue
            table = self._table(columns, _narrowed(narrower, excess - sum(widths) + sum(narrower), 2))
            break
        yield table
        for note in _footnotes(self.rows, self.lost, [column.title for column in columns]):
            yield Text(note, style="dim")

    def _key_widths(self) -> list[int]:
        """What each key column would take."""
        widths = [
            max(map(cell_len, (name, *(_shown(row.key[name]) for row in self.rows)))) for name in self.rows[0].key
        ]
        return [max(len("total"), *widths[:1]), *widths[1:]] if widths else []

    def _excess(self, console: Console, options: ConsoleOptions, table: Table) -> int:
        """By how many cells the table is too wide."""
        return max(0, Measurement.get(console, options.update(width=10_000), table).maximum - options.max_width)

    def _table(self, columns: Sequence[_Column], widths: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False, collapse_padding=True)
        for place, (name, width) in enumerate(zip(self.rows[0].key, widths, strict=True)):
            table.add_column(name, footer="total" if place == 0 else "", no_wrap=True, overflow="ellipsis", width=width)
        for column in columns:
            justify: Literal["left", "right"] = "left" if column.bar else "right"
            table.add_column(column.title, footer=column.total(self.rows), justify=justify, no_wrap=True)
        most = max(row.tokens for row in self.rows)
        for row in self.rows:
            cells = [column.bar(row, most) if column.bar else column.cell(row) for column in columns]
            table.add_row(*(Text(_shown(value)) for value in row.key.values()), *cells)
        return table


def _narrowed(widths: Sequence[int], excess: int, least: int) -> list[int]:
    """The widths, less `excess` in all if that can be: the widest give first, and none below `least`."""
    widths = list(widths)
    for _ in range(excess):
        widest = max(range(len(widths)), key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= least:
            break
        widths[widest] -= 1
    return widths


def _shown(name: str) -> str:
    return printable(name) or "–"


def printable(text: str) -> str:
    """The text without what could steer a terminal: control and formatting characters stand as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def human_count(count: int) -> str:
    """12345678 as `12 345 678`, with narrow no-break spaces."""
    return f"{count:,}".replace(",", "\u202f")


def human_time(ms: float | None) -> str:
    """`–`, `84 ms`, `1.2 s` or `2 min 03 s`."""
    if ms is None:
        return "–"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds:02d} s"


def human_cost(cost: float | None) -> str:
    """Dollars: cents for what costs dollars, four places below that, so that a cheap call is not $0.00."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}" if cost >= 0.00005 else "<$0.0001"


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table: its cells, its total, whether these rows have anything to say in it, and how much it
    is needed: what is needed least goes first where room is short."""

    title: str
    cell: Callable[[Row], str]
    total: Callable[[Sequence[Row]], str] = lambda rows: ""
    shown: Callable[[Sequence[Row]], bool] = lambda rows: True
    bar: Callable[[Row, int], Text] | None = None
    need: int = _NEEDED


def _sum(rows: Sequence[Row], name: str) -> int:
    return sum(getattr(row, name) for row in rows)


def _tokens(name: str) -> tuple[Callable[[Row], str], Callable[[Sequence[Row]], str]]:
    """Cell and total of a token column; `~` marks what contains estimates."""

    def total(rows: Sequence[Row]) -> str:
        return ("~" if any(row.estimated for row in rows) else "") + human_count(_sum(rows, name))

    return (lambda row: total((row,))), total


def _cached(rows: Sequence[Row]) -> str:
    """The part of the input that came from a cache, in per cent."""
    whole = _sum(rows, "input_tokens")
    return f"{_sum(rows, 'cache_read_tokens') / whole:.0%}" if whole else "–"


def _failed(rows: Sequence[Row]) -> str:
    return human_count(_sum(rows, "errors"))


def cost(rows: Sequence[Row]) -> float | None:
    """What the calls with a known price cost together; None if there are none."""
    priced = [row.cost_usd for row in rows if row.cost_usd is not None]
    return sum(priced) if priced else None


def _cost(rows: Sequence[Row]) -> str:
    return human_cost(cost(rows))


def _bar(row: Row, most: int) -> Text:
    eighths = round(row.tokens / most * _SHARE_CELLS * 8) if most else 0
    return Text("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip(), style="cyan")


_COLUMNS = (
    _Column("calls", lambda row: human_count(row.calls), lambda rows: human_count(_sum(rows, "calls")), need=7),
    _Column("not ok", lambda row: _failed((row,)), _failed, lambda rows: any(row.errors for row in rows), need=5),
    _Column("input", *_tokens("input_tokens")),
    _Column(
        "cached", lambda row: _cached((row,)), _cached, lambda rows: any(row.cache_read_tokens for row in rows), need=3
    ),
    _Column("output", *_tokens("output_tokens")),
    _Column(
        "cost", lambda row: _cost((row,)), _cost, lambda rows: any(row.cost_usd is not None for row in rows), need=6
    ),
    _Column(
        "ttft",
        lambda row: human_time(row.ttft_ms_median),
        shown=lambda rows: any(row.ttft_ms_median is not None for row in rows),
        need=2,
    ),
    _Column(
        "time",
        lambda row: human_time(row.duration_ms_median),
        shown=lambda rows: any(row.duration_ms_median is not None for row in rows),
        need=4,
    ),
    _Column(
        "share",
        lambda row: "",
        shown=lambda rows: len(rows) > 1 and any(row.tokens for row in rows),
        bar=_bar,
        need=1,
    ),
)


_MEDIANS = {"ttft": "ttft: median time to the first token", "time": "time: median"}


def _footnotes(rows: Sequence[Row], lost: int, titles: Sequence[str]) -> list[str]:
    calls, notes = _sum(rows, "calls"), []
    failures = {outcome: sum(row.outcomes.get(outcome, 0) for row in rows) for outcome in OUTCOMES if outcome != "ok"}
    if any(failures.values()):
        told = ", ".join(f"{human_count(count)} {outcome}" for outcome, count in failures.items() if count)
        notes.append(f"not ok: {told}")
    medians = [note for title, note in _MEDIANS.items() if title in titles]
    notes.append("; ".join(["input and output in tokens", *medians]))
    if estimated := _sum(rows, "estimated"):
        notes.append(
            f"~ with estimates: for {human_count(estimated)} of {human_count(calls)} calls the provider told no usage"
        )
    if unmetered := _sum(rows, "unmetered"):
        notes.append(f"{human_count(unmetered)} of {human_count(calls)} calls were answered without usage")
    if unpriced := _sum(rows, "unpriced"):
        bound = ": the cost is a lower bound" if any(row.cost_usd is not None for row in rows) else ""
        notes.append(f"{human_count(unpriced)} of {human_count(calls)} calls have no known price{bound}")
    if lost:
        notes.append(_lost_note(lost))
    return notes


def _lost_note(lost: int) -> str:
    return f"{human_count(lost)} more call{'s' * (lost != 1)} could not be recorded while the ledger was not writable"


def to_json(rows: Sequence[Row]) -> str:
    """{"rows": [{…key, calls, outcomes, …}], "lost": n}: all that a `Row` holds, its key spread beside the rest."""
    lost = rows.lost if isinstance(rows, Usage) else 0
    document = {"rows": [{**row.key, **_facts(row)} for row in rows], "lost": lost}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def to_csv(rows: Sequence[Row]) -> str:
    """A header and a line a group, RFC 4180; one column for each outcome. Nothing without rows.

    Source: https://www.rfc-editor.org/rfc/rfc4180
    """
    out = io.StringIO()
    lines = csv.writer(out)
    for place, row in enumerate(rows):
        facts = _facts(row)
        counts = facts.pop("outcomes")
        assert isinstance(counts, dict)
        if place == 0:
            lines.writerow([*row.key, *facts, *counts])
        names = map(spreadsheet_safe, row.key.values())
        lines.writerow([*names, *facts.values(), *counts.values()])
    return out.getvalue()


def _facts(row: Row) -> dict[str, object]:
    facts = asdict(row)
    del facts["key"]
    return facts


def spreadsheet_safe(text: str) -> str:
    """The text as a CSV cell that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text
