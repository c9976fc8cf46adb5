"""Which workers are replaced when they die, and when; a signal that comes while one is born does not kill it. Starting
and watching them is granian's.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from granian.server.mp import MPServer

from interpose.hosts.working import KEPT_BACK, TERMINALS

# One that dies so soon after it was begun has not just met with an accident …
SOON: Final = 5.5
# … and the next one waits so long.
PAUSE: Final = 3.0


class Workers(MPServer):
    """Replaces a worker for as long as another one answers, however often that fails: a file that cannot be read now,
    say, is no reason to end those who have read it before. Where none answers, one that dies at once ends us.
    """

    def __init__(self, *given: Any, answered: Callable[[], bool], **named: Any) -> None:
        super().__init__(*given, **named)
        self._answered = answered
        self._begun: dict[int, float] = {}

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        with _kept_back():
            super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call] # granian leaves it untyped

    def _respawn_workers(self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        now = time.monotonic()
        if any(now - self._begun.get(number, -math.inf) <= SOON for number in workers):
            # A signal ends the wait, and so does the death of another.
            self.main_loop_interrupt.wait(PAUSE)
            if self.interrupt_signal:
                return
        with _kept_back():
            super()._respawn_workers(workers, spawn_target, target_loader, delay)
        self._begun |= dict.fromkeys(workers, time.monotonic())
        if self._answered():
            # What is in there and dies within 5.5 s ends the whole server.
            self.respawned_wrks.clear()


@contextmanager
def _kept_back() -> Iterator[None]:
    """Meanwhile signals wait, for us and for the processes that are born here, which listen to them later."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*TERMINALS, *KEPT_BACK))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
