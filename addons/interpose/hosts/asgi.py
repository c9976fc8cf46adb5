"""The gateway as an ASGI application: each HTTP request becomes a `Call`, each `Reply` a response.

It decides nothing: its front and the engine do. Whatever server runs it (granian under `interpose serve`, uvicorn, or a
Starlette app that it is mounted into), a client that leaves is noticed, and its call ends at once.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Self
from urllib.parse import quote, unquote

from interpose.call import DEFAULT_PORTS, Call, Entrance, Headers, Origin, Peer, Url, header
from interpose.errors import Refusal
from interpose.formats import FORMATS
from interpose.formats.hosts import canonical_host
from interpose.gateway import Answers
from interpose.stages.content import GATEWAY_LIMIT

logger = logging.getLogger(__name__)

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Up to so many bytes a body can be read, converted and sent again.
READABLE = GATEWAY_LIMIT
# A client that sends nothing of its body for so many seconds is not waited for.
PATIENCE = 30.0
# Of a body that nobody wanted so much is taken all the same: a client that is still sending would miss its answer.
DISCARDED = 4 * READABLE
# A host that nobody can name, for requests whose Host header names none.
NOWHERE = "gateway.invalid"
# What a body that ends before its end is answered with, if anybody still listens.
BROKEN = Refusal(400, "incomplete_body", "The body ended before its end, or its chunks are malformed.")
# What stands unescaped in a path: https://www.rfc-editor.org/rfc/rfc3986#section-3.3
PLAIN = "/:@!$&'()*+,;=~"


def late(patience: float) -> Refusal:
    return Refusal(408, "request_timeout", f"Nothing more of the body came in {patience:g} s.")


class Left(Exception):
    """The client has gone."""


class Late(Exception):
    """The client sends nothing more of its body."""


class Responder:
    """Answers HTTP requests by a front. `readable` is how many bytes of a body are held in memory at most, `patience`
    for how many seconds each piece of it is waited for.
    """

    def __init__(self, front: Answers, *, readable: int = READABLE, patience: float = PATIENCE) -> None:
        self._front = front
        self._readable = readable
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = Upload(receive, self._patience)
        barred: Refusal | None = None
        body: bytes | AsyncIterator[bytes] = b""
        try:
            body = await upload.begun(self._readable, told_length(scope))
        except Left:
            # It need not be gone: a server says the same of a body that breaks its own framing, and would answer with a
            # failure of ours where nobody else answers.
            await refuse(BROKEN, send)
            return
        except Late:
            barred = late(self._patience)
        call = call_of(scope, body)
        call.barred = barred
        told = False

        async def tell(message: Message) -> None:
            nonlocal told
            told = True
            await send(message)

        answering = asyncio.ensure_future(self._answer(call, upload, tell))
        leaving = asyncio.ensure_future(upload.left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
        try:
            await answering
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            if not told and upload.fault is not None:
                await refuse(upload.fault, send)

    async def _answer(self, call: Call, upload: Upload, send: Send) -> None:
        reply = await self._front.handle(call)
        try:
            if call.body is upload and not upload.taken and header(call.headers, b"expect") is None:
                # Else the server would break off the connection of a client that sends before it listens.
                await upload.discard(DISCARDED)
            await send({"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)})
            # A failure in here reaches the server, which breaks the response off: nobody is to take it for whole.
            async for piece in reply.body:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await reply.body.aclose()


async def refuse(refusal: Refusal, send: Send, kind: str = "http.response") -> None:
    """Answers where there is no engine to do it: an error of OpenAI's shape, which nothing records."""
    error = FORMATS["openai"].error(refusal)
    headers = (*error.headers, (b"content-length", str(len(error.body)).encode()))
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": list(headers)})
    await send({"type": f"{kind}.body", "body": error.body, "more_body": False})


class Upload:
    """A request's body as it arrives, and the news that its client has left."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive = receive
        self._patience = patience
        self._ended = asyncio.Event()
        self._gone = False
        self._pieces: list[bytes] = []
        # Whether anybody has begun to iterate, and why it will never end.
        self.taken = False
        self.fault: Refusal | None = None

    async def begun(self, readable: int, told: int) -> bytes | AsyncIterator[bytes]:
        """All of it, or if it is longer than `readable` an iterator of it; one that is `told` to be that long is not
        even asked for, since the client may wait for a word (`Expect: 100-continue`). Raises Left and Late.
        """
        if told > readable:
            return self
        size = 0
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(self._patience):
                    piece = await self._next()
            except TimeoutError:
                raise Late from None
            self._pieces.append(piece)
            size += len(piece)
            if size > readable:
                return self
        return b"".join(self._pieces)

    async def discard(self, most: int) -> None:
        """Takes what is still to come, up to so many bytes, as long as it does come."""
        try:
            while not self._ended.is_set() and most > 0:
                async with asyncio.timeout(self._patience):
                    most -= len(await self._next())
        except (Left, TimeoutError):
            pass

    async def left(self) -> None:
        """Returns when the client has left, or is not waited for any more."""
        await self._ended.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.taken = True
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            return b"".join(pieces)
        if self._ended.is_set():
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._patience):
                return await self._next()
        except TimeoutError:
            self.fault = late(self._patience)
            self._gone = True
            self._ended.set()
        except Left:
            pass
        # The call ends for that, and is no failure of the provider that was being sent to: it hears no more.
        await asyncio.Event().wait()
        raise Left

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone, self.fault = True, BROKEN
            self._ended.set()
            raise Left
        if not message.get("more_body", False):
            self._ended.set()
        piece: bytes = message.get("body", b"")
        return piece


def told_length(scope: Scope) -> int:
    """How long the body is said to be; 0 if that is not said."""
    told = header(scope["headers"], b"content-length")
    return int(told) if told is not None and told.isdigit() else 0


def call_of(scope: Scope, body: bytes | AsyncIterator[bytes]) -> Call:
    """The request as the engine sees it: addressed to the host that the client named, its path as it is below the place
    where the application is mounted.
    """
    headers: Headers = tuple((bytes(name), bytes(value)) for name, value in scope["headers"])
    path: bytes = scope.get("raw_path") or quote(scope["path"], safe=PLAIN).encode()
    path = mounted(path.partition(b"?")[0], scope)
    query: bytes = scope.get("query_string", b"")
    target = path + (b"?" + query if query else b"")
    client = scope.get("client") or ("", 0)
    return Call(
        method=scope["method"],
        url=Url(origin_of(scope["scheme"], header(headers, b"host") or b""), target.decode("latin-1")),
        headers=headers,
        body=body,
        # An IPv4 client of a socket that is IPv6's, too, comes as ::ffff:127.0.0.1. What a balancer in front of us says
        # of its clients is not asked: any of them could say it, too.
        peer=Peer(client[0].removeprefix("::ffff:"), client[1] or 0),
        entrance=Entrance.GATEWAY,
        mount=quote(scope.get("root_path", "").rstrip("/")),
    )


def mounted(path: bytes, scope: Scope) -> bytes:
    """A path below the place where the application is mounted.

    Behind a proxy that takes the beginning away, the path may lack the root of the whole, which Starlette remembers
    apart.
    """
    root: str = scope.get("root_path", "")
    whole: str = scope.get("app_root_path", "")
    rest = below(path, root)
    return below(path, root.removeprefix(whole)) if rest == path else rest


def below(path: bytes, root: str) -> bytes:
    """A path without the root at its beginning, if it is there. By segments: what is escaped in the one need not be in
    the other.
    """
    if not (wanted := [segment for segment in root.split("/") if segment]):
        return path
    _, *segments = path.split(b"/", len(wanted) + 1)
    if [unquote(segment.decode("latin-1")) for segment in segments[: len(wanted)]] != wanted:
        return path
    return b"/" + b"/".join(segments[len(wanted) :])


def origin_of(scheme: str, host: bytes) -> Origin:
    """Where the client believes itself to be. Nothing depends on it but what rules say of hosts."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    if not colon or "]" in port:
        name, port = host.decode("latin-1"), ""
    try:
        return Origin(scheme, canonical_host(name.strip("[]")), int(port) if port else DEFAULT_PORTS[scheme])
    except (ValueError, KeyError):
        return Origin(scheme, NOWHERE, DEFAULT_PORTS.get(scheme, 80))
