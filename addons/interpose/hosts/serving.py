"""One worker of `interpose serve`: the gateway's ASGI application in a process of its own, with what it is to serve.

The server calls `spawned` in each of its processes, which calls `application`; what it is to serve comes by the
environment, since that is all that a process is given. What becomes of the processes is `cli.serve`'s.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interpose.errors import InterposeError
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError

from . import embedding, following
from .application import Gateway
from .asgi import Receive, Scope, Send
from .served import default_file, served

logger = logging.getLogger(__name__)

VARIABLE = "INTERPOSE_SERVES"
# Which of the workers a process is, from 1; one that takes another's place has its number.
NUMBER = "INTERPOSE_WORKER"
MOST_FILES = 1 << 16
# Calls in flight get so long to end when we stop.
DRAIN = 30.0
# Ends what is in flight: a server that is to end waits for it as long as it takes. Windows has no such signals.
CUT = signal.SIGTERM if sys.platform == "win32" else signal.SIGUSR1
KEPT_BACK = () if sys.platform == "win32" else (signal.SIGHUP, CUT)


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker is to serve. Paths are absolute; without `rules`, those that come with the package. `metrics` is
    where workers count together, if there are several.
    """

    rules: str | None
    state: str
    metrics: str | None = None

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Service:
        return cls(**json.loads(environ[VARIABLE]))


def spawned(number: int, *given: Any, **named: Any) -> None:
    """The whole life of a worker's process."""
    # A terminal tells all of us; when a worker ends is said by the process that has started it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ[NUMBER] = str(number)
    open_all_files()
    from granian.server.mp import MPServer

    MPServer._spawn_asgi_lifespan_worker(number, *given, **named)


def open_all_files() -> None:
    """Has this process open as many files as it may: a call takes two, and what is usual without asking is 1024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def application() -> Worker:
    """For a server that imports us by name."""
    return Worker(Service.read(os.environ), os.environ)


class Worker:
    """The gateway's application, and what a process that serves it alone has to mind: its log, signals, its end."""

    def __init__(self, service: Service, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._file = Path(service.rules) if service.rules is not None else None
        self._gateway = Gateway(
            self._file or default_file(),
            state=service.state,
            environ=environ,
            follow=True,
            drain=0.0,
            load=self._load,
            metrics=service.metrics,
            alone=True,
        )
        # Requests that are being answered.
        self._live: set[asyncio.Task[Any]] = set()

    def _load(self, _: Path) -> Rules:
        return served(self._file, self._environ).rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        self._live.add(task)
        try:
            await self._gateway(scope, receive, send)
        finally:
            self._live.discard(task)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._log()
            await self._gateway.open()
        except RulesError as error:
            for problem in error.problems:
                logger.error("%s", problem)
        except InterposeError as error:
            logger.error("%s", error)
        except Exception:
            logger.exception("a worker failed at its start")
        else:
            self._listen()
            await send({"type": "lifespan.startup.complete"})
            # The server says so when it has answered all that it has taken.
            await receive()
            await self._gateway.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "lifespan.startup.failed"})

    def _log(self) -> None:
        """To stderr. What all workers find alike when they read the rules again is told by the first of them."""
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("interpose: %(message)s"))
        handler.addFilter(self._gateway.scrubber)
        logging.getLogger().addHandler(handler)
        first = self._environ.get(NUMBER, "1") == "1"
        following.logger.setLevel(logging.INFO if first else logging.CRITICAL)
        # What is worth a warning at the start has been told by whoever has started us.
        embedding.log.setLevel(logging.ERROR)

    def _listen(self) -> None:
        """SIGHUP asks for the rules to be read again, CUT ends what is in flight. Who has started us keeps both back
        until somebody listens.
        """
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._gateway.ask)
            loop.add_signal_handler(CUT, self._cut)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, KEPT_BACK)
            if (parent := multiprocessing.parent_process()) is not None:
                loop.add_reader(parent.sentinel, self._orphaned, parent.sentinel)

    def _orphaned(self, sentinel: int) -> None:
        """Who has started us was killed: nobody could tell us to end any more, and the address would stay taken."""
        asyncio.get_running_loop().remove_reader(sentinel)
        logger.error("the process that has started this worker is gone: it answers what it has taken, and ends")
        signal.raise_signal(signal.SIGTERM)

    def _cut(self) -> None:
        if self._live:
            logger.warning("calls still in flight, and cut off: %d", len(self._live))
        for task in self._live:
            task.cancel()
