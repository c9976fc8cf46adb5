"""An engine at work in this program for this program's own calls, as the httpx transports have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from interpose.call import INSIDE, Origin
from interpose.gateway import Answers, Front

from .assembly import Assembly
from .embedding import Given
from .pages import Served


@dataclass(frozen=True, slots=True)
class Inside:
    """The engine, and the gateway's pages in front of it."""

    assembly: Assembly
    front: Front

    def answers(self, origin: Origin) -> Answers | None:
        """What answers calls to that origin; None if they are none of ours. The gateway's name is nobody's outside."""
        if self.names_gateway(origin):
            return self.front
        return self.assembly.engine if self.assembly.engine.claims(origin.host, origin.port) else None

    def names_gateway(self, origin: Origin) -> bool:
        return origin == INSIDE or origin.host == self.assembly.engine.rules.intercept.virtual_host


@asynccontextmanager
async def opened(given: Given) -> AsyncIterator[Inside]:
    async with given.assembly() as assembly:
        yield Inside(assembly, Served(assembly).front())
