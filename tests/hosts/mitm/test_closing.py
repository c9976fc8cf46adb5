"""A connection whose task is cancelled at the wrong moment: closed all the same."""

from __future__ import annotations

import asyncio

from mitmproxy.options import Options
from mitmproxy.proxy import events, server
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ClientDisconnectedHook

from interpose.hosts.mitm.closing import close


class Watched(asyncio.Lock):
    """Tells of each that wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Semaphore(0)

    async def acquire(self) -> bool:
        self.wanted.release()
        return await super().acquire()


class Handler(server.LiveConnectionHandler):
    """A client's connection of mitmproxy's. `left` says whether its socket was still open when its task had ended."""

    left: bool | None = None

    async def handle_hook(self, hook: StartHook) -> None:
        if isinstance(hook, ClientDisconnectedHook):
            self.left = self.client in self.transports
            await close(self, self.client)

    async def server_event(self, event: events.Event) -> None:
        self.told = type(event)
        await super().server_event(event)


async def test_a_task_cancelled_while_it_waits_for_its_turn_leaves_no_socket_behind() -> None:
    """mitmproxy itself leaves it open, and the client to wait; so does none once `close` has been asked."""
    made: asyncio.Future[Handler] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = Handler(reader, writer, Options(), ProxyMode.parse("regular"))
        handler._server_event_lock = lock
        made.set_result(handler)
        await handler.handle_client()

    lock = Watched()
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    try:
        async with asyncio.timeout(30):
            handler = await made
            # The start, and the choice of the first layer.
            await lock.wanted.acquire()
            await lock.wanted.acquire()
            async with lock:
                await lock.wanted.acquire()
                writer.write(b"x")
                await lock.wanted.acquire()
                task = handler.transports[handler.client].handler
                assert task is not None
                task.cancel("closed by command")
            assert await reader.read() == b""
            assert handler.left is True
            assert handler.told is events.ConnectionClosed
    finally:
        writer.close()
        listening.close()
