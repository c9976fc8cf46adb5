"""The gateway as one ASGI application, whoever runs it: a worker of `interpose serve`, your own server, a Starlette or
FastAPI application that it is mounted into (`Gateway`) or stands in front of (`GatewayMiddleware`).

It opens an engine with the application's lifespan, or at the first request where nobody tells it of one (Starlette does
not tell what is mounted), and closes it with its loop at the latest. What a request is to the engine is in `asgi`.
https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from interpose.errors import InterposeError, Refusal
from interpose.gateway import Front
from interpose.ledger import Record
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.secret import Scrubber
from interpose.stages.claim import without_websockets

from .asgi import Application, Message, Receive, Responder, Scope, Send, mounted, refuse
from .aside import Within
from .assembly import CLOCK, Assembly
from .embedding import AGAIN, PATIENCE, Given, RulesLike, recorded
from .following import Following
from .pages import PAGES, Served
from .served import served
from .watching import can_be_read_again, looks

logger = logging.getLogger(__name__)

# Calls in flight get so long to end when it is closed.
DRAIN: Final = 5.0
# What the middleware takes of an application's paths: the APIs of OpenAI, Anthropic and Gemini.
TAKEN: Final = ("/v1", "/v1beta")


@dataclass(frozen=True, slots=True)
class Open:
    """An engine at work, and what answers by it."""

    assembly: Assembly
    front: Front
    respond: Responder
    following: Following | None


class Gateway:
    """The gateway by these rules, as an ASGI application.

    `rules` and `environ` are as `intercept` takes them; without rules it has those of `interpose serve`. `state` is the
    folder of its ledger and of the keys that were issued, without which both are gone when it is closed. `follow` has
    it go by the rules' file as it changes; `drain` is how many seconds calls in flight get to end when it is closed.
    `load` makes rules of a file. Of several workers each answers `/metrics` for all if they are given the same folder,
    `metrics`, which is theirs alone. `alone` says that no application of yours stands in front of it: then rules that
    ask for no key do not serve what web pages send.

    Raises RulesError for rules that cannot be used. Opening raises RulesError for a credential that cannot be had, and
    other InterposeErrors for a state folder or a ledger that cannot be used.
    """

    def __init__(
        self,
        rules: RulesLike = None,
        *,
        state: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        follow: bool = False,
        drain: float = DRAIN,
        load: Callable[[Path], Rules] = load,
        metrics: Path | str | None = None,
        alone: bool = False,
    ) -> None:
        if rules is None:
            rules = served(None, os.environ if environ is None else environ).rules
        self._given = Given(rules, state, environ, load, Path(metrics) if metrics is not None else None)
        self._load = load
        self._follow = follow
        self._drain = drain
        self._alone = alone
        self._within = Within(self._opening, "this gateway")
        if not follow:
            # What is followed is read when it is looked at.
            self._given.read()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._live(receive, send)
            case "http":
                try:
                    opened = await self._opened()
                except Refusal as refusal:
                    await refuse(refusal, send)
                else:
                    await opened.respond(scope, receive, send)
            case "websocket":
                await receive()
                await no_websockets(scope, send)
            case other:
                raise ValueError(f"the gateway answers http, not {other}")

    async def _opened(self) -> Open:
        """Opens it if need be. Raises Refusal."""
        if (opened := self._within.here) is not None:
            return opened
        try:
            return await self._within.open()
        except InterposeError as error:
            logger.error("the gateway cannot be opened: %s", error)
            raise Refusal(
                503, "gateway_not_open", "The gateway could not be opened. Its log tells more.", outcome="error"
            ) from error

    # --- its life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Opens the engine in the loop that runs, if it is not open. The first request does it otherwise."""
        await self._within.open()

    async def aclose(self) -> None:
        """Lets calls in flight end, then cuts them off, and closes the engine."""
        await self._within.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """For an application that it is mounted into: `FastAPI(lifespan=gateway.lifespan)`."""
        return self._lifespan()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with self:
            yield

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            try:
                await self.open()
            except InterposeError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[Open]:
        given = self._given
        async with AsyncExitStack() as stack:
            path = given.path if self._follow else None
            seen = looks(path) if path is not None else None
            if self._follow:
                await asyncio.to_thread(given.read)
            assembly = await stack.enter_async_context(given.assembly())
            following = None
            if path is not None and can_be_read_again(path):
                following = Following(
                    path,
                    given.rules,
                    seen,
                    load=self._load,
                    adopt=assembly.reload,
                    now=CLOCK.now,
                    read=assembly.engine.observer.reloaded,
                )
                stack.callback(asyncio.get_running_loop().create_task(following.follow()).cancel)
            front = Served(assembly, lambda: following.stale if following is not None else None, self._alone).front()
            yield Open(assembly, front, Responder(front), following)
            await assembly.engine.drain(self._drain)

    # --- for the program ----------------------------------------------------------------------------------------------

    async def reload(self, rules: RulesLike = AGAIN) -> None:
        """Calls that begin from now on go by these rules; by those that it was made with, read again, if none are
        given. Those in flight keep theirs.

        Raises RulesError for rules that cannot be used: then those of before stay in force.
        """
        if (opened := self._within.here) is None:
            await asyncio.to_thread(self._given.reread, rules)
        else:
            await self._given.reload(opened.assembly, rules)

    @property
    def scrubber(self) -> Scrubber:
        """Takes our secrets out of a log, as a filter of its handlers."""
        return self._given.scrubber

    def ask(self) -> None:
        """The file that it follows is read again, whatever it looks like; the answer is in the log."""
        if (opened := self._within.here) is not None and opened.following is not None:
            opened.following.ask()

    async def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """The calls since it was opened, in the order in which they began, once those in flight have ended: for at most
        `wait` seconds, after which they are not among them. `since` is a time as records have it (`utc_text`).

        Raises InterposeError if it is not open.
        """
        if (opened := self._within.here) is None:
            raise InterposeError("this gateway is not open in this loop: it tells its calls while it is")
        return await recorded(opened.assembly, since, wait)


class GatewayMiddleware:
    """A gateway in front of an ASGI application, which has the same lifespan: `/v1/…` and `/v1beta/…` are the
    gateway's, and its pages are where the application has none of that name; everything else is the application's.

    With a `prefix` ("/ai") the gateway has all that is below it and nothing else. `gateway` is one that there is
    already; otherwise it is made of the other arguments, which are those of `Gateway`.
    """

    def __init__(
        self,
        app: Application,
        rules: RulesLike = None,
        *,
        state: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: str = "",
        gateway: Gateway | None = None,
    ) -> None:
        if gateway is not None and rules is not None:
            raise ValueError("give the middleware rules or a gateway, not both")
        self._app = app
        self._prefix = prefix.rstrip("/")
        self._gateway = gateway or Gateway(rules, state=state, environ=environ)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        root = scope.get("root_path", "").rstrip("/")
        path = mounted(scope["path"].encode(), scope).decode()
        taken = (self._prefix,) if self._prefix else TAKEN
        if any(path == each or path.startswith(f"{each}/") for each in taken):
            whole = scope.get("app_root_path", root)
            await self._gateway({**scope, "root_path": root + self._prefix, "app_root_path": whole}, receive, send)
        elif scope["type"] == "http" and not self._prefix and path in PAGES and scope["method"] in ("GET", "HEAD"):
            await self._page(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's page of that name, or the gateway's if it says that it has none."""
        missing = False

        async def unless_missing(message: Message) -> None:
            nonlocal missing
            missing = missing or (message["type"] == "http.response.start" and message["status"] == 404)
            if not missing:
                await send(message)

        # An application writes into the scope that it gets.
        await self._app({**scope}, receive, unless_missing)
        if missing:
            first: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

            async def again() -> Message:
                return first.pop() if first else await receive()

            await self._gateway(scope, again, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's lifespan, with the gateway open all through it."""
        first = [await receive()]
        try:
            await self._gateway.open()
        except InterposeError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return

        async def replayed() -> Message:
            return first.pop() if first else await receive()

        async def told(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._gateway.aclose()
            await send(message)

        try:
            await self._app(scope, replayed, told)
        except BaseException:
            # The application knows nothing of lifespans, or has ended in disorder: the server will say how to go on.
            await self._gateway.aclose()
            raise


async def no_websockets(scope: Scope, send: Send) -> None:
    """Turns a WebSocket away: by a 404 where the server can say that, else by closing before it is accepted.

    https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
    """
    refusal = without_websockets()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await refuse(refusal, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
