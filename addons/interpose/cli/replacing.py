"""Which workers of a gateway are replaced when they die, and when. Starting and watching them is granian's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from granian.server.mp import MPServer

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

    def _respawn_workers(self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        now = time.monotonic()
        if any(now - self._begun.get(number, -math.inf) <= SOON for number in workers):
            # A signal ends the wait, and so does the death of another.
            self.main_loop_interrupt.wait(PAUSE)
            if self.interrupt_signal:
                return
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        self._begun |= dict.fromkeys(workers, time.monotonic())
        if self._answered():
            # What is in there and dies within 5.5 s ends the whole server.
            self.respawned_wrks.clear()
