"""One worker of `interpose serve`: the gateway's ASGI application in a process of its own, with what it is to serve.

The server calls `spawned` in each of its processes, which calls `application`; what it is to serve comes by the
environment, since that is all that a process is given. What becomes of the processes is `cli.serve`'s.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interpose.errors import InterposeError
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError

from . import embedding, following, working
from .application import Gateway
from .asgi import Receive, Scope, Send
from .served import default_file, served

logger = logging.getLogger(__name__)

VARIABLE = "INTERPOSE_SERVES"
# Calls in flight get so long to end when we stop.
DRAIN = 30.0


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
    working.begin(number)
    from granian.server.mp import MPServer

    MPServer._spawn_asgi_lifespan_worker(number, *given, **named)


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
            working.listen(self._gateway.ask, self._cut)
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
        following.logger.setLevel(logging.INFO if working.first(self._environ) else logging.CRITICAL)
        # What is worth a warning at the start has been told by whoever has started us.
        embedding.log.setLevel(logging.ERROR)

    def _cut(self) -> None:
        if self._live:
            logger.warning("calls still in flight, and cut off: %d", len(self._live))
        for task in self._live:
            task.cancel()
