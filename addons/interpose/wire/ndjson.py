"""Newline-delimited JSON: bytes to lines. What is in a line is not looked at.

Lines end with LF or CRLF (https://github.com/ndjson/ndjson-spec); blank lines and a leading BOM are dropped.
"""

from __future__ import annotations

from .error import WireError

BOM = b"\xef\xbb\xbf"
DEFAULT_LIMIT = 32 * 1024 * 1024


class NdjsonDecoder:
    """Gives lines as they end. Raises WireError once a line is larger than `limit` bytes; lines before it come first.

    After `finish`, `terminated` says whether the last line had its line end.
    """

    __slots__ = ("_at_start", "_limit", "_overflow", "_pending", "terminated")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.terminated = True
        self._limit = limit
        self._pending = bytearray()
        self._at_start = True
        self._overflow = False

    def feed(self, data: bytes) -> list[bytes]:
        if self._overflow:
            raise self._too_large()
        pending = self._pending
        if b"\n" not in data:
            pending += data
            return self._bounded([])
        if pending:
            data = bytes(pending) + data
            pending.clear()
        parts = data.split(b"\n")
        pending += parts.pop()
        lines: list[bytes] = []
        for part in parts:
            if len(part) > self._limit:
                self._overflow = True
                break
            if line := self._clean(part):
                lines.append(line)
        return self._bounded(lines)

    def finish(self) -> list[bytes]:
        """The line without an end, if there is one. Raises WireError as `feed` does."""
        if self._overflow:
            raise self._too_large()
        line = self._clean(bytes(self._pending))
        self._pending.clear()
        self.terminated = not line
        return [line] if line else []

    def _clean(self, line: bytes) -> bytes:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        return line.strip(b" \t\r")

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        if len(self._pending) > self._limit:
            self._overflow = True
        if self._overflow:
            self._pending.clear()
            if not lines:
                raise self._too_large()
        return lines

    def _too_large(self) -> WireError:
        return WireError(f"a line of NDJSON is larger than {self._limit} bytes")
