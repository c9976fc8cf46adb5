"""A forward proxy of the simplest kind: each CONNECT leads where the test says, and what passes is counted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Passed:
    """Bytes behind the CONNECT to one authority: from the client, and to it."""

    up: int = 0
    down: int = 0


class Relay:
    """Leads to `target`, or to what `others` say of an authority ("host:port").

    `passed` holds what passed by authority, over all connections that named it.
    """

    def __init__(self, target: tuple[str, int], others: Mapping[str, tuple[str, int]] | None = None) -> None:
        self._target = target
        self._others = others or {}
        self._server: asyncio.Server | None = None
        self._tunnels: set[asyncio.Task[None]] = set()
        self.passed: defaultdict[str, Passed] = defaultdict(Passed)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for tunnel in list(self._tunnels):
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)
        behind: asyncio.StreamWriter | None = None
        try:
            method, authority, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
            assert method == "CONNECT", method
            there, behind = await asyncio.open_connection(*self._others.get(authority, self._target))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            passed = self.passed[authority]
            await asyncio.gather(self._pump(reader, behind, passed, "up"), self._pump(there, writer, passed, "down"))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # one side has left
        finally:
            writer.close()
            if behind is not None:
                behind.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passed: Passed, direction: str
    ) -> None:
        try:
            while data := await source.read(1 << 16):
                setattr(passed, direction, getattr(passed, direction) + len(data))
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()
