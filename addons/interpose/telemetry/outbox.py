"""What waits to be posted to one endpoint: bodies in order, bounded, tried again until the collector has them or says
that it never will. Nothing here knows what is in them.

Whoever loses something says so: in the log, at most once a minute, with how much it was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .post import Post, Undelivered

logger = logging.getLogger(__name__)

COMPLAIN_EVERY = 60.0
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 30.0
# So much may wait for a collector that is away.
LARGEST = 8 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """A body, and how many things it has in it."""

    body: bytes
    count: int


class Outbox:
    """`what` is said in messages. `refused` reads in an answer how many things the collector has not taken, and why.
    `only_last` is for what replaces what was sent before. One thread at a time.
    """

    def __init__(
        self,
        post: Post,
        what: str,
        refused: Callable[[bytes], tuple[int, str]],
        *,
        timer: Callable[[], float],
        only_last: bool = False,
    ) -> None:
        self._post = post
        self._what = what
        self._refused = refused
        self._timer = timer
        self._only_last = only_last
        self._waiting: deque[Parcel] = deque()
        self._size = 0
        self._pause = 0.0
        self._again = 0.0
        self._lost = 0
        self._reason = ""
        self._complained = float("-inf")
        self._silent = False

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def again(self) -> float:
        """When there is something to do, by the timer."""
        return self._again if self._waiting else float("inf")

    def put(self, parcel: Parcel) -> None:
        if self._only_last:
            self._waiting.clear()
            self._size = 0
        self._waiting.append(parcel)
        self._size += len(parcel.body)
        while self._size > LARGEST and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._size -= len(oldest.body)
            self.lose(oldest.count, self._reason or "the collector is too slow")

    def hurry(self) -> None:
        """What waits is tried at once: there is no later."""
        self._again = 0.0

    def deliver(self, until: float = float("inf")) -> None:
        """Posts what waits, as long as the collector takes it and the timer is below `until`."""
        while self._waiting and self._again <= self._timer() < until:
            parcel = self._waiting[0]
            try:
                answer = self._post.send(parcel.body, max(0.05, min(until - self._timer(), 3600.0)))
            except Undelivered as undelivered:
                self._fail(parcel, undelivered)
                continue
            self._taken(answer)

    def _taken(self, answer: bytes) -> None:
        self._remove()
        self._pause = 0.0
        try:
            count, why = self._refused(answer)
        except Exception:  # noqa: BLE001 - an answer that cannot be read: the status was good
            count, why = 0, ""
        if count:
            self.lose(count, f"the collector refuses some: {why[:200]}" if why else "the collector refuses some")
        elif self._silent:
            self._silent = False
            logger.warning("telemetry: %s arrive at %s again", self._what, self._post.endpoint)

    def _fail(self, parcel: Parcel, why: Undelivered) -> None:
        self._reason = str(why)
        if why.passing:
            self._pause = min(self._pause * 2 or FIRST_BACKOFF, LONGEST_BACKOFF)
            self._again = self._timer() + (self._pause if why.wait is None else why.wait)
            self._complain()
        else:
            self._remove()
            self.lose(parcel.count, str(why))

    def _remove(self) -> None:
        self._size -= len(self._waiting.popleft().body)
        self._again = 0.0

    def lose(self, count: int, why: str) -> None:
        """So many things will never arrive."""
        self._lost += count
        self._reason = why
        self._complain()

    def _complain(self) -> None:
        now = self._timer()
        if now - self._complained < COMPLAIN_EVERY:
            return
        self._complained = now
        self._silent = True
        logger.warning(
            "telemetry: %s do not arrive at %s (%s): traffic goes on, %d are lost so far",
            self._what,
            self._post.endpoint,
            self._reason,
            self._lost,
        )

    def close(self) -> None:
        """Says what is lost with it."""
        left = sum(parcel.count for parcel in self._waiting)
        if left or self._lost:
            logger.warning(
                "telemetry: %d %s have not arrived at %s (%s)",
                self._lost + left,
                self._what,
                self._post.endpoint,
                self._reason or "there was no time",
            )
        self._post.close()
