"""The bodies that replies have: an upstream's on its way, one that is converted as it comes, one of our own.

Each tells its exchange how it ended, whoever comes first; what that means is the exchange's to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from interpose.errors import Outcome
from interpose.formats.usagechunks import tells_usage_alone
from interpose.stages.translation import Return
from interpose.upstream.client import UpstreamFailure
from interpose.wire.sse import RawEvents

if TYPE_CHECKING:
    from .exchange import Exchange
    from .held import Answer

logger = logging.getLogger(__name__)


class Flowing:
    """An upstream's body on its way to the client."""

    __slots__ = ("_exchange", "_upstream")

    def __init__(self, exchange: Exchange, upstream: Answer) -> None:
        self._exchange = exchange
        self._upstream = upstream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._upstream.__anext__()
            self._exchange.arrived(chunk)
        except StopAsyncIteration:
            self._exchange.settle("ok")
            raise
        except UpstreamFailure as failure:
            self._exchange.settle("truncated", str(failure))
            raise
        except Exception as error:
            # Ours, not the upstream's: the client gets a broken reply, the record the truth.
            self._exchange.settle("error", f"interpose failed: {type(error).__name__}")
            raise
        return chunk

    def fail(self, error: Exception) -> None:
        """What was made of it has failed: the provider is hung up on."""
        self._exchange.settle("error", f"interpose failed: {type(error).__name__}")
        self._upstream.cut()

    def give_up(self) -> None:
        """It has told an error, or what cannot be read: whatever follows, the client has got an error."""
        self._exchange.settle("error", "the stream tells an error, or cannot be read")
        self._upstream.linger()

    async def aclose(self) -> None:
        self._exchange.abort()


class Translated:
    """An upstream's stream in the client's format. One that breaks off ends in an error of that format.

    `masked` takes out of each piece what must be seen by nobody: these bytes are ours, not the provider's.
    """

    __slots__ = ("_back", "_done", "_flowing", "_masked")

    def __init__(self, flowing: Flowing, back: Return, masked: Callable[[bytes], bytes]) -> None:
        self._flowing = flowing
        self._back = back
        self._masked = masked
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._done:
            if data := await self._next():
                return self._masked(data)
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        try:
            data = self._back.feed(await self._flowing.__anext__())
        except StopAsyncIteration:
            self._done = True
            return self._back.close()
        except UpstreamFailure as failure:
            self._done = True
            return self._back.fail(f"{failure}.")
        except Exception as error:
            logger.exception("converting a reply failed")
            self._done = True
            self._flowing.fail(error)
            return self._back.fail("interpose failed to convert this reply.")
        if self._back.failed is not None:
            self._done = True
            self._flowing.give_up()
        return data

    async def aclose(self) -> None:
        self._done = True
        await self._flowing.aclose()


class WithoutUsage:
    """A stream of OpenAI's format without the chunk of usage that the rules, and not the client, have asked for.

    Every other byte stays as it came; an event is passed on when its blank line is there.
    """

    __slots__ = ("_end", "_events", "_flowing")

    def __init__(self, flowing: Flowing) -> None:
        self._flowing = flowing
        self._events = RawEvents()
        self._end: StopAsyncIteration | UpstreamFailure | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while self._end is None:
            try:
                chunk = await self._flowing.__anext__()
            except (StopAsyncIteration, UpstreamFailure) as end:
                self._end, kept = end, self._events.rest()
            else:
                kept = b"".join(event for event in self._events.feed(chunk) if not tells_usage_alone(event))
            if kept:
                return kept
        raise self._end

    async def aclose(self) -> None:
        await self._flowing.aclose()


class Local:
    """A body of our own: one chunk."""

    __slots__ = ("_data", "_exchange", "_outcome")

    def __init__(self, exchange: Exchange, data: bytes, outcome: Outcome) -> None:
        self._exchange = exchange
        self._data: bytes | None = data
        self._outcome: Outcome = outcome

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._data is None:
            self._exchange.settle(self._outcome)
            raise StopAsyncIteration
        data, self._data = self._data, None
        return data

    async def aclose(self) -> None:
        self._exchange.settle(self._outcome)

    def whole(self) -> bytes:
        """All of it at once, which settles the call: for a host that cannot wait."""
        data, self._data = self._data or b"", None
        self._exchange.settle(self._outcome)
        return data
