"""Server-sent events: bytes to events and one event to bytes.

Written after https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, with one
deliberate difference: an event that the end of the stream cut off from its blank line is given, marked as not
terminated, because some providers leave that line out. What an event's data means is not known here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .error import WireError

BOM = b"\xef\xbb\xbf"
DEFAULT_LIMIT = 32 * 1024 * 1024


class SseEvent(NamedTuple):
    """One event. `event` is b"" where no `event:` line named one, `id` is None where no `id:` line came with it."""

    data: bytes
    event: bytes = b""
    id: bytes | None = None
    terminated: bool = True


class SseDecoder:
    """Gives events as their blank line arrives; lines end with LF, CR or CRLF and with nothing else.

    Raises WireError from `feed` or `finish` once an event is larger than `limit` bytes; events before it are given
    first. `comments` counts the comment lines so far.
    """

    __slots__ = ("_after_cr", "_at_start", "_limit", "_overflow", "_pending", "comments")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.comments = 0
        self._limit = limit
        self._pending = bytearray()  # everything since the last blank line, its line ends already LF
        self._after_cr = False
        self._at_start = True
        self._overflow = False

    def feed(self, data: bytes) -> list[SseEvent]:
        if self._overflow:
            raise self._too_large()
        if self._after_cr and data:
            # The CR ended its line when it came; an LF right behind it is the rest of that line end.
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        pending = self._pending
        if pending:
            # The blank line may lie across the seam; only new bytes are searched, so that cost stays linear.
            ends = b"\n\n" in data or (data[:1] == b"\n" and pending[-1] == 0x0A)
            pending += data
            if not ends:
                return self._bounded([])
            data = bytes(pending)
            pending.clear()
        blocks = data.split(b"\n\n")
        pending += blocks.pop()
        if self._at_start and blocks:
            self._at_start = False
            blocks[0] = blocks[0].removeprefix(BOM)
        events: list[SseEvent] = []
        for block in blocks:
            if len(block) > self._limit:
                self._overflow = True
                break
            # The common case is one `data: …` line.
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(SseEvent(block[6:]))
            elif (event := self._parse(block)) is not None:
                events.append(event)
        return self._bounded(events)

    def finish(self) -> list[SseEvent]:
        """The event without a blank line, if there is one: `terminated` is False. Raises WireError as `feed` does."""
        if self._overflow:
            raise self._too_large()
        block = bytes(self._pending)
        self._pending.clear()
        if self._at_start:
            block = block.removeprefix(BOM)
        event = self._parse(block)
        return [] if event is None else [event._replace(terminated=False)]

    def _bounded(self, events: list[SseEvent]) -> list[SseEvent]:
        if len(self._pending) > self._limit:
            self._overflow = True
        if self._overflow:
            self._pending.clear()
            if not events:
                raise self._too_large()
        return events

    def _too_large(self) -> WireError:
        return WireError(f"a server-sent event is larger than {self._limit} bytes")

    def _parse(self, block: bytes) -> SseEvent | None:
        """An event from its lines; None if there is no data line, for then the specification dispatches nothing."""
        data: list[bytes] = []
        name = b""
        identity: bytes | None = None
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"id":
                if b"\0" not in value:
                    identity = value
            elif not field and line:
                self.comments += 1
        return SseEvent(b"\n".join(data), name, identity) if data else None


def encode_event(data: bytes, event: bytes = b"", *, id: bytes | None = None) -> bytes:  # noqa: A002 - the field's name
    """One event as bytes, LF line ends and a space after each colon (google-genai needs that space).

    Data is written as one `data:` line per line; a CR in it becomes a line end, which is what any reader would make of
    it. Raises WireError when `event` or `id` holds a line end.
    """
    for name, value in ((b"event", event), (b"id", id or b"")):
        if b"\n" in value or b"\r" in value:
            raise WireError(f"the {name.decode()} of a server-sent event cannot hold a line end")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    head = b"event: " + event + b"\n" if event else b""
    if id is not None:
        head += b"id: " + id + b"\n"
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


class RawEvents:
    """Cuts a stream into its events as they came, their blank lines included: nothing is parsed, no byte is changed.

    What grows beyond `limit` bytes without a blank line is passed on in pieces.
    """

    __slots__ = ("_limit", "_pending")

    def __init__(self, limit: int = 1024 * 1024) -> None:
        self._limit = limit
        self._pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are whole now."""
        pending = self._pending + data
        *whole, rest = _split(pending)
        if len(rest) > self._limit:
            whole.append(rest)
            rest = b""
        self._pending = rest
        return whole

    def rest(self) -> bytes:
        """What has no blank line, at the end."""
        rest, self._pending = self._pending, b""
        return rest


# Two line ends in a row: LF, CRLF or CR, mixed as they come. A CR at the very end may be half of a CRLF.
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n|\Z))(?:\r\n|\n|\r(?!\n|\Z))", re.DOTALL)


def _split(data: bytes) -> list[bytes]:
    """The events of `data`, and what is behind the last blank line."""
    pieces, at = [], 0
    for blank in _BLANK.finditer(data):
        pieces.append(data[at : blank.end()])
        at = blank.end()
    return [*pieces, data[at:]]
