"""Carries one call between a mitmproxy stream and the engine: the asyncio half of `native`.

A `Carriage` turns the flow into a `Call`, asks the engine, and pumps the reply's body to the client with
backpressure on both HTTP versions. It is fail-closed by its defaults: until the last byte has been handed over,
`finished` is False, and the stream ends as broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.proxy.commands import SendData
from mitmproxy.proxy.layers.http._events import ResponseData
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.tls import ClientTLSLayer
from mitmproxy.proxy.server import ConnectionHandler

from interpose.call import Call, Entrance, Headers, Origin, Peer, Reply, Url, header
from interpose.formats.hosts import canonical_host

if TYPE_CHECKING:
    from .native import EngineStream

logger = logging.getLogger(__name__)

# An upload may run this far ahead of the upstream before the client is made to wait.
UPLOAD_AHEAD = 1024 * 1024

Handle = Callable[[Call], Awaitable[Reply]]


class Upload:
    """A request body that is still arriving: fed by the stream, read by the engine.

    `pause` and `resume` make the client wait and go on.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._more = asyncio.Event()
        self._state: str = "open"
        self._pause, self._resume = pause, resume

    @property
    def used(self) -> bool:
        return bool(self._pieces) or self._state != "open"

    def feed(self, data: bytes) -> None:
        if self._state == "unwanted" or not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._more.set()
        if self._size > UPLOAD_AHEAD:
            self._pause()

    def finish(self) -> None:
        if self._state == "open":
            self._state = "whole"
        self._more.set()

    def fail(self) -> None:
        """The client has left before the end: whoever reads this must not take it for the end."""
        if self._state == "open":
            self._state = "cut"
        self._more.set()

    def discard(self) -> None:
        """Nobody reads it any more; what still comes is dropped and the client no longer held."""
        self._state = "unwanted"
        self._pieces.clear()
        self._size = 0
        self._more.set()
        self._resume()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                data, self._pieces, self._size = b"".join(self._pieces), [], 0
                self._resume()
                yield data
            elif self._state == "open":
                self._more.clear()
                await self._more.wait()
            elif self._state == "whole":
                return
            else:
                raise ConnectionAbortedError("the client left before it had sent its request")


class Carriage:
    """One call on its way. Made for a stream; `ask` and `pump` run as hooks of its connection."""

    def __init__(self, flow: http.HTTPFlow, stream: EngineStream, handler: ConnectionHandler, handle: Handle) -> None:
        self._flow = flow
        self._stream = stream
        self._handler = handler
        self._handle = handle
        self._task: asyncio.Task[object] | None = None
        self._gone = False
        self._window = asyncio.Event()
        self._tls = [
            # Outermost first in the stack; bytes leave through the innermost first.
            each
            for each in reversed(stream.context.layers)
            if isinstance(each, ClientTLSLayer)
        ]
        self.upload = Upload(self._pause_client, self._resume_client)
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
            self.reply = await self._handle(self.call())
        except asyncio.CancelledError:
            if not self._ours():
                raise
        except Exception:
            # The engine answers its own failures; what comes here is one of the adapter's. Nothing was sent.
            logger.exception("carrying a call to %s failed", self._flow.request.host)
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
            self.upload.discard()
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
        """The client has gone: whatever runs is cancelled, which closes the upstream."""
        self._gone = True
        self.upload.fail()
        if self._task is not None:
            self._task.cancel()
        elif self.reply is not None:
            # Between the two hooks nothing runs that could be cancelled.
            closing = asyncio.ensure_future(self._close())
            closing.add_done_callback(lambda done: done.exception())

    def window_changed(self) -> None:
        self._window.set()

    def call(self) -> Call:
        """The flow as a `Call`, its headers and target as they came."""
        request = self._flow.request
        client = self._flow.client_conn
        headers: Headers = request.headers.fields
        if request.is_http2:
            # A Host beside an :authority that says otherwise makes two, which the engine refuses.
            if request.data.authority and header(headers, b"host") != request.data.authority:
                headers = ((b"Host", request.data.authority), *headers)
            headers = one_cookie_header(headers)
        host, port = client.peername[:2]
        return Call(
            method=request.method,
            url=Url(Origin(request.scheme, canonical(request.host), request.port), request.path),
            headers=headers,
            body=aiter(self.upload) if self.upload.used else request.raw_content or b"",
            peer=Peer(host, port),
            entrance=Entrance.INTERCEPT,
            sni=client.sni,
        )

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
            data = self._stream.parent.send_data(ResponseData(self._stream.stream_id, chunk))
            for tls in self._tls:
                data = b"".join(command.data for command in tls.send_data(data) if isinstance(command, SendData))
            if data:
                transport.writer.write(data)
        self._handler.timeout_watchdog.register_activity()
        await transport.writer.drain()
        await self._wait_for_window()

    async def _wait_for_window(self) -> None:
        """Holds until HTTP/2's flow control has let out what was sent: mitmproxy buffers without bound."""
        connection = self._stream.parent.connections[self._stream.context.client]
        if not isinstance(connection, Http2Server):
            return
        while connection.h2_conn.stream_buffers.get(self._stream.stream_id):
            self._window.clear()
            await self._window.wait()

    async def _close(self) -> None:
        if self.reply is not None:
            await self.reply.body.aclose()

    def _pause_client(self) -> None:
        self._reading("pause_reading")

    def _resume_client(self) -> None:
        self._reading("resume_reading")

    def _reading(self, action: str) -> None:
        io = self._handler.transports.get(self._stream.context.client)
        transport = getattr(io.writer, "transport", None) if io is not None else None
        if transport is not None and not transport.is_closing():
            getattr(transport, action)()


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
