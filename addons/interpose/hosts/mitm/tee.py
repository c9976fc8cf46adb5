"""A bounded copy of a body that streams past, for whoever looks at the flow: what is shown may be cut, what is sent
never is.
"""

from __future__ import annotations


class Tee:
    """The first `limit` bytes of a body; `size` counts all of it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if room := self.limit - len(self._kept):
            self._kept += data[:room]

    @property
    def cut(self) -> bool:
        """Whether there was more than is kept."""
        return self.size > len(self._kept)

    def content(self) -> bytes:
        return bytes(self._kept)
