"""A local upstream which plays the provider hosts: a raw HTTP/1.1 server, over TLS or plain, scripted byte by byte.

It keeps every request exactly as it came (head, body, chunk framing) and writes only what the test's handler says, so
that a test can cut, stall, reset or gate a reply at any byte. It knows nothing of the proxy.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Header = tuple[bytes, bytes]

# Reading stops while this many bytes wait for a handler that does not take them: the upstream's own backpressure.
READ_AHEAD = 1 << 18
WRITE_AHEAD = 1 << 16


class Gone(ConnectionError):
    """The other side has closed the connection while a handler was still writing or reading."""


class MalformedRequest(ValueError):
    """What came is not HTTP/1.1 framing that this server understands."""


@dataclass(slots=True)
class Request:
    """One request as it came.

    `head` is everything up to and including the blank line; `raw_body` is the body with its chunk framing, `body`
    without. Header names and values are as sent (values without the surrounding blanks).
    """

    head: bytes
    method: bytes
    target: bytes
    headers: list[Header]
    connection: Connection
    body: bytearray = field(default_factory=bytearray)
    raw_body: bytearray = field(default_factory=bytearray)

    def values(self, name: str) -> list[bytes]:
        """All values of the header `name`, in order."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    @property
    def path(self) -> str:
        return self.target.partition(b"?")[0].decode("latin-1")

    def anywhere(self, text: str) -> bool:
        """Whether `text` stands anywhere in the head or the body."""
        return text.encode() in self.head or text.encode() in self.body


def parse_head(head: bytes) -> tuple[bytes, list[Header]]:
    """(first line, headers) of a message head. Raises MalformedRequest."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise MalformedRequest(f"bad header line {line!r}")
        headers.append((name, value.strip()))
    return first, headers


class Connection(asyncio.Protocol):
    """One accepted connection: the bytes that came, the requests on it, and when the other side left."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = True
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()
        self.gone_at: float | None = None
        self.sni: str | None = None
        self.requests: list[Request] = []
        self.written = 0
        self.busy = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self.sni = self._upstream.sni_of(transport.get_extra_info("ssl_object"))
        self._upstream.connections.append(self)
        self._upstream.accepted += 1
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._reading and len(self._buffer) > READ_AHEAD:
            self._reading = False
            self.transport.pause_reading()
        self._wake.set()

    def eof_received(self) -> None:
        self._left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _left(self) -> None:
        if not self.gone.is_set():
            self.gone_at = asyncio.get_running_loop().time()
            self.gone.set()
        self._wake.set()
        self._writable.set()

    # What handlers call.

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def send(self, data: bytes) -> None:
        """Writes `data` and waits until little of it is still ours to send. Raises Gone."""
        await self._writable.wait()
        if self.gone.is_set():
            raise Gone
        self.transport.write(data)
        self.written += len(data)
        await self._writable.wait()

    def reset(self) -> None:
        """Ends the connection with a TCP RST, whatever is still unsent."""
        raw: socket.socket = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def close(self) -> None:
        """Ends the connection in good order (TLS close_notify, FIN) once everything written is sent."""
        self.transport.close()

    # Reading requests.

    async def _more(self) -> None:
        if self.gone.is_set():
            raise Gone
        self._wake.clear()
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()
        await self._wake.wait()

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            await self._more()
        data = bytes(self._buffer[: end + len(mark)])
        del self._buffer[: end + len(mark)]
        return data

    async def _exactly(self, count: int, *into: bytearray) -> None:
        while count:
            if not self._buffer:
                await self._more()
                continue
            piece = self._buffer[:count]
            del self._buffer[:count]
            count -= len(piece)
            for target in into:
                target.extend(piece)

    async def read_some(self) -> bytes:
        """What has come, at least a byte. Raises Gone."""
        while not self._buffer:
            await self._more()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def read_frame(self) -> bytes:
        """One short WebSocket frame of a client, mask and all: RFC 6455, 5.2."""
        frame = bytearray()
        await self._exactly(2, frame)
        await self._exactly((4 if frame[1] & 0x80 else 0) + (frame[1] & 0x7F), frame)
        return bytes(frame)

    async def read_head(self) -> Request:
        head = await self._until(b"\r\n\r\n")
        line, headers = parse_head(head)
        method, target, version = line.split(b" ")
        if version != b"HTTP/1.1":
            raise MalformedRequest(f"bad request line {line!r}")
        return Request(head, method, target, headers, self)

    async def read_body(self, request: Request) -> None:
        codings, lengths = request.values("transfer-encoding"), request.values("content-length")
        if codings:
            if codings != [b"chunked"] or lengths:
                raise MalformedRequest(f"transfer-encoding {codings}, content-length {lengths}")
            await self._read_chunks(request)
        elif lengths:
            if len(lengths) > 1:
                raise MalformedRequest(f"content-length {lengths}")
            await self._exactly(int(lengths[0]), request.body)
            request.raw_body = request.body

    async def _read_chunks(self, request: Request) -> None:
        while True:
            line = await self._until(b"\r\n")
            request.raw_body += line
            size = int(line.partition(b";")[0], 16)
            await self._exactly(size, request.raw_body, *([request.body] if size else []))
            end = await self._until(b"\r\n")
            request.raw_body += end
            if end != b"\r\n":
                raise MalformedRequest(f"bad chunk end {end!r}")
            if not size:
                return

    async def _serve(self) -> None:
        try:
            while not self.transport.is_closing():
                request = await self.read_head()
                handler = self._upstream.handler
                self.requests.append(request)
                self._upstream.requests.append(request)
                self._upstream.arrived.set()
                exchange = Exchange(request, self)
                if handler not in self._upstream.reads_itself:
                    await self.read_body(request)
                self.busy = True
                await handler(exchange)
                self.busy = False
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the test's to see: in `failures`
            self._upstream.failures.append(error)
            self.transport.abort()

    async def finished(self) -> None:
        """Waits until the last handler on this connection has returned."""
        if self._task is not None:
            await self._task

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()


class Exchange:
    """One request and the means to answer it, byte by byte."""

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.connection = connection

    @property
    def gone(self) -> asyncio.Event:
        return self.connection.gone

    async def send(self, data: bytes) -> None:
        """Raw bytes. Raises Gone."""
        await self.connection.send(data)

    async def start(self, status: int = 200, headers: list[Header] | None = None, reason: str = "OK") -> None:
        """The status line and `headers` exactly as given; no framing is added."""
        await self.send(head_bytes(status, headers or [], reason))

    async def reply(
        self, body: bytes = b"", status: int = 200, headers: list[Header] | None = None, reason: str = "OK"
    ) -> None:
        """A whole reply with a content-length."""
        framed = [*(headers or []), (b"content-length", str(len(body)).encode())]
        await self.send(head_bytes(status, framed, reason) + body)

    async def json(self, body: bytes, status: int = 200) -> None:
        await self.reply(body, status, [(b"content-type", b"application/json")])

    async def stream(self, content_type: str, status: int = 200) -> None:
        """The head of a chunked reply; then come `chunk` and `end`."""
        await self.start(status, [(b"Content-Type", content_type.encode()), (b"Transfer-Encoding", b"chunked")])

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """The last chunk."""
        await self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        self.connection.reset()

    def close(self) -> None:
        self.connection.close()


Handler = Callable[[Exchange], Awaitable[None]]


def head_bytes(status: int, headers: list[Header], reason: str = "OK") -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def unscripted(exchange: Exchange) -> None:
    """What an upstream says that no test has told what to say: a call that should not have come stands out."""
    await exchange.json(b'{"unscripted": true}', 418)


class Upstream:
    """The server: `handler` answers each request; `requests` and `connections` are what came, in order.

    `sni` names the host of every TLS ClientHello, also of handshakes that failed. `failures` are exceptions of
    handlers and of the parser: a test that leaves one behind has failed. `arrived` is set by the head of a request,
    `accepted` counts connections.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._names: dict[int, str | None] = {}
        self.handler: Handler = unscripted
        self.reads_itself: set[Handler] = set()
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.sni: list[str | None] = []
        self.failures: list[Exception] = []
        self.arrived = asyncio.Event()
        self.port = 0
        self.accepted = 0
        if tls is not None:
            tls.sni_callback = self._hello

    def _hello(self, ssl_object: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.sni.append(name)
        self._names[id(ssl_object)] = name

    def sni_of(self, ssl_object: ssl.SSLObject | None) -> str | None:
        """The server name that the connection with this TLS object asked for."""
        return self._names.pop(id(ssl_object), None)

    async def __aenter__(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.cancel()

    @contextmanager
    def answering(self, handler: Handler, *, reads_itself: bool = False) -> Iterator[Upstream]:
        """Answers with `handler`; afterwards handlers still at work are cancelled and their exceptions are raised.

        A handler that `reads_itself` is called before the body has been read, and calls `connection.read_body`.
        """
        self.clear()
        self.handler = handler
        if reads_itself:
            self.reads_itself.add(handler)
        try:
            yield self
        finally:
            self.handler = unscripted
            self.reads_itself.discard(handler)
            for connection in self.connections:
                if connection.busy:
                    connection.cancel()
        if self.failures:
            raise ExceptionGroup("the upstream's handlers failed", self.failures)

    def clear(self) -> None:
        """Forgets requests, failures and closed connections; open ones stay usable and start empty."""
        self.requests.clear()
        self.failures.clear()
        self.sni.clear()
        self.arrived.clear()
        self.connections = [connection for connection in self.connections if not connection.gone.is_set()]
        for connection in self.connections:
            connection.requests.clear()

    @property
    def request(self) -> Request:
        """The one request that came."""
        assert len(self.requests) == 1, f"{len(self.requests)} requests came, not one"
        return self.requests[0]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"
