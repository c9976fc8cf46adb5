"""Sums of calls by time: a ring of cells, one for each step of so many seconds, of constant size.

A cell is `WIDTH` floats, whose places have names below. Whole numbers are exact up to 2^53.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

# What is summed up, in this order. `failed` are calls that ended as error or truncated, `turned_away` those that were
# refused or limited; `input_tokens` are the whole input, cache reads included. `unpriced` used something that has no
# known price: their cost is not in `cost_usd`.
SUMS = (
    "calls",
    "failed",
    "turned_away",
    "aborted",
    "input_tokens",
    "cache_read_tokens",
    "output_tokens",
    "cost_usd",
    "unpriced",
)
CALLS, FAILED, TURNED_AWAY, ABORTED, INPUT, CACHED, OUTPUT, COST, UNPRICED = range(len(SUMS))
WIDTH = len(SUMS)
_SIZE = 8 * WIDTH


def cells(count: int) -> array[float]:
    """So many cells of zeros."""
    return array("d", bytes(_SIZE * count))


class Ring:
    """The last `count` steps. What is older is let go when time moves on."""

    __slots__ = ("_newest", "cells", "count", "step")

    def __init__(self, step: int, count: int) -> None:
        self.step = step
        self.count = count
        self.cells = cells(count)
        self._newest = 0

    def place(self, now: float) -> int:
        """Where in `cells` the cell of that moment (Unix time) begins."""
        tick = int(now) // self.step
        if tick != self._newest:
            self._turn(tick)
        return tick % self.count * WIDTH

    def _turn(self, tick: int) -> None:
        ahead = tick - self._newest
        if abs(ahead) >= self.count:
            # The first time; a long silence; or a clock that was set back by so much that nothing fits any more.
            self.cells = cells(self.count)
            self._newest = tick
            return
        for past in range(self._newest + 1, tick + 1):
            start = past % self.count * WIDTH
            self.cells[start : start + WIDTH] = cells(1)
        # A clock that was set back a little: its cell is still there.
        self._newest = max(self._newest, tick)

    def between(self, first: int, last: int) -> array[float]:
        """The cells of the ticks from `first` to `last` (Unix time // step), zeros where nothing is known any more."""
        found = cells(max(0, last - first + 1))
        low, high = max(first, self._newest - self.count + 1), min(last, self._newest)
        if low > high:
            return found
        start, count = low % self.count, high - low + 1
        head = min(count, self.count - start)
        at = (low - first) * WIDTH
        middle = at + head * WIDTH
        found[at:middle] = self.cells[start * WIDTH : (start + head) * WIDTH]
        found[middle : at + count * WIDTH] = self.cells[: (count - head) * WIDTH]
        return found


def total(of: Sequence[float]) -> array[float]:
    """One cell: the sum of many."""
    return array("d", [sum(of[field::WIDTH]) for field in range(WIDTH)])
