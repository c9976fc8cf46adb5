"""What is told of the calls that a question asks for. To be made in a thread: it goes through all that is counted.

The shape of it is documented in docs/mitmproxy.md; scripts read it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from operator import add
from typing import Any

from .counts import MINUTE, Counts, Group, Seen
from .question import DIMENSIONS, Question, Span
from .rings import CALLS, COST, FAILED, INPUT, OUTPUT, SUMS, TURNED_AWAY, WIDTH, cells, total

# "Now" is the last so many minutes.
NOW = 5
# So many names of a dimension have a line of their own.
MOST_LINES = 20
# What is drawn over time.
_DRAWN = {
    "calls": CALLS,
    "failed": FAILED,
    "turned_away": TURNED_AWAY,
    "input_tokens": INPUT,
    "output_tokens": OUTPUT,
    "cost_usd": COST,
}

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Read:
    """The numbers of one group: of the whole run, of the span in its steps, of today, of the last minutes."""

    group: Group
    run: array[float]
    steps: array[float]
    today: array[float]
    now: array[float]


def answer(counts: Counts, question: Question) -> Answer:
    """Everything about calls."""
    now = counts.now()
    span = question.time(now, counts.since)
    with counts.lock:
        groups = list(counts.groups)
    # A lock for each: nobody who records waits for more than the copy of one group.
    read = [_read(counts, group, question, span, now) for group in groups if question.wants(group.names)]
    in_span = [(each.group, each.run if span.whole else total(each.steps)) for each in read]
    return {
        "at": now,
        "since": counts.since,
        "span": {"name": question.span, "step": span.step, "from": max(span.begins, counts.since)},
        "now": {"minutes": NOW, **named(_summed(each.now for each in read))},
        "total": named(_summed(sums for _, sums in in_span)),
        "today": named(_summed(each.today for each in read)),
        "run": named(_summed(each.run for each in read)),
        "times": _times(counts, question, span, now),
        "steps": _steps(read, span),
        "by": {name: _lines(in_span, place) for place, name in enumerate(DIMENSIONS)},
        "names": {name: _names(groups, place) for place, name in enumerate(DIMENSIONS)},
        "calls": _calls(counts, question),
    }


def named(sums: Sequence[float]) -> Answer:
    """One cell as an object; what is counted is whole."""
    return {name: sums[place] if place == COST else int(sums[place]) for place, name in enumerate(SUMS)}


def _read(counts: Counts, group: Group, question: Question, span: Span, now: float) -> _Read:
    minute, quarter = int(now) // MINUTE, int(now) // group.quarters.step
    with counts.lock:
        ring = group.minutes if span.step == MINUTE else group.quarters
        return _Read(
            group,
            group.run[:],
            ring.between(span.first, span.last),
            total(group.quarters.between(question.today(now), quarter)),
            total(group.minutes.between(minute - NOW + 1, minute)),
        )


def _summed(many: Iterable[Sequence[float]]) -> Sequence[float]:
    summed = cells(1)
    for sums in many:
        summed = array("d", map(add, summed, sums))
    return summed


def _steps(read: Sequence[_Read], span: Span) -> Answer:
    summed = cells(span.last - span.first + 1)
    for each in read:
        summed = array("d", map(add, summed, each.steps))
    drawn: Answer = {"from": span.first * span.step, "step": span.step}
    for name, place in _DRAWN.items():
        column = summed[place::WIDTH]
        drawn[name] = list(column) if place == COST else [int(value) for value in column]
    return drawn


def _lines(read: Sequence[tuple[Group, Sequence[float]]], place: int) -> Answer:
    """Sums by the names of one dimension: what cost most, then what was used most, comes first."""
    by_name: dict[str | None, Sequence[float]] = {}
    for group, sums in read:
        name = group.names[place]
        known = by_name.get(name)
        by_name[name] = sums if known is None else array("d", map(add, known, sums))
    used = [(name, sums) for name, sums in by_name.items() if sums[CALLS]]
    used.sort(key=lambda line: (-line[1][COST], -line[1][INPUT] - line[1][OUTPUT], -line[1][CALLS], line[0] or ""))
    return {
        "lines": [{"name": name, **named(sums)} for name, sums in used[:MOST_LINES]],
        "more": max(0, len(used) - MOST_LINES),
    }


def _names(groups: Iterable[Group], place: int) -> list[str | None]:
    """All that may be chosen, what is not known last."""
    return sorted({group.names[place] for group in groups}, key=lambda name: (name is None, name or ""))


def _times(counts: Counts, question: Question, span: Span, now: float) -> Answer:
    """How long calls took that ended well, by nearest rank. Of the latest ones: `of` says of how many."""
    times = counts.times
    with counts.lock:
        count = times.count
        at, whose, first, took = times.at[:], times.whose[:], times.first[:], times.took[:]
        wanted = {group.number for group in counts.groups if question.wants(group.names)}
    begins = span.begins
    found = [
        place
        for place in range(min(count, len(at)))
        if at[place] >= begins and at[place] <= now and whose[place] in wanted
    ]
    durations = sorted(took[place] for place in found)
    firsts = sorted(value for place in found if not isnan(value := first[place]))
    return {
        "of": len(durations),
        "duration_ms": {"p50": rank(durations, 50), "p95": rank(durations, 95)},
        "ttft_ms": {"p50": rank(firsts, 50), "p95": rank(firsts, 95)},
    }


def rank(ordered: Sequence[float], percent: int) -> float | None:
    """The percentile by nearest rank, as the ledger's reports have it; None of nothing."""
    return ordered[(len(ordered) * percent + 99) // 100 - 1] if ordered else None


def _calls(counts: Counts, question: Question) -> list[Answer]:
    """The last calls, the latest first."""
    with counts.lock:
        seen = list(counts.calls)
    found: list[Answer] = []
    for call in reversed(seen):
        if len(found) >= question.calls:
            break
        if question.wants(call.group.names):
            found.append(_told(counts, call))
    return found


def _told(counts: Counts, call: Seen) -> Answer:
    app, model, client, provider = (None if name is None else counts.shown(name) for name in call.names)
    return {
        "id": call.id,
        "at": call.at,
        "app": app,
        "client": client,
        "asked_model": None if call.asked is None else counts.shown(call.asked),
        "model": model,
        "provider": provider,
        "route": call.route,
        "endpoint": call.endpoint,
        "converted": call.converted,
        "status": call.status,
        "outcome": call.outcome,
        "input_tokens": call.input_tokens,
        "cache_read_tokens": call.cache_read_tokens,
        "output_tokens": call.output_tokens,
        "usage_source": call.usage_source,
        "cost_usd": call.cost_usd,
        "ttft_ms": call.ttft_ms,
        "duration_ms": call.duration_ms,
    }
