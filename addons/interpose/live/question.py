"""What may be asked: which calls, of which time. As it stands in a URL's query, whose words are documented.

app=python3  model=gpt-4o  client=ci    any of those; an empty value is "not known"; several of one: any of them
span=1h                                 15m, 1h, 3h, today, run
midnight=1732665600                     when today has begun where the reader is, in Unix seconds
calls=50                                how many of the last calls
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interpose.errors import InterposeError

from .counts import MINUTE, MINUTES, MOST_CALLS, QUARTER, QUARTERS, Names

DIMENSIONS = ("app", "model", "client")
DAY = 86_400
# How many minutes a span has; the others are of quarters.
_OF_MINUTES = {"15m": 15, "1h": 60, "3h": MINUTES}
SPANS = (*_OF_MINUTES, "today", "run")
SHOWN_CALLS = 50
# A run that has only begun has so many steps, too.
SHORTEST = 15


class QuestionError(InterposeError):
    """The question makes no sense: the message says which word, and what would."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time that is asked for, in steps: `first` and `last` are Unix time // step. `whole` says that the sums are to
    be those of the whole run, of which the steps are the latest.
    """

    step: int
    first: int
    last: int
    whole: bool = False

    @property
    def begins(self) -> float:
        return 0.0 if self.whole else float(self.first * self.step)


@dataclass(frozen=True, slots=True)
class Question:
    """Which calls, of which time. Of each dimension: any of these names, or all where there are none."""

    chosen: tuple[frozenset[str | None] | None, ...] = (None, None, None)
    span: str = "1h"
    midnight: int | None = None
    calls: int = SHOWN_CALLS

    @classmethod
    def parse(cls, query: Mapping[str, Sequence[str]]) -> Question:
        """From the values of each word. Raises QuestionError."""
        if unknown := sorted(set(query) - {*DIMENSIONS, "span", "midnight", "calls", "token"}):
            known = ", ".join((*DIMENSIONS, "span", "midnight", "calls"))
            raise QuestionError(f"{unknown[0][:40]!r} cannot be asked for: there are {known}")
        chosen = tuple(
            frozenset(value or None for value in query[name]) if query.get(name) else None for name in DIMENSIONS
        )
        span = _last(query, "span", "1h")
        if span not in SPANS:
            raise QuestionError(f"span: {span[:40]!r} is none: there are {', '.join(SPANS)}")
        calls = _number(query, "calls")
        return cls(chosen, span, _number(query, "midnight"), SHOWN_CALLS if calls is None else min(calls, MOST_CALLS))

    def wants(self, names: Names) -> bool:
        """Whether calls of these names (program, model, client, provider) are asked for."""
        return all(some is None or name in some for some, name in zip(self.chosen, names[:3], strict=True))

    def today(self, now: float) -> int:
        """The first quarter of today. Without `midnight`, or with one that is no midnight of now, it is UTC's day."""
        midnight = self.midnight
        if midnight is None or not now - QUARTER * QUARTERS < midnight <= now:
            midnight = int(now) // DAY * DAY
        return midnight // QUARTER

    def time(self, now: float, since: float) -> Span:
        """What `span` means now, in a run that has begun then."""
        if (minutes := _OF_MINUTES.get(self.span)) is not None:
            last = int(now) // MINUTE
            return Span(MINUTE, last - minutes + 1, last)
        last = int(now) // QUARTER
        if self.span == "today":
            return Span(QUARTER, self.today(now), last)
        minute, began = int(now) // MINUTE, int(since) // MINUTE
        if minute - began < MINUTES:
            return Span(MINUTE, min(began, minute - SHORTEST + 1), minute, whole=True)
        return Span(QUARTER, max(int(since) // QUARTER, last - QUARTERS + 1), last, whole=True)


def _last(query: Mapping[str, Sequence[str]], name: str, default: str) -> str:
    values = query.get(name)
    return values[-1] if values else default


def _number(query: Mapping[str, Sequence[str]], name: str) -> int | None:
    text = _last(query, name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise QuestionError(f"{name}: {text[:40]!r} is no whole number")
    return int(text)
