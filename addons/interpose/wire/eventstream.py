"""AWS event streams (application/vnd.amazon.eventstream): bytes to messages and back.

A message is: total length, headers' length, CRC-32 of these two, headers, payload, CRC-32 of all before; numbers are
big-endian (https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream and
https://smithy.io/2.0/aws/amazon-eventstream.html). What a message means is not known here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from .error import WireError

DEFAULT_LIMIT = 32 * 1024 * 1024
# The specification allows 128 KiB of headers in a message.
HEADERS_LIMIT = 128 * 1024
# How many sets of headers of one stream are remembered, and how large one may be.
KNOWN_LIMIT = 16
KNOWN_SIZE = 512
PRELUDE = 12
OVERHEAD = 16


class Timestamp(int):
    """Milliseconds since the epoch, UTC. Not a datetime, for a hostile one would lie outside of a datetime's range."""


HeaderValue = bool | int | str | bytes | Timestamp | UUID


class Message(NamedTuple):
    headers: dict[str, HeaderValue]
    payload: bytes


# By type number: fixed sizes as a struct format. 0 and 1 are true and false and have no bytes at all.
_FIXED = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_PRELUDE = struct.Struct(">III")
_LENGTHS = struct.Struct(">II")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")


class EventStreamDecoder:
    """Gives messages as they complete, both checksums verified.

    Raises WireError on a wrong checksum, a malformed header or a message over `limit` bytes; the messages before it
    are given first. After an error nothing more is read: an event stream has no point to start again from.
    """

    __slots__ = ("_buffer", "_error", "_known", "_limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._buffer = bytearray()
        # The messages of a stream have few different sets of headers: each is parsed once.
        self._known: dict[bytes, dict[str, HeaderValue]] = {}
        self._limit = limit
        self._error: WireError | None = None

    def feed(self, data: bytes) -> list[Message]:
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        try:
            while len(buffer) - start >= PRELUDE:
                size = self._size(start)
                if len(buffer) - start < size:
                    break
                messages.append(self._message(bytes(buffer[start : start + size])))
                start += size
        except WireError as error:
            self._error = error
            buffer.clear()
            if not messages:
                raise
        else:
            del buffer[:start]
        return messages

    def finish(self) -> list[Message]:
        """Always empty: a message that is not whole is none. Raises WireError if the end came inside a message."""
        if self._error is not None:
            raise self._error
        if self._buffer:
            raise WireError(f"the event stream ends inside a message, after {len(self._buffer)} bytes of it")
        return []

    def _size(self, start: int) -> int:
        """The total size of the message at `start`, from a prelude whose checksum holds."""
        size, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if crc32(self._buffer[start : start + 8]) != checksum:
            raise WireError("the checksum of an event stream message's prelude is wrong")
        if size > self._limit:
            raise WireError(f"an event stream message of {size} bytes is larger than {self._limit}")
        if headers > HEADERS_LIMIT or size < headers + OVERHEAD:
            raise WireError(f"an event stream message of {size} bytes cannot hold {headers} bytes of headers")
        return int(size)

    def _message(self, raw: bytes) -> Message:
        if crc32(memoryview(raw)[:-4]) != _U32.unpack_from(raw, len(raw) - 4)[0]:
            raise WireError("the checksum of an event stream message is wrong")
        end = PRELUDE + _U32.unpack_from(raw, 4)[0]
        told = raw[PRELUDE:end]
        headers = self._known.get(told)
        if headers is None:
            headers = _headers(raw, end)
            if len(self._known) < KNOWN_LIMIT and len(told) <= KNOWN_SIZE:
                self._known[told] = headers
        return Message(dict(headers), raw[end:-4])


def _headers(raw: bytes, end: int) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = PRELUDE
    try:
        while at < end:
            length = raw[at]
            name = _slice(raw, at + 1, length, end).decode("utf-8")
            if name in headers:
                raise WireError(f"an event stream message has the header {name[:40]!r} twice")
            at += 1 + length
            headers[name], at = _value(raw, at, end)
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"an event stream message has a malformed header: {error}") from None
    return headers


def _slice(raw: bytes, start: int, length: int, end: int) -> bytes:
    """Raises WireError if that slice goes beyond `end`: what lies there belongs to the payload."""
    if start + length > end:
        raise WireError("a header of an event stream message is longer than its headers")
    return raw[start : start + length]


def _value(raw: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
    """The typed value at `at`, and where the next header begins."""
    kind = _slice(raw, at, 1, end)[0]
    at += 1
    if kind in (0, 1):
        return kind == 0, at
    if (fixed := _FIXED.get(kind)) is not None:
        return int(fixed.unpack(_slice(raw, at, fixed.size, end))[0]), at + fixed.size
    if kind in (6, 7):
        length = _U16.unpack(_slice(raw, at, 2, end))[0]
        value = _slice(raw, at + 2, length, end)
        return (value if kind == 6 else value.decode("utf-8")), at + 2 + length
    if kind == 8:
        return Timestamp(_I64.unpack(_slice(raw, at, 8, end))[0]), at + 8
    if kind == 9:
        return UUID(bytes=_slice(raw, at, 16, end)), at + 16
    raise WireError(f"a header of an event stream message has the unknown type {kind}")


def encode_message(headers: Mapping[str, HeaderValue], payload: bytes = b"") -> bytes:
    """One message. Integers are written in four bytes if they fit, else in eight; a Timestamp as such.

    Raises WireError for what the format cannot hold: a name or value too long, an integer beyond 64 bits.
    """
    return framed(encode_headers(headers), payload)


def encode_headers(headers: Mapping[str, HeaderValue]) -> bytes:
    """A message's headers, for `framed`: many messages have the same. Raises WireError as `encode_message` does."""
    try:
        head = b"".join(_encode_name(name) + _encode_value(value) for name, value in headers.items())
    except struct.error as error:
        raise WireError(f"not encodable in an event stream: {error}") from None
    if len(head) > HEADERS_LIMIT:
        raise WireError(f"the headers of an event stream message are larger than {HEADERS_LIMIT} bytes")
    return head


def framed(head: bytes, payload: bytes) -> bytes:
    """One message with headers that are encoded already."""
    try:
        lengths = _LENGTHS.pack(len(head) + len(payload) + OVERHEAD, len(head))
    except struct.error as error:
        raise WireError(f"not encodable in an event stream: {error}") from None
    body = lengths + _U32.pack(crc32(lengths)) + head + payload
    return body + _U32.pack(crc32(body))


def _encode_name(name: str) -> bytes:
    raw = name.encode()
    if not 1 <= len(raw) <= 255:
        raise WireError("the name of an event stream header has 1 to 255 bytes")
    return bytes((len(raw),)) + raw


def _encode_value(value: HeaderValue) -> bytes:
    match value:
        case bool():
            return b"\x00" if value else b"\x01"
        case Timestamp():
            return b"\x08" + _I64.pack(value)
        case int():
            return struct.pack(">Bi", 4, value) if -(2**31) <= value < 2**31 else b"\x05" + _I64.pack(value)
        case UUID():
            return b"\x09" + value.bytes
        case bytes():
            return b"\x06" + _U16.pack(len(value)) + value
        case str():
            raw = value.encode()
            return b"\x07" + _U16.pack(len(raw)) + raw
