"""What any export is: calls come in, step by step of their conversations, and what is made of them goes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from interpose.transcripts import Text, Turn

from .conversations import Step
from .facts import Figures, figures, models, outcome, total

TITLE = 80
# As `interpose usage` counts them.
FAILED = ("error", "truncated")
TURNED_AWAY = ("refused", "limited")


@dataclass(frozen=True, slots=True)
class Heading:
    """What an export says of itself: what it is of, and where that was found."""

    title: str
    source: str
    exported: float
    version: str


class Sheet(Protocol):
    """One format of exports."""

    def add(self, step: Step) -> None: ...

    def written(self, heading: Heading, notes: list[str]) -> Iterator[str]:
        """The whole of it, in pieces."""


@dataclass(slots=True)
class Outline:
    """One conversation in a line: for contents, and above it."""

    number: int
    title: str = ""
    began: float = 0.0
    ended: float = 0.0
    calls: int = 0
    app: str = ""
    client: str = ""
    models: dict[str, None] = field(default_factory=dict)
    figures: list[Figures] = field(default_factory=list)
    # Calls of a ledger that have used tokens whose price nobody knows: the cost is a lower bound.
    unpriced: int = 0
    errors: int = 0
    turned_away: int = 0

    def add(self, step: Step) -> None:
        call, transcript = step.call, step.transcript
        if not self.calls:
            self.began = call.started_at
            self.app, self.client = call.app or "", call.client or ""
            self.title = title_of(transcript.turns) or f"{call.asked.method} {call.asked.url.path}"
        self.calls += 1
        self.ended = max(self.ended, call.ended_at or call.started_at)
        self.models[models(call, transcript)] = None
        used = figures(call, transcript)
        self.figures.append(used)
        self.unpriced += call.record is not None and used.cost is None and bool(used.input_tokens or used.output_tokens)
        ended = outcome(call, transcript)
        self.errors += ended in FAILED
        self.turned_away += ended in TURNED_AWAY

    @property
    def total(self) -> Figures:
        return total(self.figures)


def title_of(turns: tuple[Turn, ...]) -> str:
    """How a conversation begins: the first words that are no system prompt's."""
    for turn in turns:
        if turn.role in ("user", "input"):
            for block in turn.blocks:
                if isinstance(block, Text) and (words := " ".join(block.text[: TITLE * 8].split())):
                    return words if len(words) <= TITLE else words[: TITLE - 1] + "…"
    return ""
