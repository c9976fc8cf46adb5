"""One request of httpx's on its way through an engine: made a `Call`, waited for, its reply read piece by piece.

All waiting happens in the engine's loop, and ends by the timeouts that the request carries, in the exceptions of the
library that has made it. How a thread without a loop gets there is the transport's business.
https://www.python-httpx.org/advanced/extensions/
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import Any, Final, Self

from interpose.call import DEFAULT_PORTS, Call, Entrance, Origin, Peer, Reply, Url, upgrades
from interpose.formats.hosts import canonical_host
from interpose.gateway import Answers
from interpose.upstream.client import FailureKind, UpstreamFailure

from .asgi import READABLE
from .process import app_name

LIBRARIES: Final = ("httpx", "httpx2")
# What the breaking off of a reply is called there.
BROKEN: dict[FailureKind, str] = {"timeout": "ReadTimeout", "protocol": "RemoteProtocolError"}
# A WebSocket begins as a request: https://www.rfc-editor.org/rfc/rfc6455#section-3
HANDSHAKES: Final = {"ws": "http", "wss": "https"}
# A program's own calls come from this machine.
HERE: Final = "127.0.0.1"


def library_of(request: object) -> Any:
    """The module whose request that is. Raises TypeError."""
    for kind in type(request).__mro__:
        if (name := kind.__module__.partition(".")[0]) in LIBRARIES:
            return sys.modules[name]
    raise TypeError(f"{type(request).__name__} is no request of {' or '.join(LIBRARIES)}")


def origin_of(request: Any) -> Origin:
    url = request.url
    host = url.raw_host.decode("ascii")
    try:
        host = canonical_host(host)
    except ValueError:
        # No host of ours; what it is to the network is for the network to say.
        pass
    scheme = HANDSHAKES.get(url.scheme, url.scheme)
    return Origin(scheme, host, url.port or DEFAULT_PORTS.get(scheme, 0))


@cache
def this_program() -> str:
    """What rules call the program that we are in (`app`), as they would if it was intercepted."""
    return app_name(sys.executable, sys.orig_argv)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request waits, in seconds; None: for ever. A connection is taken from no pool here: `pool` says
    nothing.
    """

    connect: float | None
    read: float | None
    write: float | None

    @classmethod
    def of(cls, request: Any) -> Self:
        told = request.extensions.get("timeout") or {}
        return cls(told.get("connect"), told.get("read"), told.get("write"))

    @property
    def head(self) -> float | None:
        """For the reply's head: to connect and to be answered, which cannot be told apart from here."""
        return None if self.read is None else self.read + (self.connect or 0.0)


class Passage:
    """One request, in this order: `begins` (or `read`), `reply`, `response`, then `piece` until there is none more, and
    `close` whenever nobody reads on.
    """

    def __init__(self, request: Any, library: Any, *, names_gateway: bool) -> None:
        self._names_gateway = names_gateway
        self._request = request
        self._library = library
        self._patience = Patience.of(request)
        self._upload: bytes | AsyncIterator[bytes] = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reply: Reply | None = None
        self._sending = False
        self._deadline: asyncio.Timeout | None = None
        self._ended = False
        self._closing: asyncio.Task[None] | None = None
        if upgrades(request.headers.raw) or request.url.scheme in HANDSHAKES:
            raise library.UnsupportedProtocol(
                "WebSockets do not go through this transport: use interpose's interceptor (intercept)"
            )

    def begins(self, body: bytes | AsyncIterator[bytes]) -> None:
        """The request's body; a stream is sent as it comes."""
        self._upload = body

    async def read(self, stream: AsyncIterable[bytes]) -> None:
        """The request's body as far as it is to be readable; what is longer is sent as it comes."""
        pieces, size, rest = [], 0, aiter(stream)
        async for piece in rest:
            pieces.append(piece)
            size += len(piece)
            if size > READABLE:
                self.begins(chained(pieces, rest))
                return
        self.begins(b"".join(pieces))

    async def reply(self, answers: Answers) -> None:
        """Waits for the reply's head."""
        self._loop = asyncio.get_running_loop()
        body = self._upload if isinstance(self._upload, bytes) else self._timed(self._upload)
        try:
            async with asyncio.timeout(self._patience.head) as self._deadline:
                self._reply = await answers.handle(self._call(body))
        except TimeoutError:
            kind, doing = ("WriteTimeout", "take") if self._sending else ("ReadTimeout", "answer")
            raise self._failed(kind, f"the provider did not {doing} the request in time") from None
        finally:
            self._deadline = None

    def _call(self, body: bytes | AsyncIterator[bytes]) -> Call:
        request = self._request
        return Call(
            method=request.method,
            url=Url(origin_of(request), request.url.raw_path.decode("latin-1")),
            headers=tuple((bytes(name), bytes(value)) for name, value in request.headers.raw),
            body=body,
            peer=Peer(HERE, app=this_program()),
            entrance=Entrance.EMBEDDED,
            names_gateway=self._names_gateway,
            connect=self._patience.connect,
        )

    async def _timed(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Each piece is to be taken in time. How long the program needs to make one is its own business."""
        async for piece in body:
            self._sending = True
            self._put_off(self._patience.write)
            yield piece
            self._put_off(None)
        self._sending = False
        self._put_off(self._patience.head)

    def _put_off(self, seconds: float | None) -> None:
        if self._deadline is not None and self._loop is not None and not self._deadline.expired():
            self._deadline.reschedule(None if seconds is None else self._loop.time() + seconds)

    def response(self, stream: object) -> Any:
        """The reply as its library has it; `stream` reads it by this passage."""
        reply = self._reply
        assert reply is not None
        extensions = {"http_version": b"HTTP/1.1", "reason_phrase": reply.reason.encode("ascii", "replace")}
        return self._library.Response(reply.status, headers=list(reply.headers), stream=stream, extensions=extensions)

    async def piece(self) -> bytes | None:
        """The next piece of the reply's body; None at its end."""
        assert self._reply is not None
        try:
            async with asyncio.timeout(self._patience.read):
                return await anext(self._reply.body)
        except StopAsyncIteration:
            await self.close()
            return None
        except TimeoutError:
            raise self._failed("ReadTimeout", "the provider did not go on in time") from None
        except UpstreamFailure as failure:
            raise self._failed(BROKEN.get(failure.kind, "ReadError"), f"{failure}") from failure
        except Exception as error:
            raise self._failed("ReadError", "interpose failed on this reply: its log tells more") from error

    async def close(self) -> None:
        """Settles the call: if its reply has not ended, the provider is hung up on."""
        if not self._ended and self._reply is not None:
            self._ended = True
            await self._reply.body.aclose()

    def abandon(self) -> None:
        """The same without waiting, for a reply that was dropped. Any thread may say so, at any time."""
        if not self._ended and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._begin_to_close)
            except RuntimeError:
                # The loop is no more, nor is the engine.
                pass

    def _begin_to_close(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.close())

    def closed(self) -> Exception:
        """What is raised where the transport was closed meanwhile."""
        return self._failed("ReadError", "the transport was closed")

    def _failed(self, kind: str, message: str) -> Exception:
        failure: Exception = getattr(self._library, kind)(message, request=self._request)
        return failure


async def chained(pieces: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    async for piece in rest:
        yield piece


def begun(stream: Iterable[bytes]) -> tuple[list[bytes], Iterator[bytes] | None]:
    """A request's body as far as it is to be readable, and the rest if it is longer."""
    pieces, size, rest = [], 0, iter(stream)
    for piece in rest:
        pieces.append(piece)
        size += len(piece)
        if size > READABLE:
            return pieces, rest
    return pieces, None


class Fed:
    """A body that the caller's thread makes, and the engine's sends: a piece is made when one is asked for."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes]) -> None:
        self._first = deque(first)
        self._rest = rest
        # None: nobody will ask any more.
        self._asked: SimpleQueue[asyncio.Future[bytes | None] | None] = SimpleQueue()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            return self._first.popleft()
        wanted: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked.put(wanted)
        if (piece := await wanted) is None:
            raise StopAsyncIteration
        return piece

    def feed(self, sent: Future[Any]) -> None:
        """In the caller's thread: makes pieces until `sent` is done. Raises what making them raises."""
        sent.add_done_callback(lambda _: self._asked.put(None))
        while (wanted := self._asked.get()) is not None:
            wanted.get_loop().call_soon_threadsafe(give, wanted, next(self._rest, None))


def give(wanted: asyncio.Future[bytes | None], piece: bytes | None) -> None:
    if not wanted.done():
        wanted.set_result(piece)


class AsyncPieces:
    """A reply's body for an async client."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (piece := await self._passage.piece()) is not None:
                yield piece
        finally:
            await self._passage.close()

    async def aclose(self) -> None:
        await self._passage.close()

    def __del__(self) -> None:
        self._passage.abandon()


class SyncPieces:
    """A reply's body for a client without a loop; `wait` has work done where the engine is."""

    def __init__(self, passage: Passage, wait: Callable[[Passage, Any], Any]) -> None:
        self._passage = passage
        self._wait = wait

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (piece := self._wait(self._passage, self._passage.piece())) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        self._passage.abandon()

    def __del__(self) -> None:
        self._passage.abandon()


@cache
def async_stream(library: Any) -> Any:
    """The kind of stream that a client of that library takes."""
    return type("Pieces", (AsyncPieces, library.AsyncByteStream), {})


@cache
def sync_stream(library: Any) -> Any:
    return type("Pieces", (SyncPieces, library.SyncByteStream), {})
