"""Holds an HTTP/1 client's socket while its upload is ahead of the upstream, without going blind to its leaving.

A socket that is not read tells nothing of a FIN or RST behind unread data. So while it is held, the kernel is asked.
"""

from __future__ import annotations

import asyncio
import select

# A client that has gone is noticed within this; the promise for its upstream is 0.2 s.
LOOK_EVERY = 0.05
# Linux tells of the peer's FIN by RDHUP; elsewhere a reset is told, a FIN when reading goes on.
HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Brake:
    """One client's socket. `hold` stops reading from it, `release` goes on, `end` for good."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self._watch: asyncio.TimerHandle | None = None
        self._ended = transport is None

    def hold(self) -> None:
        if self._ended or self._transport is None:
            return
        # Again each time: asyncio's own reader resumes the socket when its buffer has run low.
        self._transport.pause_reading()
        if self._watch is None:
            self._look()

    def release(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def end(self) -> None:
        self.release()
        self._ended = True

    def _look(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._watch = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)
        socket = self._transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(socket.fileno(), HUNG_UP)
        if poll.poll(0):
            # Read on: what is left in the socket is little, and behind it stands the end.
            self.end()
