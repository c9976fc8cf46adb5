"""Meters: bytes of a reply body to a reading, one class for each framing.

The framing is decided by the first bytes, with the content type as a hint: streams come under odd types, streaming
requests are answered with a plain JSON error, and Gemini streams one JSON array. A meter never raises; broken bytes
are a flaw, a stream that merely ends early is not one: it is incomplete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from interpose.ir import Reading
from interpose.wire.error import WireError
from interpose.wire.eventstream import EventStreamDecoder, Message
from interpose.wire.jsonarray import JsonArrayDecoder
from interpose.wire.ndjson import NdjsonDecoder
from interpose.wire.sse import SseDecoder, SseEvent

from .reader import Json, Reader, bare_message, error_message, objects, parse

Framing = Literal["sse", "ndjson", "eventstream"]

JSON_LIMIT = 32 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
SSE_FIELDS = (b"data", b"event", b"id:", b"retry", b":")
LONGEST_FIELD = 5


class Meter(Protocol):
    """Reads along one reply body.

    `streaming` says that the body is a stream of events, whatever its content type: known with its first bytes, and
    False until then. A stream's end has to be seen; a document that parses is whole.
    """

    @property
    def streaming(self) -> bool: ...

    @property
    def begun(self) -> bool:
        """Whether content has begun, or the reply has ended without any: what comes before is a preamble. True of a
        body in which nobody can tell.
        """

    @property
    def error(self) -> str | None:
        """The error that the reply has told so far."""

    def feed(self, data: bytes) -> None:
        """Takes decoded bytes, cut anywhere. Never raises."""

    def finish(self) -> Reading:
        """What was read, also from a body that broke off. Never raises; call it once."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How the bodies of one wire format are read."""

    reader: Callable[[], Reader]
    framing: Framing = "sse"
    array: bool = False  # a stream may also be one JSON array
    opaque: bool = False  # a body that is no JSON is a good one: audio, files, subtitles


class NoMeter:
    """For bodies that tell no usage: what HTTP calls the end is the end."""

    __slots__ = ()
    streaming = False
    begun = True
    error = None

    def feed(self, data: bytes) -> None:
        pass

    def finish(self) -> Reading:
        return Reading(complete=True)


class _Framed:
    """A meter around a reader and a decoder; after broken framing the rest is not looked at."""

    __slots__ = ("_broken", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._broken = False

    @property
    def streaming(self) -> bool:
        return True

    @property
    def begun(self) -> bool:
        reader = self._reader
        return self._broken or reader.begun or reader.text_bytes > 0 or reader.complete

    @property
    def error(self) -> str | None:
        return self._reader.error

    def feed(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            self._take(data)
        except WireError as error:
            self._broken = True
            self._reader.note(str(error))

    def finish(self) -> Reading:
        if not self._broken:
            try:
                self._end()
            except WireError as error:
                self._reader.note(str(error))
        return self._reader.reading()

    def _take(self, data: bytes) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _parse(self, data: bytes, what: str) -> Json | None:
        try:
            document = parse(data)
        except ValueError as error:
            self._reader.note(f"{what} is not JSON: {error}")
            return None
        if isinstance(document, dict):
            return document
        # A list of one error object is how Google's gateways put it.
        for item in objects(document):
            self._reader.fail(error_message(item))
        return None


class SseMeter(_Framed):
    __slots__ = ("_decoder",)

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._decoder = SseDecoder()

    def _take(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._event(event)

    def _end(self) -> None:
        for event in self._decoder.finish():
            self._event(event)

    def _event(self, event: SseEvent) -> None:
        data = event.data
        if data[:6] == b"[DONE]":
            self._reader.terminator()
            return
        if not data:
            return
        try:
            document: Any = parse(data)
        except ValueError as error:
            if event.event == b"error":
                self._reader.fail(data.decode("utf-8", "replace"))
            elif event.terminated:  # else the cut is all that is wrong with it
                self._reader.note(f"an event is not JSON: {error}")
            return
        if not isinstance(document, dict):
            if event.event == b"error":
                self._reader.fail(data.decode("utf-8", "replace"))
            return
        if event.event == b"error":
            self._reader.fail(error_message(document) or bare_message(document) or "an error event")
        self._reader.event(document, event.event.decode("latin-1") if event.event else "")


class NdjsonMeter(_Framed):
    __slots__ = ("_decoder",)

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._decoder = NdjsonDecoder()

    def _take(self, data: bytes) -> None:
        for line in self._decoder.feed(data):
            if (document := self._parse(line, "a line")) is not None:
                self._reader.event(document, "")

    def _end(self) -> None:
        for line in self._decoder.finish():
            try:
                document = parse(line)
            except ValueError:
                return  # a line that the end of the stream cut off
            if isinstance(document, dict):
                self._reader.event(document, "")


class ArrayMeter(_Framed):
    """A stream as one JSON array: only the array's own end completes it."""

    __slots__ = ("_decoder",)

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._decoder = JsonArrayDecoder()

    def _take(self, data: bytes) -> None:
        for element in self._decoder.feed(data):
            if (document := self._parse(element, "an element of the array")) is not None:
                self._reader.event(document, "")

    def _end(self) -> None:
        reader = self._reader
        reader.complete = self._decoder.closed and (reader.complete or reader.error is not None)


class EventStreamMeter(_Framed):
    """AWS event streams: https://smithy.io/2.0/aws/amazon-eventstream.html for `:message-type` and its companions."""

    __slots__ = ("_decoder",)

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._decoder = EventStreamDecoder()

    def _take(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            self._message(message)

    def _end(self) -> None:
        # Raises what was wrong, if anything was; a tail that is no whole message is a mere cut.
        self._decoder.feed(b"")

    def _message(self, message: Message) -> None:
        headers = message.headers
        kind = headers.get(":message-type")
        if kind in ("exception", "error"):
            # The payload's message is better; an `error` frame has none but its headers.
            document = _object(message.payload)
            name = headers.get(":exception-type") or headers.get(":error-message") or headers.get(":error-code")
            self._reader.fail(bare_message(document) or str(name or "an exception without a name"))
            return
        if not message.payload:
            return
        if (document := self._parse(message.payload, "an event's payload") or {}) or message.payload == b"{}":
            self._reader.event(document, str(headers.get(":event-type", "")))


class JsonMeter(_Framed):
    """One JSON document, buffered. Lines in the place of a document show at the end that they are a stream."""

    __slots__ = ("_buffer", "_lines", "_opaque", "_streamed")

    def __init__(self, reader: Reader, wire: Wire) -> None:
        super().__init__(reader)
        self._streamed = False
        self._buffer = bytearray()
        self._lines = wire.framing == "ndjson"
        self._opaque = wire.opaque

    @property
    def streaming(self) -> bool:
        return self._streamed

    def _take(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > JSON_LIMIT:
            self._buffer.clear()
            raise WireError(f"the body is larger than {JSON_LIMIT} bytes")

    def _end(self) -> None:
        reader = self._reader
        body = bytes(self._buffer).removeprefix(BOM)
        self._buffer.clear()
        if not body.strip():
            reader.complete = self._opaque
            return
        try:
            document = parse(body)
        except ValueError as error:
            self._streamed = self._lines and self._read_lines(body)
            if not self._streamed:
                reader.note(f"the body is not JSON: {error}")
            return
        reader.complete = True
        if not isinstance(document, dict):
            for item in objects(document):
                reader.fail(error_message(item))
            return
        reader.fail(error_message(document))
        reader.document(document)
        # Not every whole document is a whole reply, but the reader has to say so.
        if reader.error is None and reader.model is None and not reader.settle() and not reader.text_bytes:
            reader.fail(bare_message(document))

    def _read_lines(self, body: bytes) -> bool:
        """Lines under the content type of a document; whether the first of them is one."""
        lines = body.splitlines()
        for index, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                document = parse(line)
            except ValueError:
                return index > 0
            if isinstance(document, dict):
                self._reader.event(document, "")
        return len(lines) > 1


class SniffingMeter:
    """Holds the first bytes until they tell the framing; never more than a few, however many blanks come first."""

    __slots__ = ("_held", "_hint", "_meter", "_wire")

    def __init__(self, wire: Wire, hint: Framing | None) -> None:
        self._wire = wire
        self._hint = hint
        self._held = b""
        self._meter: Meter | None = None

    @property
    def streaming(self) -> bool:
        return self._meter is not None and self._meter.streaming

    @property
    def begun(self) -> bool:
        return self._meter is not None and self._meter.begun

    @property
    def error(self) -> str | None:
        return self._meter.error if self._meter is not None else None

    def feed(self, data: bytes) -> None:
        if self._meter is not None:
            self._meter.feed(data)
        else:
            self._sniff(self._held + data, final=False)

    def finish(self) -> Reading:
        if self._meter is None:
            self._sniff(self._held, final=True)
        assert self._meter is not None
        return self._meter.finish()

    def _sniff(self, held: bytes, *, final: bool) -> None:
        if not final and BOM.startswith(held):
            self._held = held
            return
        text = held.removeprefix(BOM)
        start = text.lstrip(BLANKS)
        self._meter = self._decide(held, start, final=final)
        # Of the blanks, the last is kept: a field of an event is none with a blank before it.
        first = max(len(text) - len(start) - 1, 0)
        if self._meter is None:
            self._held = held[: len(held) - len(text)] + text[first:]
        else:
            self._held = b""
            self._meter.feed(held if isinstance(self._meter, EventStreamMeter) else text[first:])

    def _decide(self, held: bytes, start: bytes, *, final: bool) -> Meter | None:
        """The meter for the bytes held, whose text begins with `start`; None while they might be another framing's."""
        wire, hint = self._wire, self._hint
        if wire.framing == "eventstream" and held[:1] == b"\0":
            # The first byte of a big-endian length.
            return EventStreamMeter(wire.reader())
        if not start and not final:
            return None
        if start[:1] == b"[" and wire.array:
            return ArrayMeter(wire.reader())
        if start[:1] == b"{" and (hint == "ndjson" or (hint is not None and wire.framing == "ndjson")):
            if len(start) < 2 and not final:
                return None
            # A document printed over several lines is none of NDJSON.
            return JsonMeter(wire.reader(), wire) if start[1:2] in (b"\n", b"\r") else NdjsonMeter(wire.reader())
        if start[:1] in (b"{", b"["):
            return JsonMeter(wire.reader(), wire)
        if hint == "sse" or start.startswith(SSE_FIELDS):
            return SseMeter(wire.reader())
        if start and any(field.startswith(start) for field in SSE_FIELDS):
            return SseMeter(wire.reader()) if final else None
        if hint == "eventstream":
            return EventStreamMeter(wire.reader())
        if hint == "ndjson":
            return NdjsonMeter(wire.reader())
        return NoMeter() if wire.opaque else JsonMeter(wire.reader(), wire)


def _object(data: bytes) -> Json:
    try:
        document = parse(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
