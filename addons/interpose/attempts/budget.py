"""A retry budget: retries are a share of the calls, so that a provider in trouble is not asked many times over.

A bucket that each call fills a little and each retry empties by one. A trickle fills it too, so that a quiet service
may retry at all. https://sre.google/sre-book/handling-overload/ and Finagle's RetryBudget are the example.
"""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """`share` retries a call, and `trickle` a second, of which at most `most` are saved up; it begins with `most`.

    In any stretch of time: retries <= most + share * calls + trickle * seconds. `clock` gives monotonic seconds.
    """

    __slots__ = ("_at", "_clock", "_left", "_most", "_share", "_trickle")

    def __init__(
        self, clock: Callable[[], float], *, share: float = 0.2, trickle: float = 1.0, most: float = 10.0
    ) -> None:
        self._clock = clock
        self._share, self._trickle, self._most = share, trickle, most
        self._left = most
        self._at = clock()

    def called(self) -> None:
        """A call is sent for the first time."""
        self._fill(self._share)

    def spend(self) -> bool:
        """Takes what one retry costs, if it is there."""
        self._fill(0.0)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _fill(self, more: float) -> None:
        now = self._clock()
        # A clock that goes back fills nothing.
        passed, self._at = max(0.0, now - self._at), now
        self._left = min(self._most, self._left + more + passed * self._trickle)
