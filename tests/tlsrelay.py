"""TLS in front of a PostgreSQL server that has none: speaks its SSLRequest, then passes on what is inside.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Iterator

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsRelay:
    """Listens at 127.0.0.1:`port` and leads to 127.0.0.1:`target`. `encrypted` and `plain` count connections: what
    comes without TLS is hung up on.
    """

    def __init__(self, target: int, context: ssl.SSLContext) -> None:
        self.port = 0
        self.encrypted = 0
        self.plain = 0
        self._target = target
        self._context = context
        self._pipes: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        behind: asyncio.StreamWriter | None = None
        try:
            if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                self.plain += 1
                return
            writer.write(b"S")
            await writer.start_tls(self._context)
            self.encrypted += 1
            there, behind = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(pump(reader, behind), pump(there, writer))
        except (OSError, EOFError, asyncio.CancelledError):  # an SSLError is an OSError
            pass
        finally:
            for each in (writer, behind):
                if each is not None:
                    each.close()

    async def hang_up(self) -> None:
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)


async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        to.write(data)
        await to.drain()
    to.close()


@contextlib.contextmanager
def encrypted(target: int, context: ssl.SSLContext) -> Iterator[TlsRelay]:
    """A relay at work, in a thread with an event loop of its own."""
    relay = TlsRelay(target, context)
    ready, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with await asyncio.start_server(relay.accept, "127.0.0.1", 0) as server:
            relay.port = server.sockets[0].getsockname()[1]
            ready.set()
            await over.wait()
            server.close()
            await relay.hang_up()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    try:
        yield relay
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join()
