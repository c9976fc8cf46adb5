"""Raw HTTP/1.1 clients: they write the bytes a test gives them, through a CONNECT tunnel, by absolute-form or directly.

Responses are parsed by an own small reader that says how a body ended, so that a cut is never taken for an end.
HTTP/2 lives in h2client.py.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from .upstream import Header, parse_head

# Generous for a slow two-core machine; reaching it is a failure, never a step of a test.
PATIENCE = 30.0
PIECE = 1 << 16

# How a body ended: by its own framing, or cut before it (by an orderly close or a reset).
Ending = Literal["complete", "closed", "reset"]


class ConnectRefused(ConnectionError):
    """The proxy answered CONNECT with something else than 200."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"CONNECT was answered {response.status}: {bytes(response.body[:300])!r}")
        self.response = response


@dataclass(slots=True)
class Response:
    """One response: its head as it came, its body without framing, and how the body ended."""

    status: int
    head: bytes
    headers: list[Header]
    body: bytearray = field(default_factory=bytearray)
    ending: Ending = "complete"

    def values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str) -> bytes | None:
        return next(iter(self.values(name)), None)

    @property
    def complete(self) -> bool:
        return self.ending == "complete"


def client_tls(ca: Path | None, *alpn: str) -> ssl.SSLContext:
    """A client's TLS context trusting `ca` alone, or nothing verified where a test attacks (ca None)."""
    if ca is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(list(alpn or ("http/1.1",)))
    return context


def request_bytes(method: str, target: str, host: str, *headers: tuple[str, str], body: bytes | None = None) -> bytes:
    """A request on the wire: Host first, then `headers`, then a Content-Length if there is a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Client:
    """One client connection. `send` writes raw bytes; `head`, `piece` and `response` read replies in turn."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._remaining: int | None = 0
        self._chunked = False

    @classmethod
    async def direct(
        cls,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None = None,
        sni: str | None = None,
        local: str | None = None,
        receive_buffer: int | None = None,
    ) -> Self:
        """A connection to `address`, from the local address `local`, with TLS at once if `tls` is given."""
        raw = socket.socket()
        raw.setblocking(False)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if local is not None:
            raw.bind((local, 0))
        await asyncio.get_running_loop().sock_connect(raw, address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(
            sock=raw, ssl=tls, server_hostname=(sni or address[0]) if tls else None
        )
        return cls(reader, writer)

    @classmethod
    async def tunnel(
        cls,
        proxy: tuple[str, int],
        target: str,
        *,
        tls: ssl.SSLContext | None,
        sni: str | None = None,
        local: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        receive_buffer: int | None = None,
    ) -> Self:
        """CONNECT to `target` ("host:port"), then TLS with the name `sni` (default: the target's host).

        Raises ConnectRefused if CONNECT is not answered 200.
        """
        client = await cls.direct(proxy, local=local, receive_buffer=receive_buffer)
        try:
            client.writer.write(request_bytes("CONNECT", target, target, *headers))
            response = await client.head()
            if response.status != 200:
                await client.body(response)
                raise ConnectRefused(response)
            if tls is not None:
                name = sni if sni is not None else target.rpartition(":")[0].strip("[]")
                async with asyncio.timeout(PATIENCE):
                    await client.writer.start_tls(tls, server_hostname=name)
        except BaseException:
            client.writer.transport.abort()
            raise
        return client

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, method: str = "GET") -> Response:
        """The next response's head; informational (1xx) ones are passed over.

        Raises asyncio.IncompleteReadError or ConnectionError if the connection ends before it.
        """
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            while raw.split(b" ", 2)[1].startswith(b"1") and raw.split(b" ", 2)[1] != b"101":
                raw = await self.reader.readuntil(b"\r\n\r\n")
        line, headers = parse_head(raw)
        response = Response(int(line.split(b" ", 2)[1]), raw, headers)
        lengths = response.values("content-length")
        self._chunked = response.values("transfer-encoding") == [b"chunked"]
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            self._chunked, self._remaining = False, 0
        elif self._chunked or not lengths:
            self._remaining = None
        else:
            self._remaining = int(lengths[0])
        return response

    async def piece(self, response: Response) -> bytes:
        """Some more of the body, b"" at its end; `response.ending` then says what kind of end it was."""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await (self._chunk() if self._chunked else self._plain(response))
        except asyncio.IncompleteReadError:
            response.ending = "closed"
            return b""
        except (ConnectionError, ssl.SSLError):
            response.ending = "reset"
            return b""
        response.body += data
        return data

    async def _plain(self, response: Response) -> bytes:
        if self._remaining == 0:
            return b""
        data = await self.reader.read(PIECE if self._remaining is None else min(PIECE, self._remaining))
        if not data and (self._remaining is not None or self._chunked):
            raise asyncio.IncompleteReadError(b"", self._remaining)
        if self._remaining is not None:
            self._remaining -= len(data)
        return data

    async def _chunk(self) -> bytes:
        if self._remaining == 0:
            return b""
        size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        data = await self.reader.readexactly(size)
        end = await self.reader.readexactly(2)
        if end != b"\r\n":
            raise ConnectionError(f"bad chunk end {end!r}")
        if not size:
            self._remaining = 0
        return data

    async def body(self, response: Response) -> Response:
        """Reads the body to its end."""
        while await self.piece(response):
            pass
        return response

    async def body_until(self, response: Response, mark: bytes) -> bytes:
        """Reads until `mark` stands in the body; returns the body so far. Fails if the body ends before."""
        while mark not in response.body:
            assert await self.piece(response), f"the body ended ({response.ending}) before {mark!r} came"
        return bytes(response.body)

    async def response(self, method: str = "GET") -> Response:
        """The next whole response to a request by `method`."""
        return await self.body(await self.head(method))

    async def request(
        self, method: str, target: str, host: str, *headers: tuple[str, str], body: bytes | None = None
    ) -> Response:
        """Sends one request and reads its whole response."""
        await self.send(request_bytes(method, target, host, *headers, body=body))
        return await self.response(method)

    async def at_end(self) -> bool:
        """Waits until the other side has closed; False if bytes come instead."""
        try:
            async with asyncio.timeout(PATIENCE):
                return not await self.reader.read(1)
        except (ConnectionError, ssl.SSLError):
            return True

    def abort(self) -> None:
        """Leaves at once, without a goodbye."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass  # the other side was faster

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
