"""Workers on one address, and the process that has started them: it passes on what it is told, has those replaced that
die, and ends them all. What they serve is `serve`'s and `together`'s business; starting and watching is granian's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from interpose.hosts.working import CUT
from interpose.rules.compiled import Rules

from .listen import Listen
from .replacing import Workers
from .terminal import say

# What of granian's own log is said: it is at its errors, and at what it does about them.
LOGS: dict[str, Any] = {
    "formatters": {"ours": {"format": "interpose: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ours", "filters": ["ours"]}},
    "filters": {"ours": {"()": "interpose.cli.logs.of_the_server"}},
    "loggers": {"_granian": {"handlers": ["stderr"], "propagate": False}},
}

# What `signal.signal` takes.
type Hears = Callable[[int, FrameType | None], object] | signal.Handlers


class Crew:
    """`workers` processes at `listen`. `target` is what granian loads in each of them, if `run` leaves that to it;
    `named` is for its server. A worker that is to end has so many seconds until it is killed (`patience`).
    """

    def __init__(self, target: str, listen: Listen, workers: int, *, patience: float, **named: Any) -> None:
        self._listen = listen
        self._stopping = False
        self._server = Workers(
            target,
            answered=self.answers,
            address=listen.host,
            port=listen.port,
            interface=Interfaces.ASGI,
            # Not whichever is installed for other programs.
            loop=Loops.asyncio,
            workers=workers,
            workers_kill_timeout=int(patience),
            websockets=False,
            log_level=LogLevels.info,
            log_dictconfig=LOGS,
            **named,
        )

    def run(self, life: Callable[..., None], hears: Mapping[signal.Signals, Hears], begun: Callable[[], None]) -> None:
        """Until all have ended. `life` is that of a worker; `begun` is called before there are any, and from then on
        signals go to `hears`, in this thread. Raises SystemExit where no worker can do what it should.
        """

        def starting() -> None:
            for number, hear in hears.items():
                signal.signal(number, hear)
            begun()

        # A fork would take along whatever locks our threads hold at that moment.
        multiprocessing.set_start_method("spawn", force=True)
        self._server.on_startup(starting)
        self._server.serve(spawn_target=life)

    def answers(self) -> bool:
        """Whether somebody listens at the address: workers do when they have opened all that they need."""
        try:
            place = self._listen.reachable()
            with socket.create_connection((place.host, place.port), timeout=1):
                return True
        except OSError:
            return False

    def replaces(self) -> None:
        """One that dies from now on is replaced; before, there is something wrong with what they are to serve."""
        self._server.respawn_failed_workers = True

    def stop(self, drain: float | None = None) -> None:
        """The first time what is in flight may end by itself, for so long; then it is cut off."""
        if self._stopping:
            self.cut()
        elif drain is not None and sys.platform != "win32":
            cutting = threading.Timer(drain, self.cut)
            cutting.daemon = True
            cutting.start()
        self._stopping = True
        self._server.signal_handler_interrupt()  # type: ignore[no-untyped-call] # granian types its arguments alone

    def cut(self) -> None:
        """Ends what is in flight."""
        if sys.platform != "win32":
            self.tell(CUT)

    def tell(self, number: signal.Signals) -> None:
        """Has every worker get that signal."""
        for worker in list(self._server.wrks):
            if worker.inner.is_alive():
                os.kill(worker.inner.pid, number)


def tell_of_counting(workers: int, rules: Rules) -> None:
    """What people should know who want several."""
    if workers > 1 and rules.state.store is None:
        say(
            f"{workers} workers, and each counts limits and budgets by itself: a client may get up to {workers} times "
            "as much. Name a Redis or Valkey server in the rules (state.store) for limits that hold over all of them"
        )
