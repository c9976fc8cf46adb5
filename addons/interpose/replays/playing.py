"""A recorded answer as it was given: its head when that came, each piece of its body when that did.

Where the recording tells no times of pieces, the events of a stream are spread evenly over the time that it took. A
recording that broke off breaks off again. Speed 2 takes half the time, 0 none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Self

from interpose.call import Call, Headers, Reply, header, upgrades, without
from interpose.engine.witness import Witness
from interpose.errors import Refusal
from interpose.formats import FORMATS
from interpose.formats.hosts import GATEWAY, HostRow
from interpose.formats.meters import stream_kind
from interpose.recordings import Answered
from interpose.stages.claim import Territory, matched
from interpose.upstream.client import UpstreamFailure
from interpose.upstream.hops import HOP_BY_HOP
from interpose.wire.error import WireError

from .cassette import Cassette

Piece = tuple[float, bytes]
"""When (seconds after the call began), and what."""

_ENDS = {
    "sse": re.compile(rb"\r\n\r\n|\n\n|\r\r"),
    "ndjson": re.compile(rb"\n"),
}
_OF_BODY = frozenset((b"content-length", b"transfer-encoding"))


class Player:
    """Answers calls from a cassette: a front like the gateway's, with no engine behind it.

    `sleep` waits so many seconds, `speed` is how much faster time goes; 0 is at once.
    """

    def __init__(
        self,
        cassette: Cassette,
        territory: Territory,
        *,
        speed: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.answered = 0
        self.refused = 0
        self._cassette = cassette
        self._territory = territory
        self._speed = speed
        self._sleep = sleep

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        """The recorded answer; where there is none, an error in the client's format. Nobody looks on."""
        try:
            take = self._cassette.find(await held(call))
        except Refusal as refusal:
            self.refused += 1
            return self._refused(call, refusal)
        self.answered += 1
        answered = take.call.answered
        assert answered is not None
        return await self._play(answered, head_only=call.method == "HEAD")

    async def _play(self, answered: Answered, *, head_only: bool) -> Reply:
        headers, pieces = pieces_of(answered)
        size = sum(len(piece) for _, piece in pieces)
        kept = without(headers, HOP_BY_HOP | _OF_BODY)
        streams = is_stream(headers)
        if not streams and answered.error is None and answered.status not in (204, 304):
            kept = (*kept, (b"content-length", str(size).encode()))
        began = answered.began or 0.0
        await self._wait(began)
        body = Played([] if head_only else pieces, began, self._wait, broken=answered.error)
        return Reply(answered.status, answered.reason or phrase(answered.status), kept, body, streams)

    async def _wait(self, seconds: float) -> None:
        if self._speed and seconds > 0:
            await self._sleep(seconds / self._speed)

    def _refused(self, call: Call, refusal: Refusal) -> Reply:
        error = FORMATS[self._format(call)].error(refusal)
        length = (b"content-length", str(len(error.body)).encode())
        body = Played([] if call.method == "HEAD" else [(0.0, error.body)], 0.0, self._wait)
        return Reply(refusal.status, phrase(refusal.status), (*error.headers, *refusal.headers, length), body)

    def _format(self, call: Call) -> str:
        row: HostRow | None = GATEWAY if call.at_gateway else self._territory.row_of(call)
        if row is None:
            return "openai"
        return matched(call, row).format


class Played:
    """A body whose pieces come when they came."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        began: float,
        wait: Callable[[float], Awaitable[None]],
        *,
        broken: str | None = None,
    ) -> None:
        self._pieces = iter(pieces)
        self._at = began
        self._wait = wait
        self._broken = broken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        found = next(self._pieces, None)
        if found is None:
            if self._broken is not None:
                raise UpstreamFailure("disconnected", f"the recording breaks off here: {self._broken}", reached=True)
            raise StopAsyncIteration
        at, piece = found
        await self._wait(at - self._at)
        self._at = max(self._at, at)
        return piece

    async def aclose(self) -> None:
        self._pieces = iter(())


async def held(call: Call) -> Call:
    """The call with its body in memory, however long it is: recordings are compared whole.

    That of a WebSocket is what its client will say, which waits for us.
    """
    if not isinstance(call.body, bytes) and not upgrades(call.headers):
        call.body = b"".join([piece async for piece in call.body])
    return call


def is_stream(headers: Headers) -> bool:
    return stream_kind((header(headers, b"content-type") or b"").decode("latin-1")) is not None


def pieces_of(answered: Answered) -> tuple[Headers, list[Piece]]:
    """The body in pieces, and the headers that go with it."""
    headers, body = answered.headers, answered.body or b""
    ended = answered.ended if answered.ended is not None else (answered.began or 0.0)
    if answered.chunks and sum(size for _, size in answered.chunks) == len(body):
        return headers, list(_cut(body, answered.chunks))
    if not is_stream(headers):
        return headers, [(ended, body)] if body else []
    try:
        plain = answered.content() or b""
        headers = without(headers, frozenset((b"content-encoding",)))
    except WireError:
        # It is broken, and goes as it came.
        return headers, [(ended, body)]
    events = list(split(plain, headers))
    began = answered.began or 0.0
    step = max(ended - began, 0.0) / max(len(events), 1)
    return headers, [(began + step * (place + 1), event) for place, event in enumerate(events)]


def _cut(body: bytes, chunks: Sequence[tuple[float, int]]) -> list[Piece]:
    found, at = [], 0
    for when, size in chunks:
        if size:
            found.append((when, body[at : at + size]))
        at += size
    return found


def split(body: bytes, headers: Headers) -> list[bytes]:
    """A stream's events, each with its end; of a kind whose events are not seen here, the whole."""
    kind = stream_kind((header(headers, b"content-type") or b"").decode("latin-1"))
    ends = _ENDS.get(str(kind))
    if ends is None:
        return [body] if body else []
    found, start = [], 0
    for end in ends.finditer(body):
        found.append(body[start : end.end()])
        start = end.end()
    if start < len(body):
        found.append(body[start:])
    return found


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
