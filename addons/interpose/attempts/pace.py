"""How fast and how busy each way is: what `prefer: fastest | least_busy` goes by.

A *way* is a provider and a model there, for one kind of call. Its pace is the time to the first content of its replies,
a moving mean whose past counts half as much after HALF_LIFE; what fails counts as slow. A way that nobody has taken for
a while counts as faster and faster, until a call tries it: one that was slow once gets its chance, and so does one that
nobody knows. While one call tries, the others do not follow it.

In this process alone, and for as long as it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

HALF_LIFE = 120.0
# What the mean keeps of itself at most, however short ago it was.
KEEPS = 0.7
# A failure counts as at least so many seconds.
SLOW = 10.0
# Models are named by clients: of so many ways the pace is remembered, those that were in use last.
REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Way:
    """`stream` tells replies that begin at once from those that come when they are whole."""

    provider: str
    model: str | None
    endpoint: str
    stream: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a way now. `expected` is the seconds to the first content, None if nobody knows; `waiting` are
    the calls that wait for it, `busy` all that are in flight to that provider's model.
    """

    expected: float | None = None
    waiting: int = 0
    busy: int = 0

    @property
    def slowness(self) -> tuple[int, float]:
        """The smaller, the sooner it is to be tried: what is unknown first, unless a call is just finding out."""
        if self.expected is not None:
            return 1, self.expected
        return (2, float(self.waiting)) if self.waiting else (0, 0.0)


@dataclass(slots=True)
class _Pace:
    seconds: float
    at: float


class Paces:
    """The ways of one engine. `clock` gives monotonic seconds."""

    __slots__ = ("_busy", "_clock", "_paces", "_waiting")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paces: LRUCache[Way, _Pace] = LRUCache(REMEMBERED)
        # Since when calls wait, in that order; ways without any are not in here, nor in `_busy`.
        self._waiting: dict[Way, dict[Lap, float]] = {}
        self._busy: Counter[tuple[str, str | None]] = Counter()

    def standing(self, way: Way) -> Standing:
        now = self._clock()
        pace, waiting = self._paces.get(way), self._waiting.get(way)
        expected = None
        if pace is not None:
            expected = pace.seconds
            if waiting:
                # Nobody knows how long they will wait; it is no less than they have.
                expected = max(expected, now - next(iter(waiting.values())))
            else:
                expected *= 0.5 ** (max(0.0, now - pace.at) / HALF_LIFE)
        return Standing(expected, len(waiting or ()), self._busy[way.provider, way.model])

    def begin(self, way: Way) -> Lap:
        """A call is sent that way. Its lap must be ended."""
        lap = Lap(self, way)
        self._waiting.setdefault(way, {})[lap] = self._clock()
        self._busy[way.provider, way.model] += 1
        return lap

    def waited(self, lap: Lap) -> float | None:
        """Takes it from those that wait; for how long it has, None if it does not wait any more."""
        waiting = self._waiting.get(lap.way, {})
        began = waiting.pop(lap, None)
        lap.waits = False
        if not waiting:
            self._waiting.pop(lap.way, None)
        return None if began is None else max(0.0, self._clock() - began)

    def learn(self, way: Way, seconds: float, *, at_least: bool = False) -> None:
        """A call has waited for so long; `at_least` says that it has not seen the end of it."""
        now, pace = self._clock(), self._paces.get(way)
        if pace is None:
            if not at_least:
                self._paces[way] = _Pace(seconds, now)
            return
        if at_least and seconds <= pace.seconds:
            return
        kept = min(KEEPS, 0.5 ** (max(0.0, now - pace.at) / HALF_LIFE))
        self._paces[way] = _Pace(kept * pace.seconds + (1 - kept) * seconds, now)

    def over(self, way: Way) -> None:
        key = (way.provider, way.model)
        self._busy[key] -= 1
        if self._busy[key] <= 0:
            del self._busy[key]


class Lap:
    """One call on its way; `waits` until its first content. Every method may be called again, and does nothing then."""

    __slots__ = ("_over", "_paces", "waits", "way")

    def __init__(self, paces: Paces, way: Way) -> None:
        self._paces = paces
        self.way = way
        self.waits = True
        self._over = False

    def answered(self, status: int) -> None:
        """The reply's head: an error says nothing of the pace, unless it is the provider's own failing."""
        if status in (408, 429) or status >= 500:
            self.failed()
        elif status >= 400 or status == 101:
            self._paces.waited(self)

    def first(self) -> None:
        """The first content: of a reply that is whole at once, its first byte."""
        if (seconds := self._paces.waited(self)) is not None:
            self._paces.learn(self.way, seconds)

    def failed(self) -> None:
        """Nothing has come, or an error."""
        if (seconds := self._paces.waited(self)) is not None:
            self._paces.learn(self.way, max(seconds, SLOW))

    def end(self) -> None:
        """The call is over. One that has given up waiting has seen how slow it is at least."""
        if self._over:
            return
        self._over = True
        if (seconds := self._paces.waited(self)) is not None:
            self._paces.learn(self.way, seconds, at_least=True)
        self._paces.over(self.way)
