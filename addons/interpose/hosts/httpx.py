"""An httpx transport, sync and async: a client's calls to AI hosts go through an engine in the same program, without a
proxy and without a CA; everything else goes on through a transport of httpx's own.

It works with httpx and with httpx2 (which the SDKs of OpenAI and Anthropic bring), and imports neither: whichever has
made the request is there. How a request waits, and which exception ends that, is in `passage`.
https://www.python-httpx.org/advanced/transports/
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from interpose.call import INSIDE
from interpose.errors import InterposeError
from interpose.ledger import Record

from . import endings
from .aside import Aside, Within
from .embedding import AGAIN, PATIENCE, Given, RulesLike, recorded
from .inside import Inside, opened
from .passage import Fed, Passage, async_stream, begun, library_of, origin_of, sync_stream

if TYPE_CHECKING:
    import httpx
    import httpx2

    class SyncBase(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

    class AsyncBase(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...

else:

    class SyncBase:
        def __enter__(self):
            return self

        def __exit__(self, kind=None, error=None, trace=None):
            self.close()

    class AsyncBase:
        async def __aenter__(self):
            return self

        async def __aexit__(self, kind=None, error=None, trace=None):
            await self.aclose()


NOT_OPEN: Final = "this transport is not open: it opens with its first request, and tells its calls until it is closed"


class Others:
    """The transports for what is not the engine's: the one that was given, else one of each library's own."""

    def __init__(self, given: Any, name: str) -> None:
        self._given = given
        self._name = name
        self._made: dict[str, Any] = {}

    def by(self, library: Any) -> Any:
        if self._given is not None:
            return self._given
        if (found := self._made.get(library.__name__)) is None:
            # Two threads may both make one: the other's is never used, so there is nothing of it to close.
            found = self._made.setdefault(library.__name__, getattr(library, self._name)())
        return found

    def all(self) -> list[Any]:
        made, self._made = list(self._made.values()), {}
        return made if self._given is None else [self._given]


class Transport(SyncBase):
    """For `httpx.Client(transport=…)`, and so for `OpenAI(http_client=…)`: calls to AI hosts go through an engine.

    `rules`, `state` and `environ` are as `intercept` takes them; `inner` carries what the engine does not claim
    (default: an HTTPTransport of the client's library). At `base_url` the gateway answers. Any thread may use it; it
    has a thread of its own from its first request until it is closed, and may be opened again after that. A process
    that forks has one in each child.

    Raises RulesError for rules that cannot be used. The first request, or `with`, raises RulesError for a credential
    that cannot be had, and other InterposeErrors for a state folder or a ledger that cannot be used.
    """

    base_url: Final = f"{INSIDE}/v1"

    def __init__(
        self,
        rules: RulesLike = None,
        *,
        state: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        inner: httpx.BaseTransport | httpx2.BaseTransport | None = None,
    ) -> None:
        self._given = Given(rules, state, environ)
        self._given.read()
        self._others = Others(inner, "HTTPTransport")
        self._forgotten: weakref.finalize[..., Transport] | None = None
        self._begin()
        endings.on_fork(self, Transport._begin)

    def _begin(self) -> None:
        """It is closed; what an inherited thread has left is not for us to end."""
        if self._forgotten is not None:
            self._forgotten.detach()
        self._forgotten = None
        self._lock = threading.Lock()
        self._aside = Aside(partial(opened, self._given))

    def handle_request(self, request: Any) -> Any:
        """The reply to a request of httpx's. Raises httpx's exceptions."""
        library, inside = library_of(request), self._inside()
        if (answers := inside.answers(origin := origin_of(request))) is None:
            return self._others.by(library).handle_request(request)
        passage = Passage(request, library, names_gateway=inside.names_gateway(origin))
        first, rest = begun(request.stream)
        if rest is None:
            passage.begins(b"".join(first))
            self._wait(passage, passage.reply(answers))
        else:
            fed = Fed(first, rest)
            passage.begins(fed)
            self._wait(passage, passage.reply(answers), fed.feed)
        return passage.response(sync_stream(library)(passage, self._wait))

    def _wait[R](self, passage: Passage, work: Any, meanwhile: Callable[[Future[R]], None] | None = None) -> R:
        """Has that done in the engine's thread; what happens to us meanwhile (a signal, say) ends it there, too."""
        try:
            future: Future[R] = self._aside.submit(work)
        except InterposeError as error:
            raise passage.closed() from error
        try:
            if meanwhile is not None:
                meanwhile(future)
            return future.result()
        except BaseException as error:
            if future.cancelled():
                raise passage.closed() from error
            if not future.cancel():
                # It was done in that very moment: of what it has brought nobody knows.
                passage.abandon()
            raise

    def _inside(self) -> Inside:
        """Opens it if need be."""
        while (inside := self._aside.held) is None:
            with self._lock:
                if self._aside.held is None:
                    self._aside.start().result()
                    endings.remember(self._aside)
                    self._forgotten = weakref.finalize(self, self._aside.stop)
                    self._forgotten.atexit = False
        return inside

    def __enter__(self) -> Transport:
        self._inside()
        return self

    def close(self) -> None:
        """Cuts off what is in flight, and closes the engine: all records are in the ledger then."""
        with self._lock:
            if self._aside.held is not None:
                self._aside.stop().result()
            endings.forget(self._aside)
        for other in self._others.all():
            other.close()

    def reload(self, rules: RulesLike = AGAIN) -> None:
        """Calls that begin from now on go by these rules; by those that it was made with, read again, if none are
        given. Those in flight keep theirs.

        Raises RulesError for rules that cannot be used: then those of before stay in force.
        """
        inside = self._aside.held
        if inside is None:
            self._given.reread(rules)
        else:
            self._aside.submit(self._given.reload(inside.assembly, rules)).result()

    def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """The calls since it was opened, in the order in which they began, once those in flight have ended: for at most
        `wait` seconds, after which they are not among them. `since` is a time as records have it (`utc_text`).

        Raises InterposeError if it is not open.
        """
        if (inside := self._aside.held) is None:
            raise InterposeError(NOT_OPEN)
        return self._aside.submit(recorded(inside.assembly, since, wait)).result()


class AsyncTransport(AsyncBase):
    """`Transport` for `httpx.AsyncClient(transport=…)`, and so for `AsyncOpenAI(http_client=…)`.

    It runs in the loop of its first request, and belongs to that until it is closed, or the loop ends; asyncio alone.
    """

    base_url: Final = Transport.base_url

    def __init__(
        self,
        rules: RulesLike = None,
        *,
        state: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        inner: httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._given = Given(rules, state, environ)
        self._given.read()
        self._others = Others(inner, "AsyncHTTPTransport")
        self._within = Within(partial(opened, self._given), "this AsyncTransport")

    async def handle_async_request(self, request: Any) -> Any:
        """The reply to a request of httpx's. Raises httpx's exceptions, and InterposeError in another loop."""
        library, inside = library_of(request), await self._within.open()
        if (answers := inside.answers(origin := origin_of(request))) is None:
            return await self._others.by(library).handle_async_request(request)
        passage = Passage(request, library, names_gateway=inside.names_gateway(origin))
        await passage.read(request.stream)
        await passage.reply(answers)
        return passage.response(async_stream(library)(passage))

    async def __aenter__(self) -> AsyncTransport:
        await self._within.open()
        return self

    async def aclose(self) -> None:
        """Cuts off what is in flight, and closes the engine: all records are in the ledger then."""
        await self._within.close()
        for other in self._others.all():
            await other.aclose()

    async def reload(self, rules: RulesLike = AGAIN) -> None:
        """As `Transport.reload`."""
        if (inside := self._within.here) is None:
            await asyncio.to_thread(self._given.reread, rules)
        else:
            await self._given.reload(inside.assembly, rules)

    async def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """As `Transport.calls`."""
        if (inside := self._within.here) is None:
            raise InterposeError(NOT_OPEN)
        return await recorded(inside.assembly, since, wait)
