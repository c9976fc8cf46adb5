"""A body while it comes, on the event loop: held on to, not looked at; as much of it as may be kept, and as there is
room for. What is beyond is counted.
"""

from __future__ import annotations

from threading import Lock

# A list's place and an object for each piece.
OVERHEAD = 64
# Room is asked for in such portions, lest it be for every word of a stream.
PORTION = 4096
# So many moments are remembered of a body; when there are more, two neighbours become one.
MOST_MOMENTS = 2048
# Within so many milliseconds it is one moment.
MOMENT = 1.0

Moment = tuple[float, int]
"""Milliseconds since the call began, and the bytes that came then."""


class Room:
    """How many bytes all calls together may hold on to until they are written. Any thread may take and give."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, count: int) -> bool:
        with self._lock:
            if self._taken + count > self._most:
                return False
            self._taken += count
            return True

    def give(self, count: int) -> None:
        with self._lock:
            self._taken -= count


class Pieces:
    """`size` is that of all that came, `chunks` is what is here of it: its beginning. `crowded` says that it is less
    than it might be for want of room.
    """

    __slots__ = ("_free", "_held", "_limit", "_over", "_room", "_taken", "chunks", "crowded", "moments", "size")

    def __init__(self, room: Room, limit: int) -> None:
        """`limit` bytes are enough."""
        self._room = room
        self._limit = limit
        self._held = 0
        self._taken = 0
        self._free = 0
        self.size = 0
        self.chunks: list[bytes] = []
        self.moments: list[Moment] = []
        self.crowded = False
        self._over = False

    def add(self, chunk: bytes, ms: float, *, shared: bool = False) -> None:
        """`shared`: others hold on to the same object, and have found room for it."""
        if self._over:
            return
        self.size += len(chunk)
        if self._held < self._limit and not self.crowded:
            wanted = OVERHEAD if shared else min(len(chunk), self._limit - self._held) + OVERHEAD
            if wanted > self._free:
                portion = max(PORTION, wanted)
                self.crowded = not self._room.take(portion)
                if not self.crowded:
                    self._taken += portion
                    self._free += portion
            if not self.crowded:
                self._free -= wanted
                self._held += len(chunk)
                self.chunks.append(chunk)
        moments = self.moments
        if moments and ms - moments[-1][0] < MOMENT:
            moments[-1] = (moments[-1][0], moments[-1][1] + len(chunk))
            return
        moments.append((ms, len(chunk)))
        if len(moments) > MOST_MOMENTS:
            pairs = zip(moments[::2], [*moments[1::2], (0.0, 0)], strict=False)
            self.moments = [(one[0], one[1] + other[1]) for one, other in pairs]

    def end(self) -> None:
        """Whatever comes later is no part of it: another thread is about to look at it."""
        self._over = True

    def let_go(self) -> None:
        """Nothing of it is needed any more."""
        self.chunks = []
        self._room.give(self._taken)
        self._taken = self._free = 0
