"""A request body that streams through: fed by the client's connection, read by the engine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

# What is handed over at once: what was held before the body outgrew it would else be copied whole, on every layer.
SLICE = 256 * 1024


class Upload:
    """A request body that is still arriving: fed by the stream, read by the engine.

    `taken` is called with the number of bytes that wait, each time that changes: whoever holds the client's end back
    or lets it go on does so there.
    """

    def __init__(self, taken: Callable[[int], None]) -> None:
        self._pieces: deque[bytes | memoryview] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._state: Literal["unused", "open", "whole", "cut", "unwanted"] = "unused"
        self._taken = taken

    @property
    def used(self) -> bool:
        return self._state != "unused"

    def open(self) -> None:
        """From here on there is something to read, even if nothing has come yet."""
        if self._state == "unused":
            self._state = "open"

    def feed(self, data: bytes) -> None:
        self.open()
        if self._state == "unwanted" or not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._more.set()
        self._taken(self._size)

    def finish(self) -> None:
        if self._state in ("unused", "open"):
            self._state = "whole"
        self._more.set()

    def fail(self) -> None:
        """The client has left before the end: whoever reads this must not take it for the end."""
        if self._state == "open":
            self._state = "cut"
        self._more.set()

    def discard(self) -> None:
        """Nobody reads it any more; what still comes is dropped."""
        if self._state == "unused":
            return
        self._state = "unwanted"
        self._pieces.clear()
        self._size = 0
        self._more.set()
        self._taken(0)

    def _slice(self) -> bytes:
        """The next SLICE bytes, or what there is."""
        taken: list[bytes | memoryview] = []
        room = SLICE
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                view = memoryview(piece)
                self._pieces.appendleft(view[room:])
                piece = view[:room]
            taken.append(piece)
            room -= len(piece)
        data = b"".join(taken)
        self._size -= len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                data = self._slice()
                self._taken(self._size)
                yield data
            elif self._state == "open":
                self._more.clear()
                await self._more.wait()
            elif self._state == "whole":
                return
            else:
                raise ConnectionAbortedError("the client left before it had sent its request")
