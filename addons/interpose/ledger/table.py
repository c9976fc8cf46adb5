"""The usage report as a table for people, as wide as their terminal.

Columns that would say nothing (no failures, no cache, no prices) are left out, and so are the least needed ones where
there is no room for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .sums import FAILED, OUTCOMES, Row, Usage
from .wording import human_cost, human_count, human_share, human_time, printable

_SHARE_CELLS = 10
# How much a column is needed: below `_USEFUL` it goes before a name is cut, `_NEEDED` ones never go.
_USEFUL = 5
_NEEDED = 9
# The cells that a name is left with where room is short.
_READABLE = 8
# Where room is short, no name takes more than a third of it, or this.
_LONG = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


def render(usage: Usage) -> RenderableType:
    """One line a group, totals below, footnotes for what failed, is estimated, unpriced or lost; without rows, one
    friendly line.
    """
    if usage.total is not None:
        return _Report(usage, usage.total)
    line = "No calls recorded yet in this span: point an application at the proxy and they appear here."
    if usage.confined:
        line = "No calls like that are recorded in this span."
    return Text(f"{line} {_lost_note(usage.lost)}" if usage.lost else line)


@dataclass(frozen=True, slots=True)
class _Report:
    """The table, laid out when the width is known."""

    rows: Usage
    total: Row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [column for column in _COLUMNS if column.shown(self.rows)]
        cells = {column: self._cells(column) for column in columns}
        # Of a column, its widest cell says how wide a table is: measuring thousands of rows anew would take seconds.
        widest = {column: [max(texts, key=lambda text: text.cell_len)] for column, texts in cells.items()}
        widths = self._key_widths()
        if self._excess(console, options, columns, widths, widest):
            # One name of two thousand characters is not worth all columns.
            widths = [min(width, max(_LONG, options.max_width // 3)) for width in widths]
        while excess := self._excess(console, options, columns, widths, widest):
            least = min(columns, key=lambda column: column.need)
            narrower = _narrowed(widths, excess, _READABLE)
            # What is dispensable goes before a name is cut, what is needed only before a name cannot be read.
            if least.need < _USEFUL or (least.need < _NEEDED and sum(widths) - sum(narrower) < excess):
                columns.remove(least)
                continue
            widths = _narrowed(narrower, excess - sum(widths) + sum(narrower), 2)
            break
        keys = [[Text(_shown(value)) for value in row.key.values()] for row in self.rows]
        yield self._table(columns, widths, keys, cells)
        for note in notes(self.rows, self.total, [column.title for column in columns]):
            yield Text(note, style="dim")

    def _cells(self, column: _Column) -> list[Text]:
        if column.bar is None:
            return [Text(column.cell(row)) for row in self.rows]
        most = max(row.tokens for row in self.rows)
        return [column.bar(row, most) for row in self.rows]

    def _key_widths(self) -> list[int]:
        """What each key column would take."""
        widths = [
            max(map(cell_len, (name, *(_shown(row.key[name]) for row in self.rows)))) for name in self.rows[0].key
        ]
        return [max(len("total"), *widths[:1]), *widths[1:]] if widths else []

    def _excess(
        self,
        console: Console,
        options: ConsoleOptions,
        columns: Sequence[_Column],
        widths: Sequence[int],
        widest: Mapping[_Column, Sequence[Text]],
    ) -> int:
        """By how many cells the table is too wide."""
        table = self._table(columns, widths, [[Text() for _ in widths]], widest)
        return max(0, Measurement.get(console, options.update(width=10_000), table).maximum - options.max_width)

    def _table(
        self,
        columns: Sequence[_Column],
        widths: Sequence[int],
        keys: Sequence[Sequence[Text]],
        cells: Mapping[_Column, Sequence[Text]],
    ) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_footer=bool(widths), pad_edge=False, collapse_padding=True)
        for place, (name, width) in enumerate(zip(self.rows[0].key, widths, strict=True)):
            table.add_column(name, footer="total" if place == 0 else "", no_wrap=True, overflow="ellipsis", width=width)
        for column in columns:
            justify: Literal["left", "right"] = "left" if column.bar else "right"
            table.add_column(column.title, footer=column.cell(self.total), justify=justify, no_wrap=True)
        for place, key in enumerate(keys):
            table.add_row(*key, *(cells[column][place] for column in columns))
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


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table: its cells, whether these rows have anything to say in it, and how much it is needed:
    what is needed least goes first where room is short."""

    title: str
    cell: Callable[[Row], str]
    shown: Callable[[Sequence[Row]], bool] = lambda rows: True
    bar: Callable[[Row, int], Text] | None = None
    need: int = _NEEDED


def _tokens(name: str) -> Callable[[Row], str]:
    """`~` marks what contains estimates."""
    return lambda row: "~" * bool(row.estimated) + human_count(getattr(row, name))


def _rated(title: str, outcomes: Sequence[str], need: int) -> _Column:
    """Which part of the calls came to that."""

    def count(row: Row) -> int:
        return sum(row.outcomes.get(name, 0) for name in outcomes)

    return _Column(
        title,
        lambda row: human_share(count(row) / row.calls) if count(row) else "–",
        lambda rows: any(map(count, rows)),
        need=need,
    )


def _timed(title: str, name: str, need: int) -> _Column:
    """A percentile; one that is everywhere the median tells nothing more."""

    def value(row: Row) -> float | None:
        found: float | None = getattr(row, name)
        return found

    def told(row: Row) -> bool:
        return value(row) is not None and (name.endswith("_p50") or value(row) != getattr(row, name[:-4] + "_p50"))

    return _Column(title, lambda row: human_time(value(row)), lambda rows: any(map(told, rows)), need=need)


def _bar(row: Row, most: int) -> Text:
    eighths = round(row.tokens / most * _SHARE_CELLS * 8) if most else 0
    return Text("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip(), style="cyan")


_COLUMNS = (
    _Column("calls", lambda row: human_count(row.calls), need=7),
    _rated("errors", FAILED, need=5),
    _rated("refused", ("refused", "limited"), need=4),
    _Column("input", _tokens("input_tokens")),
    _Column(
        "cached",
        lambda row: human_share(row.cache_share),
        lambda rows: any(row.cache_read_tokens for row in rows),
        need=3,
    ),
    _Column("output", _tokens("output_tokens")),
    _Column(
        "cost", lambda row: human_cost(row.cost_usd), lambda rows: any(row.cost_usd is not None for row in rows), need=6
    ),
    _timed("ttft", "ttft_ms_p50", need=2),
    _timed("ttft p95", "ttft_ms_p95", need=1),
    _timed("ttft p99", "ttft_ms_p99", need=0),
    _timed("time", "duration_ms_p50", need=4),
    _timed("time p95", "duration_ms_p95", need=2),
    _timed("time p99", "duration_ms_p99", need=0),
    _Column(
        "share",
        lambda row: "",
        shown=lambda rows: len(rows) > 1 and any(row.tokens for row in rows),
        bar=_bar,
        need=1,
    ),
)
_MEANT = {
    "refused": "refused: by rules or limits",
    "ttft": "ttft: median time to the first token",
    "time": "time: median",
}


def notes(usage: Usage, total: Row, titles: Sequence[str] = ()) -> list[str]:
    """What stands below the numbers: what went wrong, what they are of (in columns of these titles), what they lack."""
    calls, said = human_count(total.calls), []
    if total.not_ok:
        counts = ((name, total.outcomes.get(name, 0)) for name in OUTCOMES if name != "ok")
        said.append("not ok: " + ", ".join(f"{human_count(count)} {name}" for name, count in counts if count))
    if titles:
        meant = [note for title, note in _MEANT.items() if title in titles]
        said.append("; ".join(["input and output in tokens", *meant]))
    if total.estimated:
        marked = "~ with " * bool(titles)
        said.append(
            f"{marked}estimates: for {human_count(total.estimated)} of {calls} calls the provider told no usage"
        )
    if total.unmetered:
        said.append(f"{human_count(total.unmetered)} of {calls} calls were answered without usage")
    if total.unpriced:
        bound = ": the cost is a lower bound" if total.cost_usd is not None else ""
        said.append(f"{human_count(total.unpriced)} of {calls} calls have no known price{bound}")
    if usage.lost:
        said.append(_lost_note(usage.lost))
    return said


def _lost_note(lost: int) -> str:
    return f"{human_count(lost)} more call{'s' * (lost != 1)} could not be recorded while the ledger was not writable"
