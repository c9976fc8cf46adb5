"""A circuit breaker: a way that keeps failing is left alone for a while, then tried by one call.

Closed: everything passes, outcomes are counted over a window. Open: nothing passes. Half-open, after a rest: one probe
passes; its success closes the breaker, its failure opens it for twice as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

# The window consists of so many pieces, which leave it one by one.
PIECES = 10


class State(StrEnum):
    """What a breaker does with the next call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Settings:
    """Opens where of at least `calls` within `window` seconds the share `failing` failed; rests `rest` seconds, which
    doubles with each failed probe up to `longest`.
    """

    window: float = 30.0
    calls: int = 20
    failing: float = 0.5
    rest: float = 5.0
    longest: float = 60.0


DEFAULT = Settings()


@dataclass(slots=True)
class _Piece:
    begins: float
    good: int = 0
    bad: int = 0


class Breaker:
    """Every `enter` that gives a ticket is followed by one `leave` with it. `clock` gives monotonic seconds.

    `opened` is told for how long, whenever outcomes open it. What follows from probes is not told: who has heard of it
    probes by itself, lest one machine with a bad network keep all others away.
    """

    __slots__ = ("_clock", "_era", "_opened", "_pieces", "_probing", "_rest", "_settings", "_until")

    def __init__(
        self,
        clock: Callable[[], float],
        settings: Settings = DEFAULT,
        opened: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._opened = opened
        self._pieces: deque[_Piece] = deque()
        self._until: float | None = None
        self._rest = settings.rest
        self._probing = False
        # Outcomes of calls that began before the last change say nothing of the time since.
        self._era = 0

    @property
    def state(self) -> State:
        if self._until is None:
            return State.CLOSED
        return State.OPEN if self._clock() < self._until else State.HALF_OPEN

    def closed_for(self) -> float:
        """The seconds for which no call can pass: 0 if one could now."""
        if self._until is None:
            return 0.0
        left = max(0.0, self._until - self._clock())
        # How long a probe takes nobody knows; a moment is a good guess.
        return max(left, 1.0) if self._probing else left

    def enter(self) -> int | None:
        """A ticket for one call, None if it may not pass."""
        state = self.state
        if state is State.OPEN or (state is State.HALF_OPEN and self._probing):
            return None
        self._probing = state is State.HALF_OPEN
        return self._era

    def leave(self, ticket: int, *, good: bool | None) -> None:
        """How the call with that ticket went; None if nothing was learned, as where the client left."""
        if ticket != self._era:
            return
        if self._until is not None:
            self._probing = False
            if good:
                self._change(None, self._settings.rest)
            elif good is False:
                self._change(self._clock() + self._rest, min(self._rest * 2, self._settings.longest))
        elif good is not None:
            self._count(good=good)

    def _count(self, *, good: bool) -> None:
        now, settings = self._clock(), self._settings
        while self._pieces and self._pieces[0].begins <= now - settings.window:
            self._pieces.popleft()
        if not self._pieces or self._pieces[-1].begins <= now - settings.window / PIECES:
            self._pieces.append(_Piece(now))
        self._pieces[-1].good += good
        self._pieces[-1].bad += not good
        bad = sum(piece.bad for piece in self._pieces)
        calls = bad + sum(piece.good for piece in self._pieces)
        if not good and calls >= settings.calls and bad >= settings.failing * calls:
            self._change(now + settings.rest, min(settings.rest * 2, settings.longest))
            self._opened(settings.rest)

    def shut(self, seconds: float) -> None:
        """Opens it, unless it is already: it has failed elsewhere, where it is left alone for so long."""
        seconds = min(seconds, self._settings.longest)
        if self._until is None:
            self._change(self._clock() + seconds, min(self._settings.rest * 2, self._settings.longest))

    def _change(self, until: float | None, next_rest: float) -> None:
        self._until, self._rest = until, next_rest
        self._probing = False
        self._pieces.clear()
        self._era += 1
