"""A body as it is kept: its content coding undone, a WebSocket's frames read; and which of its bytes came when.

Bounded: no more comes out than was asked for, however small what went in.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import orjson

from interpose.wire.coding import decoder
from interpose.wire.error import WireError
from interpose.wire.websocket import Messages

from .pieces import Moment

# What a decoder may give for the smallest piece that it takes: zstd 4 MiB.
AT_ONCE = 8 << 20


@dataclass(frozen=True, slots=True)
class Plain:
    """`moments` are (milliseconds, where what came then ends in `data`); `whole` says that nothing is missing at the
    end. `undecodable`: there is less of it, or nothing, for its coding could not be undone.
    """

    data: bytes
    moments: tuple[Moment, ...]
    whole: bool
    undecodable: bool = False


def plain(chunks: Sequence[bytes], moments: Sequence[Moment], size: int, coding: str, limit: int) -> Plain:
    """A body of `size` bytes whose beginning is `chunks`: at most `limit` bytes and a piece."""
    raw = b"".join(chunks)
    ends = [(ms, end) for (ms, _), end in zip(moments, accumulate(count for _, count in moments), strict=True)]
    if not coding or coding.lower() == "identity":
        return Plain(raw[:limit], tuple(ends), whole=len(raw) == size and size <= limit)
    unpacker = decoder(coding, limit=limit + AT_ONCE)
    if unpacker is None:
        return Plain(b"", (), whole=False, undecodable=bool(size))
    data = bytearray()
    came: list[Moment] = []
    at = 0
    try:
        for ms, end in ends:
            for piece in unpacker.feed_pieces(raw[at:end]):
                data += piece
                if len(data) >= limit:
                    return Plain(bytes(data[:limit]), (*came, (ms, limit)), whole=False)
            at = end
            came.append((ms, len(data)))
    except WireError:
        return Plain(bytes(data), tuple(came), whole=False, undecodable=True)
    return Plain(bytes(data), tuple(came), whole=len(raw) == size)


def spoken(
    chunks: Sequence[bytes], moments: Sequence[Moment], size: int, agreed: bytes, limit: int, *, client: bool
) -> Plain:
    """What one side of a WebSocket has said: a JSON object a line for each message."""
    messages = Messages(from_client=client, agreed=agreed, limit=limit)
    raw = b"".join(chunks)
    data = bytearray()
    came: list[Moment] = []
    at = 0
    try:
        for (ms, _), end in zip(moments, accumulate(count for _, count in moments), strict=True):
            for line in _lines(messages, raw[at:end], ms):
                data += line
                if len(data) >= limit:
                    return Plain(bytes(data[:limit]), (*came, (ms, limit)), whole=False)
            at = end
            came.append((ms, len(data)))
        if messages.close_code is not None:
            data += _line(came[-1][0], "close", messages.close_code)
            came.append((came[-1][0], len(data)))
    except WireError:
        return Plain(bytes(data), tuple(came), whole=False, undecodable=True)
    return Plain(bytes(data), tuple(came), whole=len(raw) == size)


def _lines(messages: Messages, raw: bytes, ms: float) -> Iterator[bytes]:
    for message in messages.feed(raw):
        if message.data is None:
            yield _line(ms, "large", None)
        elif message.text:
            yield _line(ms, "text", message.data.decode("utf-8", "replace"))
        else:
            yield _line(ms, "binary", base64.b64encode(message.data).decode())


def _line(ms: float, kind: str, content: object) -> bytes:
    return orjson.dumps({"ms": round(ms, 3), kind: content}) + b"\n"
