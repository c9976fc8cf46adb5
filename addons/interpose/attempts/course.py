"""The way of one call through its attempts: which comes next, and after which pause.

What was not tried yet comes first, in the plan's order and at once; then whatever may be tried again soonest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .lanes import Lane
from .verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """The attempt at `index` of the plan, `pause` seconds from now. `again` says that it was tried before."""

    index: int
    pause: float
    again: bool


@dataclass(slots=True)
class _Way:
    lane: Lane | None
    ready: float | None = None  # when it may be tried again; None: at once, for it was not tried yet
    failures: int = 0
    out: bool = False


class Course:
    """`lanes` are those of the plan's attempts, `sends` is how often the call may be sent in all."""

    __slots__ = ("_left", "_ways")

    def __init__(self, lanes: Sequence[Lane | None], sends: int) -> None:
        self._ways = [_Way(lane) for lane in lanes]
        self._left = sends

    def next(self, now: float) -> Step | None:
        """What to try next; None if there is nothing, or nothing any more."""
        open_ways = [(way.ready or 0.0, index) for index, way in enumerate(self._ways) if not way.out]
        if self._left < 1 or not open_ways:
            return None
        fresh = [index for _, index in open_ways if self._ways[index].ready is None]
        if fresh:
            return Step(fresh[0], 0.0, again=False)
        ready, index = min(open_ways)
        return Step(index, max(0.0, ready - now), again=True)

    def beside(self, silent: int, now: float) -> list[Step]:
        """What may be tried beside the attempt at `silent`, of which nothing has been heard: what was not tried yet,
        then what may be tried again by now, then the same way.
        """
        if self._left < 1:
            return []
        others = [(index, way) for index, way in enumerate(self._ways) if index != silent and not way.out]
        fresh = [Step(index, 0.0, again=False) for index, way in others if way.ready is None]
        again = [index for index, way in others if way.ready is not None and way.ready <= now]
        return [*fresh, *(Step(index, 0.0, again=True) for index in (*again, silent))]

    def sent(self) -> None:
        self._left -= 1

    def failures(self, index: int) -> int:
        return self._ways[index].failures

    def failed(self, index: int, verdict: Verdict, pause: float | None, now: float) -> None:
        """That attempt has failed. `pause` None: it asks for more patience than there is."""
        way = self._ways[index]
        way.failures += 1
        if verdict is Verdict.FINAL:
            self._left = 0
        elif verdict is Verdict.ELSEWHERE:
            way.out = True
            for other in self._ways:
                other.out = other.out or (way.lane is not None and other.lane == way.lane)
        elif pause is None:
            way.out = True
        else:
            way.ready = now + pause

    def drop(self, index: int) -> None:
        """That attempt is not to be tried (again)."""
        self._ways[index].out = True
