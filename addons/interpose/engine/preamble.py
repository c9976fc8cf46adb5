"""`hold: content`: what of a reply comes before its content is withheld, and judged.

A stream begins with events that promise much and say nothing (`message_start`, a ping, a chunk with a role). Providers
that are overloaded answer 200, send those, and then an error; or they hang up. As long as that is all, the client has
been sent nothing, and the call may still go elsewhere. What is released is released as it came.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import orjson

from interpose.attempts.verdicts import DECODED_LIMIT
from interpose.call import Headers, header, without
from interpose.formats.codecs import CODECS
from interpose.ir import Failed, Reading
from interpose.stages.draft import Trip
from interpose.stages.gauge import Gauge
from interpose.stages.metering import ESTIMATED_ENDPOINTS, wire_of
from interpose.wire.coding import decoder
from interpose.wire.error import WireError

from .held import Answer, Held

# So much is withheld of one reply at most. The first events of Responses repeat the whole request's instructions.
LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Preamble:
    """What has come of a reply, to be read on. `fault`: it has told an error instead of content, or ended without any;
    `reading` is then what was read of it.
    """

    held: Held
    fault: Literal["error", "empty"] | None = None
    reading: Reading | None = None


async def preamble(reply: Answer, trip: Trip, seconds: float) -> Preamble:
    """Reads a reply until its content begins: an event with text, thoughts or a call of a tool. Of a reply that is no
    stream, an answer of a model is read to its end, and anything else not at all.

    After `seconds`, or LIMIT bytes, it is let go as it is. Raises UpstreamFailure where it breaks off.
    """
    trip.gauge = gauge = Gauge(wire_of(trip), reply.headers)
    # A file or a list may well hold an error that is none of this call's.
    answer = trip.call.method == "POST" and trip.facts.endpoint in ESTIMATED_ENDPOINTS
    pieces: list[bytes] = []
    size = 0
    if not answer and not gauge.streaming:
        return Preamble(Held(reply, pieces, whole=False))
    try:
        async with asyncio.timeout(seconds):
            async for piece in reply:
                pieces.append(piece)
                size += len(piece)
                gauge.feed(piece)
                if gauge.error is not None:
                    return Preamble(Held(reply, pieces, whole=False), "error", gauge.finish())
                if gauge.begun or size > LIMIT:
                    return Preamble(Held(reply, pieces, whole=False))
    except TimeoutError:
        return Preamble(Held(reply, pieces, whole=False))
    reading = gauge.finish()
    held = Held(reply, pieces, whole=True)
    if reading.error is not None:
        return Preamble(held, "error", reading)
    if (gauge.streaming and not reading.complete) or not size:
        return Preamble(held, "empty", reading)
    return Preamble(held)


def failure_in(found: Preamble, trip: Trip) -> Failed:
    """The error that a reply has told, as its format reads it: with the status that it would have had."""
    assert found.reading is not None
    told = Failed(found.reading.error or "the provider has failed")
    codec = CODECS.get(wire_of(trip))
    if codec is None:
        return told
    plain = _plain(found.held.body, found.held.headers)
    if is_document(plain):
        # The head's status says nothing: 502 stands for what the body does not tell.
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in found.held.headers}
        return codec.read_error(told.status, headers, plain)
    reader = codec.reader()
    events = (*reader.feed(plain), *reader.close())
    return next((event for event in events if isinstance(event, Failed)), told)


def is_document(body: bytes) -> bool:
    """Whether a body is one JSON document, not a stream of them."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def ended(held: Held) -> Held:
    """An error in a stream as all that there is of it: nobody waits for more."""
    if held.whole:
        return held
    return held.cut_short(without(held.headers, frozenset((b"content-length",))))


def _plain(body: bytes, headers: Headers) -> bytes:
    coding = (header(headers, b"content-encoding") or b"").decode("latin-1")
    unpacker = decoder(coding, limit=DECODED_LIMIT) if coding else None
    try:
        return b"".join(unpacker.feed_pieces(body)) if unpacker is not None else body
    except WireError:
        return b""
