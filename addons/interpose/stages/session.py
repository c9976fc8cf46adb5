"""Watches one WebSocket session in both directions: how it closed, how much passed, what it used.

The counterpart of `gauge` for calls that were upgraded. Whatever goes wrong in here is a flaw, and disturbs nothing.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from interpose.call import Headers, header_values
from interpose.formats.meters.sessions import SESSIONS, SessionReader
from interpose.ir import Reading
from interpose.wire.error import WireError
from interpose.wire.websocket import Messages

logger = logging.getLogger(__name__)

# https://www.iana.org/assignments/websocket/websocket.xml: the close codes with which nothing is wrong; 1005 is none.
CLOSED_WELL = frozenset((1000, 1001, 1005))


class SessionGauge:
    """`feed` is what the provider sends, `sent` what the client does; `finish` once, at the end."""

    streaming = True

    def __init__(self, format: str, headers: Headers) -> None:  # noqa: A002  (the contract's name)
        agreed = b",".join(header_values(headers, b"sec-websocket-extensions"))
        self._down = _Side(Messages(from_client=False, agreed=agreed))
        self._up = _Side(Messages(from_client=True, agreed=agreed))
        make = SESSIONS.get(format)
        self._reader: SessionReader | None = make() if make is not None else None
        self._flaw: str | None = None
        # The side that said goodbye first; the other one's Close is an answer.
        self._closer: _Side | None = None

    def feed(self, chunk: bytes) -> None:
        self._read(self._down, chunk, from_client=False)

    def sent(self, chunk: bytes) -> None:
        self._read(self._up, chunk, from_client=True)

    def _read(self, side: _Side, chunk: bytes, *, from_client: bool) -> None:
        side.bytes += len(chunk)
        if side.stopped:
            return
        try:
            for message in side.messages.feed(chunk):
                side.count += 1
                if self._reader is not None and message.data is not None:
                    self._reader.message(message.data, from_client=from_client)
        except Exception as error:  # noqa: BLE001 - metering is an observer: it must never disturb the call
            side.stopped = True
            self._flaw = self._flaw or f"{type(error).__name__}: {error}"
            if not isinstance(error, WireError):
                logger.warning("the usage of a session could not be read: %s", self._flaw)

        if self._closer is None and side.messages.close_code is not None:
            self._closer = side

    @property
    def closed(self) -> int | None:
        """The close code of the side that closed the session; None if neither has said goodbye."""
        return self._closer.messages.close_code if self._closer is not None else None

    def finish(self) -> Reading:
        """Complete if either side closed the session; an error if the provider closed it with one."""
        reading = self._reader.reading() if self._reader is not None else Reading()
        failed = self._closer is self._down and self.closed not in CLOSED_WELL
        return replace(
            reading,
            complete=self.closed is not None,
            error=f"the session was closed with code {self.closed}" if failed else None,
            flaw=reading.flaw or self._flaw,
        )

    def told(self) -> dict[str, object]:
        """What the record says of the session, beside its usage."""
        return {
            "websocket": {
                "requests": self._reader.requests if self._reader is not None else None,
                "responses": self._reader.responses if self._reader is not None else None,
                "messages_up": self._up.count,
                "messages_down": self._down.count,
                "bytes_up": self._up.bytes,
                "bytes_down": self._down.bytes,
                "close": self.closed,
            }
        }


class _Side:
    """One direction."""

    __slots__ = ("bytes", "count", "messages", "stopped")

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.count = 0
        self.bytes = 0
        self.stopped = False
