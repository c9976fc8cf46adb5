"""The usage report for programs: JSON and CSV, whose names and shapes stay. `table.py` has the one for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import orjson

from .sums import DIMENSIONS, OUTCOMES, PERCENTILES, Row, Usage, dimensions, since_moment, usage
from .table import render
from .tally import TIMES
from .wording import human_cost, human_count, human_time, printable, spreadsheet_safe

__all__ = [
    "DIMENSIONS",
    "OUTCOMES",
    "Row",
    "Usage",
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

# What is told of a row beside its key and its outcomes, in this order.
FACTS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_share",
    "metered",
    "estimated",
    "unmetered",
    "estimated_share",
    "cost_usd",
    "unpriced",
    "error_rate",
    "refused_rate",
    "limited_rate",
    *(f"{time}_p{percent}" for time in TIMES for percent in PERCENTILES),
)


def to_json(usage: Usage, about: Mapping[str, object] | None = None) -> str:
    """{…about, "by": […], "rows": [{…key, calls, outcomes, …}], "total": {calls, …} or null, "lost": n}."""
    document = {
        **(about or {}),
        "by": usage.by,
        "rows": [{**row.key, **_facts(row)} for row in usage],
        "total": None if usage.total is None else _facts(usage.total),
        "lost": usage.lost,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _facts(row: Row) -> dict[str, object]:
    return {"calls": row.calls, "outcomes": row.outcomes, **{name: getattr(row, name) for name in FACTS}}


def to_csv(usage: Usage) -> str:
    """A header, always the same for the same `by`, and a line a group, RFC 4180; one column for each outcome.

    Source: https://www.rfc-editor.org/rfc/rfc4180
    """
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow([*usage.by, "calls", *OUTCOMES, *FACTS])
    for row in usage:
        names = map(spreadsheet_safe, row.key.values())
        counts = (row.outcomes[outcome] for outcome in OUTCOMES)
        lines.writerow([*names, row.calls, *counts, *(getattr(row, name) for name in FACTS)])
    return out.getvalue()
