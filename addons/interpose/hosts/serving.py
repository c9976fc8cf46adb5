"""One worker of the gateway: an ASGI application that opens an engine when it starts and closes it when it ends.

The server calls `application` in each of its processes; what it is to serve comes by the environment, since that is all
that a process is given.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from interpose.errors import InterposeError
from interpose.gateway import Front, Page, page_of_json
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.secret import Scrubber

from .asgi import Gateway, Receive, Scope, Send
from .assembly import CLOCK, Assembly, assemble
from .following import Following
from .watching import Looks, can_be_read_again, looks

logger = logging.getLogger(__name__)

VARIABLE = "INTERPOSE_SERVES"
# Calls in flight get so long to end when we stop.
DRAIN = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker is to serve. Paths are absolute."""

    rules: str
    state: str
    drain: float = DRAIN

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Service:
        return cls(**json.loads(environ[VARIABLE]))


def application() -> Application:
    """For a server that imports us by name."""
    return Application(Service.read(os.environ), os.environ)


class Application:
    """The ASGI application of one worker."""

    def __init__(self, service: Service, environ: Mapping[str, str]) -> None:
        self._service = service
        self._environ = environ
        self._stack = AsyncExitStack()
        self._gateway: Gateway | None = None
        self._following: Following | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._gateway is not None
        await self._gateway(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._open()
                except InterposeError as error:
                    await self._stack.aclose()
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._stack.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _open(self) -> None:
        path = Path(self._service.rules)
        seen = looks(path)
        rules = await asyncio.to_thread(load, path)
        assembly = await self._stack.enter_async_context(
            assemble(
                rules,
                state=Path(self._service.state),
                environ=self._environ,
                scrubber=Scrubber(),
                writer=secrets.token_hex(8),
            )
        )
        self._gateway = Gateway(Front(assembly.engine, self._pages()))
        if can_be_read_again(path):
            self._follow(path, rules, seen, assembly)
        self._stack.push_async_callback(assembly.engine.drain, self._service.drain)

    def _follow(self, path: Path, rules: Rules, seen: Looks, assembly: Assembly) -> None:
        self._following = Following(path, rules, seen, load=load, adopt=assembly.reload, now=CLOCK.now)
        task = asyncio.get_running_loop().create_task(self._following.follow())
        self._stack.callback(task.cancel)

    def _pages(self) -> Mapping[str, Page]:
        return {
            "/healthz": page_of_json(lambda: (200, {"status": "ok"})),
            "/readyz": page_of_json(self._readiness),
        }

    def _readiness(self) -> tuple[int, Mapping[str, object]]:
        stale = self._following.stale if self._following is not None else None
        # Stale rules still serve: that is for people to know, not for a balancer to act upon.
        return 200, {"status": "ok", "stale": None if stale is None else str(stale)}
