"""One JSON array, streamed: bytes to its top-level elements, each as its own bytes.

Gemini's streamGenerateContent answers so without `alt=sse`. Elements are cut out by counting brackets outside of
strings; whether an element is valid JSON is for its reader to see.
"""

from __future__ import annotations

import re

from .error import WireError

DEFAULT_LIMIT = 32 * 1024 * 1024

_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')


class JsonArrayDecoder:
    """Gives elements as they end; `closed` says that the array's own end was seen. What follows it is ignored.

    Raises WireError if the first byte opens no array, and once an element is larger than `limit` bytes.
    """

    __slots__ = ("_buffer", "_depth", "_escaped", "_in_string", "_limit", "_opened", "_seen", "closed")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.closed = False
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0  # how far into the buffer has been looked at
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._opened = False

    def feed(self, data: bytes) -> list[bytes]:
        if self.closed:
            return []
        buffer = self._buffer
        buffer += data
        if not self._opened:
            del buffer[: len(buffer) - len(buffer.lstrip(b" \t\r\n"))]
            if not buffer:
                return []
            if buffer[0] != 0x5B:
                raise WireError("no JSON array begins here")
            del buffer[0]
            self._opened = True
        elements: list[bytes] = []
        start = self._scan(elements)
        del buffer[:start]
        self._seen -= start
        if len(buffer) > self._limit and not elements:
            raise WireError(f"an element of a JSON array is larger than {self._limit} bytes")
        return elements

    def finish(self) -> list[bytes]:
        """Always empty: an element that is not whole is none."""
        return []

    def _scan(self, elements: list[bytes]) -> int:
        """Looks at what is new, appends what ended; returns where the unended element begins."""
        buffer = self._buffer
        at, start = self._seen, 0
        size = len(buffer)
        while at < size:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            mark = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, at)
            if mark is None:
                at = size
                break
            byte = buffer[mark.start()]
            at = mark.end()
            if byte == 0x22:
                self._in_string = not self._in_string
            elif byte == 0x5C:
                self._escaped = True
            elif byte in b"[{":
                self._depth += 1
            elif byte in b"]}" and self._depth:
                self._depth -= 1
            elif not self._depth:  # a comma between elements, or the array's own end
                if element := bytes(buffer[start : mark.start()]).strip(b" \t\r\n"):
                    elements.append(element)
                start = at
                if byte != 0x2C:
                    self.closed = True
                    break
        self._seen = at
        return start
