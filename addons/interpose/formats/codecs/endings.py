"""What is known of a block only when a stream has told all of it.

A writer sends a block's pieces as they come. What the block's own format says of it besides, a reader tells with its
end; for another format that is lost, which is told here for every writer (law 3).
"""

from __future__ import annotations

from collections.abc import Iterable

from interpose.ir import BlockEnd, BlockStart, Event, Losses


class Endings:
    """Tells what is lost for the format `target`, which is the name of its `Own`."""

    __slots__ = ("_at", "_losses", "_target")

    def __init__(self, target: str, losses: Losses) -> None:
        self._target = target
        self._losses = losses
        self._at: dict[tuple[int, int], str] = {}

    def hear(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, BlockStart):
                self._at[event.answer, event.index] = event.block.at
            elif isinstance(event, BlockEnd):
                at = self._at.pop((event.answer, event.index), "")
                self._losses.own(event.own, at, self._target)
