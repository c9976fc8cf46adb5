"""Carries one call between a mitmproxy stream and the engine: the asyncio half of `native`.

A `Carriage` turns the flow into a `Call`, asks the engine, and pumps the reply's body to the client with
backpressure on both HTTP versions. It is fail-closed by its defaults: until the last byte has been handed over,
`finished` is False, and the stream ends as broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from mitmproxy import http
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.server import ConnectionHandler

from interpose.call import Call, Entrance, Headers, Origin, Peer, Reply, Url, header
from interpose.engine import Engine
from interpose.formats.hosts import canonical_host

from .brake import Brake
from .connections import ClientHttp2
from .upload import Upload

logger = logging.getLogger(__name__)

# An upload may run this far ahead of the upstream before the client is made to wait.
UPLOAD_AHEAD = 1024 * 1024


class Stream(Protocol):
    """What is needed of a stream of `native`: where it stands, and how bytes get past mitmproxy's layers."""

    @property
    def context(self) -> Context: ...
    @property
    def stream_id(self) -> int: ...
    def frame(self, chunk: bytes) -> bytes: ...
    def wrap(self, data: bytes) -> bytes: ...
    def held_back(self) -> bool: ...
    def http2(self) -> ClientHttp2 | None: ...


class Carriage:
    """One call on its way. Made for a stream; `ask` and `pump` run as hooks of its connection."""

    def __init__(self, flow: http.HTTPFlow, stream: Stream, handler: ConnectionHandler, engine: Engine) -> None:
        self._flow = flow
        self._stream = stream
        self._handler = handler
        self._engine = engine
        self._task: asyncio.Task[object] | None = None
        self._gone = False
        self._window = asyncio.Event()
        self._brake: Brake | None = None
        self.upload = Upload(self._waiting)
        self.reply: Reply | None = None
        self.finished = False
        self.failure = "the reply broke off"

    def gone(self) -> bool:
        """Whether the client has left."""
        return self._gone

    # What the hooks run

    async def ask(self) -> None:
        """Asks the engine; `reply` is there afterwards unless the client has gone or our own code has failed."""
        if self.gone():
            return
        self._task = asyncio.current_task()
        try:
            self.reply = await self._engine.handle(self.call())
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception:
            # The engine answers its own failures; what comes here is one of the adapter's. Nothing was sent.
            logger.exception("carrying a call to %s failed", self._flow.request.host)
            self.reply = self._engine.apologise(bare_call(self._flow))
        finally:
            self._task = None
            if self.gone():
                await self._close()

    async def pump(self) -> None:
        """Sends the body as it arrives; sets `finished` if it came to its end."""
        assert self.reply is not None
        self._task = asyncio.current_task()
        try:
            if not self.gone():
                async for chunk in self.reply.body:
                    await self._send(chunk)
                self.finished = True
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception as error:  # noqa: BLE001 - see below
            # A broken upstream, a vanished client or a bug: all three end the stream as broken.
            self.failure = str(error) or type(error).__name__
            logger.debug("the reply of %s broke off: %s", self._flow.request.host, self.failure)
        finally:
            self._task = None
            await self._close()

    def _ours(self) -> bool:
        """Whether a cancellation came from `abandon`; it then ends here, so that the hook completes."""
        task = asyncio.current_task()
        if not self.gone() or task is None:
            return False
        task.uncancel()
        return True

    # What the stream calls, from inside mitmproxy's layers

    def abandon(self) -> None:
        """The client has gone, or the stream has failed: whatever runs is cancelled, which closes the upstream."""
        self._gone = True
        self.upload.fail()
        if self._task is not None:
            self._task.cancel()
        elif self.reply is not None:
            # Between the two hooks nothing runs that could be cancelled.
            closing = asyncio.ensure_future(self._close())
            closing.add_done_callback(lambda done: done.exception())
        self._let_go()

    def begin_upload(self, held: bytes) -> None:
        """From here on the body streams through; `held` is what has come of it so far."""
        http2 = self._stream.http2()
        if http2 is not None:
            http2.uploads.add(self._stream.stream_id)
        else:
            self._brake = Brake(self._client_transport())
        self.upload.feed(held)

    def window_changed(self) -> None:
        self._window.set()

    def call(self) -> Call:
        """The flow as a `Call`; a body that streams through comes as the upload."""
        return as_call(self._flow, aiter(self.upload) if self.upload.used else None)

    def response(self) -> http.Response:
        """The reply's head for mitmproxy: without its framing, which depends on the client's HTTP version."""
        assert self.reply is not None
        fields = list(self.reply.headers)
        request = self._flow.request
        bodyless = request.method == "HEAD" or self.reply.status in (204, 304)
        if (
            request.http_version == "HTTP/1.1"
            and not bodyless
            and not any(name.lower() == b"content-length" for name, _ in fields)
        ):
            fields.append((b"Transfer-Encoding", b"chunked"))
        return http.Response(
            http_version=b"HTTP/1.1",
            status_code=self.reply.status,
            reason=self.reply.reason.encode("latin-1", "replace"),
            headers=http.Headers(fields),
            content=None,
            trailers=None,
            timestamp_start=self._flow.request.timestamp_start,
            timestamp_end=None,
        )

    # Out to the client

    async def _send(self, chunk: bytes) -> None:
        if not chunk:
            return  # an empty chunk would end a chunked body
        transport = self._handler.transports.get(self._stream.context.client)
        if transport is None or transport.writer is None:
            raise ConnectionResetError("the client has gone")
        # Hook tasks start eagerly, inside the loop over a layer's commands. Under the lock no layer is at work, so
        # that no bytes of ours can get between a frame and its TLS record.
        async with self._handler._server_event_lock:
            if data := self._stream.frame(chunk):
                transport.writer.write(data)
        self._handler.timeout_watchdog.register_activity()
        await transport.writer.drain()
        await self._wait_for_window()

    async def _wait_for_window(self) -> None:
        """Holds until HTTP/2's flow control has let out what was sent: mitmproxy buffers without bound."""
        while self._stream.held_back():
            self._window.clear()
            await self._window.wait()

    async def _close(self) -> None:
        self.upload.discard()
        self._let_go()
        if self.reply is not None:
            await self.reply.body.aclose()

    # Holding an upload back

    def _waiting(self, size: int) -> None:
        """So much of the upload waits for the upstream: HTTP/1 is held by its socket, HTTP/2 by the stream's window."""
        if self._brake is not None:
            self._brake.hold() if size > UPLOAD_AHEAD else self._brake.release()
        elif size == 0 and self._stream.http2() is not None:
            telling = asyncio.ensure_future(self._open_window())
            telling.add_done_callback(lambda done: done.exception())

    async def _open_window(self) -> None:
        http2 = self._stream.http2()
        if http2 is None:
            return
        async with self._handler._server_event_lock:
            self._write(http2.consumed(self._stream.stream_id))

    def _let_go(self) -> None:
        """Nothing of ours holds the client any more."""
        if self._brake is not None:
            self._brake.end()
        http2 = self._stream.http2()
        if http2 is not None and self._stream.stream_id in http2.uploads:
            http2.uploads.discard(self._stream.stream_id)
            telling = asyncio.ensure_future(self._open_window())
            telling.add_done_callback(lambda done: done.exception())

    def _write(self, data: bytes) -> None:
        transport = self._client_transport()
        if data and transport is not None:
            transport.write(self._stream.wrap(data))

    def _client_transport(self) -> asyncio.Transport | None:
        io = self._handler.transports.get(self._stream.context.client)
        transport = getattr(io.writer, "transport", None) if io is not None else None
        return transport if isinstance(transport, asyncio.Transport) and not transport.is_closing() else None


def as_call(flow: http.HTTPFlow, upload: AsyncIterator[bytes] | None = None) -> Call:
    """A flow as a `Call`, its headers and target as they came."""
    request = flow.request
    headers: Headers = request.headers.fields
    if request.is_http2:
        # A Host beside an :authority that says otherwise makes two, which the engine refuses.
        if request.data.authority and header(headers, b"host") != request.data.authority:
            headers = ((b"Host", request.data.authority), *headers)
        headers = one_cookie_header(headers)
    host, port = flow.client_conn.peername[:2]
    return Call(
        method=request.method,
        url=Url(Origin(request.scheme, canonical(request.host), request.port), request.path),
        headers=headers,
        body=upload if upload is not None else request.raw_content or b"",
        peer=Peer(host, port),
        entrance=Entrance.INTERCEPT,
        sni=flow.client_conn.sni,
    )


def bare_call(flow: http.HTTPFlow) -> Call:
    """As much of a call as can be said of any flow: for the apology when the whole could not be put together."""
    request = flow.request
    target = request.path.partition("?")[0] if request.path.startswith("/") else "/"
    origin = Origin(request.scheme or "https", request.host, request.port)
    return Call(request.method, Url(origin, target), (), b"", Peer(""))


def canonical(host: str) -> str:
    """The host as rules and bindings compare it; what is none stays as it is, and the engine refuses it."""
    try:
        return canonical_host(host)
    except ValueError:
        return host


def one_cookie_header(headers: Headers) -> Headers:
    """HTTP/2 may split Cookie into several headers, HTTP/1 must not: RFC 9113, 8.2.3."""
    cookies = [value for name, value in headers if name.lower() == b"cookie"]
    if len(cookies) < 2:
        return headers
    rest = tuple(pair for pair in headers if pair[0].lower() != b"cookie")
    return (*rest, (b"Cookie", b"; ".join(cookies)))
