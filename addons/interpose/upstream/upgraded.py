"""A connection to an upstream that has switched to WebSocket: raw bytes both ways, with backpressure both ways.

The pool's connection is taken over for good, the way the client library takes it for a WebSocket of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import aiohttp

# Beyond this, what the upstream sends waits in its socket; below the other, it may go on.
HELD = 1024 * 1024
LOW = 256 * 1024
# When the client has said goodbye, the upstream gets so long to do so too.
FAREWELL = 5.0


class Incoming:
    """What the upstream sends: fed by its protocol in the place of a parser, read as an async iterator."""

    def __init__(self, protocol: aiohttp.client_proto.ResponseHandler) -> None:
        self._protocol = protocol
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._more = asyncio.Event()
        self._held = False

    # As the protocol calls a parser.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if data:
            self._pieces.append(bytes(data))
            self._size += len(data)
            self._more.set()
            if self._size > HELD and not self._held:
                self._held = True
                self._protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._more.set()

    # As the protocol calls the payload of one.

    def set_exception(self, exc: BaseException, cause: BaseException | None = None) -> None:
        self.feed_eof()

    def is_eof(self) -> bool:
        return self._ended

    async def read(self) -> bytes:
        """What has come since the last time; b"" at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._more.clear()
            await self._more.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._held:
            self._held = False
            if self._protocol.transport is not None:
                self._protocol.resume_reading()
        return data


class Session:
    """The upgraded connection. Iterating gives what the upstream sends; `carry` sends what the client does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        connection = response.connection
        protocol = connection.protocol if connection is not None else None
        if connection is None or protocol is None or protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        self._response = response
        self._protocol = protocol
        self._transport = protocol.transport
        self._incoming = Incoming(protocol)
        self._sending: asyncio.Task[None] | None = None
        protocol.set_parser(self._incoming, self._incoming)

    def carry(self, body: AsyncIterator[bytes]) -> None:
        """Sends what `body` yields in the background. At its end the upstream is given FAREWELL seconds to end, too;
        where it breaks off, the connection is cut.
        """
        self._sending = asyncio.get_running_loop().create_task(self._send(body))

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        try:
            async for piece in body:
                if self._transport.is_closing():
                    return
                self._transport.write(piece)
                await self._protocol._drain_helper()
            await asyncio.sleep(FAREWELL)
        except (OSError, aiohttp.ClientError):
            pass  # either side has vanished: what is left to do is the same
        self.cut()

    async def read(self) -> bytes:
        return await self._incoming.read()

    def cut(self) -> None:
        """Closes the connection at once."""
        if self._sending is not None and self._sending is not asyncio.current_task():
            self._sending.cancel()
        if not self._transport.is_closing():
            self._transport.abort()
        self._response.close()
