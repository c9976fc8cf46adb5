"""A replay's outcome in its forms: tables for people, JSON and CSV for programs.

Names come from recordings, hence from clients: none can steer a terminal or begin a formula in a spreadsheet.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interpose.ledger.report import human_cost, human_count, human_time, printable, spreadsheet_safe

from .fates import Change, Fate
from .summary import Compared, Group, Summary, Totals

# So many groups are shown; JSON has them all.
SHOWN = 20
# A cell that is longer is cut.
LONGEST = 120


@dataclass(frozen=True, slots=True)
class Names:
    """What the two sides are called."""

    before: str
    after: str


def render(screen: Console, summary: Summary, names: Names, *, groups: int = SHOWN) -> None:
    """The summary for people."""
    screen.print(Text(headline(summary, names), style="bold"), soft_wrap=True)
    if not summary.calls:
        return
    screen.print(_totals(summary, names))
    if summary.groups:
        screen.print(_groups(summary, names, groups))
        if len(summary.groups) > groups:
            screen.print(f"… and {len(summary.groups) - groups} more kinds of change; --format json has them all")
    for note in notes(summary):
        screen.print(Text(note, style="dim"), soft_wrap=True)


def headline(summary: Summary, names: Names) -> str:
    """What comes of it, in a line."""
    if not summary.calls:
        return f"no AI call in these recordings that {names.after} would judge"
    calls = f"{human_count(summary.calls)} call{'s' * (summary.calls != 1)}"
    span = f", {_moment(summary.first)} – {_moment(summary.last)} UTC" if summary.first is not None else ""
    if not summary.changed:
        return f"replayed {calls}{span}: nothing would change"
    return f"replayed {calls}{span}: {human_count(summary.changed)} would change"


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds or 0.0, UTC).strftime("%Y-%m-%d %H:%M")


def _cost(totals: Totals) -> str:
    if not totals.priced:
        return "–"
    return ("~" if totals.approximate else "") + human_cost(float(totals.cost))


def _failed(side: Totals) -> int:
    return sum(side.outcomes[name] for name in ("error", "aborted", "truncated"))


def _waits(side: Totals) -> str:
    if not side.waited:
        return "0"
    return f"{human_count(side.waited)} ({human_time(side.waited_seconds / side.waited * 1000)} each)"


_ROWS: tuple[tuple[str, Callable[[Totals], str], Callable[[Totals], bool]], ...] = (
    ("answered by a provider", lambda side: human_count(side.sent), lambda side: True),
    ("  of them failed", lambda side: human_count(_failed(side)), lambda side: _failed(side) > 0),
    ("  of them with losses", lambda side: human_count(side.lossy), lambda side: side.lossy > 0),
    ("refused", lambda side: human_count(side.outcomes["refused"]), lambda side: side.outcomes["refused"] > 0),
    ("limited", lambda side: human_count(side.outcomes["limited"]), lambda side: side.outcomes["limited"] > 0),
    ("waited", _waits, lambda side: side.waited > 0),
    (
        "not intercepted",
        lambda side: human_count(side.outcomes["unclaimed"]),
        lambda side: side.outcomes["unclaimed"] > 0,
    ),
    ("undecided", lambda side: human_count(side.outcomes["undecided"]), lambda side: side.outcomes["undecided"] > 0),
    ("input tokens", lambda side: human_count(side.input_tokens), lambda side: side.input_tokens > 0),
    ("output tokens", lambda side: human_count(side.output_tokens), lambda side: side.output_tokens > 0),
    ("cost", _cost, lambda side: side.priced > 0),
    ("  without a price", lambda side: human_count(side.unpriced), lambda side: side.unpriced > 0),
)


def _totals(summary: Summary, names: Names) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("")
    for name in (names.before, names.after):
        table.add_column(_shown(name), justify="right")
    for title, cell, said in _ROWS:
        if said(summary.before) or said(summary.after):
            table.add_row(title, cell(summary.before), cell(summary.after))
    return table


def _groups(summary: Summary, names: Names, most: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("what would change", overflow="fold")
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    shown = summary.largest()[:most]
    apart = any(len(kind) > 1 for kind, _ in shown)  # lines that are one's cannot be told from the next one's
    for kind, group in shown:
        table.add_row(Text(_kind(kind)), human_count(group.calls), _paid(group), end_section=apart)
    return table


def _kind(kind: Sequence[Change]) -> str:
    return "\n".join(_shown(f"{change.aspect}: {change}" if change.before else change.aspect) for change in kind)


def _paid(group: Group) -> str:
    about = "~" if group.approximate and group.cost_after is not None else ""
    return f"{human_cost(_number(group.cost_before))} → {about}{human_cost(_number(group.cost_after))}"


def _number(cost: Decimal | None) -> float | None:
    return None if cost is None else float(cost)


def _shown(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def notes(summary: Summary) -> Iterator[str]:
    """What has to be known to read the numbers."""
    for why, count in summary.undecided.most_common():
        yield f"{_calls(count)} cannot be decided without what was not recorded: {printable(why)}"
    for who, count in summary.strangers.most_common(10):
        yield f"{_calls(count)} with {printable(who)}, unknown to the rules: a 401 (keys that were issued: --state)"
    if summary.bodiless:
        yield (
            f"{_calls(summary.bodiless)} without a whole body: routing, limits and cost go by what the record says; "
            "losses are not known"
        )
    if summary.after.approximate or summary.before.approximate:
        yield "~ tokens as another model counted them, or estimated for calls that were not answered then"
    if summary.sessions:
        yield f"{_calls(summary.sessions)} opened a WebSocket: where it goes is judged, what was said in it is not"
    if summary.late:
        yield f"{_calls(summary.late)} stood far out of order in the recording: limits are counted a little late there"
    if summary.left_out:
        hosts = ", ".join(f"{printable(host)} ({count})" for host, count in summary.left_out.most_common(5))
        more = f" and {len(summary.left_out) - 5} more" if len(summary.left_out) > 5 else ""
        yield f"left out, since the rules do not intercept them: {hosts}{more}"


def _calls(count: int) -> str:
    return f"{human_count(count)} call{'s' * (count != 1)}"


# Call by call


def line(one: Compared) -> Text:
    """A call for people: what changes, or what it stays."""
    said = "; ".join(f"{change.aspect}: {change}" for change in one.changes) or f"as before: {one.after.place}"
    if one.after.outcome == "undecided":
        said = f"undecided: {one.after.code}"
    costs = ""
    if one.before.cost is not None or one.after.cost is not None:
        costs = f"  {_one_cost(one.before)} → {_one_cost(one.after)}"
    when = datetime.fromtimestamp(one.started_at, UTC).strftime("%H:%M:%S")
    mark = "*" if one.changes else " "
    return Text(f"{mark} {when} {printable(one.id)} {one.method} {_shown(one.host + one.path)}  {_shown(said)}{costs}")


def _one_cost(fate: Fate) -> str:
    cost = human_cost(float(fate.cost)) if fate.cost is not None and fate.sent else "–"
    return f"~{cost}" if fate.approximate else cost


def fate_as_json(fate: Fate) -> dict[str, Any]:
    return {
        "outcome": fate.outcome,
        "status": fate.status,
        "code": fate.code,
        "client": fate.client,
        "route": fate.route,
        "provider": fate.provider,
        "origin": fate.origin,
        "model": fate.model,
        "credential": fate.key or None,
        "sends": fate.sends,
        "input_tokens": fate.usage.input_tokens,
        "output_tokens": fate.usage.output_tokens,
        "cost_usd": float(fate.cost) if fate.cost is not None else None,
        "approximate": fate.approximate,
        "losses": [{"severity": severity, "path": path} for severity, path in sorted(fate.losses)],
        "waited_s": round(fate.waited, 3),
        "known": sorted(fate.knows),
    }


def call_as_json(one: Compared) -> bytes:
    return orjson.dumps(
        {
            "id": one.id,
            "place": one.place,
            "started_at": datetime.fromtimestamp(one.started_at, UTC).isoformat(),
            "method": one.method,
            "host": one.host,
            "path": one.path,
            "changes": [_change(change) for change in one.changes],
            "before": fate_as_json(one.before),
            "after": fate_as_json(one.after),
        }
    )


def _change(change: Change) -> Mapping[str, str]:
    return {"aspect": change.aspect, "before": change.before, "after": change.after}


def _side(name: str, totals: Totals) -> dict[str, Any]:
    return {
        "name": name,
        "calls": totals.calls,
        "sent": totals.sent,
        "outcomes": dict(totals.outcomes),
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cost_usd": float(totals.cost) if totals.priced else None,
        "priced": totals.priced,
        "unpriced": totals.unpriced,
        "approximate": totals.approximate,
        "with_losses": totals.lossy,
        "waited": totals.waited,
        "waited_s": round(totals.waited_seconds, 3),
    }


def summary_as_json(summary: Summary, names: Names, flaws: Sequence[str]) -> dict[str, Any]:
    """Everything but the calls."""
    return {
        "calls": summary.calls,
        "changed": summary.changed,
        "before": _side(names.before, summary.before),
        "after": _side(names.after, summary.after),
        "groups": [
            {
                "changes": [_change(change) for change in kind],
                "calls": group.calls,
                "cost_before_usd": _number(group.cost_before),
                "cost_after_usd": _number(group.cost_after),
                "approximate": group.approximate,
                "example": group.example,
            }
            for kind, group in summary.largest()
        ],
        "left_out": dict(summary.left_out),
        "undecided": dict(summary.undecided),
        "unknown_clients": dict(summary.strangers),
        "without_body": summary.bodiless,
        "websockets": summary.sessions,
        "out_of_order": summary.late,
        "unreadable": list(flaws),
    }


_COLUMNS = ("outcome", "status", "code", "route", "provider", "model", "credential", "cost_usd", "approximate")


class Lines:
    """CSV, a line a call: RFC 4180."""

    def __init__(self, out: IO[str]) -> None:
        self._lines = csv.writer(out)
        sides = [f"{side}_{name}" for side in ("before", "after") for name in _COLUMNS]
        self._lines.writerow(["id", "started_at", "method", "host", "path", "changed", *sides])

    def add(self, one: Compared) -> None:
        when = datetime.fromtimestamp(one.started_at, UTC).isoformat()
        changed = " ".join(change.aspect for change in one.changes)
        cells = [side[name] for side in map(fate_as_json, (one.before, one.after)) for name in _COLUMNS]
        named = [one.id, when, one.method, one.host, one.path, changed, *cells]
        self._lines.writerow([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in named])
