"""A provider's error, held back whole while the call is tried elsewhere, and given to the client if that fails too.

Only errors, and only short ones: a reply that is longer goes to the client as it comes. What is held of other replies,
until their content begins, is in `preamble`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, Self

from interpose.call import Headers
from interpose.upstream.client import UpstreamFailure
from interpose.upstream.upgraded import Session

# An error is a few lines; what is more than this is not worth holding.
LIMIT = 64 * 1024
# So long an error may take, head to end.
SECONDS = 5.0


class Answer(Protocol):
    """What a reply is made of: an upstream's, or one that was held."""

    status: int
    reason: str
    headers: Headers
    session: Session | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __anext__(self) -> bytes: ...
    def cut(self) -> None: ...
    def linger(self) -> None: ...


class Held:
    """A reply whose beginning has been read: all of it, or all that there is going to be, if `whole`."""

    __slots__ = ("_pieces", "_reply", "_told", "headers", "reason", "session", "status", "whole")

    def __init__(self, reply: Answer, pieces: list[bytes], *, whole: bool) -> None:
        self.status = reply.status
        self.reason = reply.reason
        self.headers = reply.headers
        self.session: Session | None = None
        self.whole = whole
        self._reply = reply
        self._pieces = pieces
        self._told = 0

    @property
    def body(self) -> bytes:
        """What of it is here."""
        return b"".join(self._pieces)

    def cut_short(self, headers: Headers) -> Held:
        """The same with those headers, and with nothing after what is here."""
        short = Held(self._reply, self._pieces, whole=True)
        short.headers = headers
        return short

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._told < len(self._pieces):
            self._told += 1
            return self._pieces[self._told - 1]
        if self.whole:
            raise StopAsyncIteration
        return await self._reply.__anext__()

    def cut(self) -> None:
        self._reply.cut()

    def linger(self) -> None:
        self._reply.linger()


async def hold(reply: Answer) -> Held:
    """Reads an error. Raises UpstreamFailure if it breaks off or does not end in time."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            async for piece in reply:
                pieces.append(piece)
                size += len(piece)
                if size > LIMIT:
                    return Held(reply, pieces, whole=False)
    except TimeoutError:
        reply.cut()
        raise UpstreamFailure(
            "timeout", f"the provider answered {reply.status} and did not end its reply", reached=True
        ) from None
    return Held(reply, pieces, whole=True)
