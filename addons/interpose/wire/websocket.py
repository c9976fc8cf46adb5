"""The messages of a WebSocket session, read along in one direction: bytes in, whole messages and the close code out.

By wsproto, which parses frames (RFC 6455) and permessage-deflate (RFC 7692). Nothing here answers anything or changes a
byte; what cannot be read ends the reading, never the traffic.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits
from wsproto.utilities import split_comma_header

from .error import WireError

# A message beyond this is counted and not kept.
MESSAGE_LIMIT = 16 * 1024 * 1024
# Deflate gives a thousand bytes for one: what is fed at once bounds what is decompressed at once.
SLICE = 4096


@dataclass(frozen=True, slots=True)
class Received:
    """One message, text as UTF-8; `data` None for one that was larger than is kept."""

    data: bytes | None
    text: bool


class SteadyDeflate(PerMessageDeflate):
    """wsproto's permessage-deflate, for sessions that ping between the fragments of a message, too.

    wsproto takes a control frame for the end of the message around it, and reads the rest of that as uncompressed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._control = False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control and not rsv.rsv1:
            return RsvBits(True, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        return None if self._control else super().frame_inbound_complete(proto, fin)


def extensions(value: bytes) -> list[Extension]:
    """What a Sec-WebSocket-Extensions header of a reply agrees on; what is not known is left out."""
    agreed: list[Extension] = []
    for offered in split_comma_header(value) if value else ():
        if offered.split(";", 1)[0].strip() == PerMessageDeflate.name:
            deflate = SteadyDeflate()
            deflate.finalize(offered)
            agreed.append(deflate)
    return agreed


class Messages:
    """Feed it what one side sends after the upgrade.

    `agreed` is the value of the reply's Sec-WebSocket-Extensions. `close_code` is what the side gave as it closed:
    1005 for no code. `feed` raises WireError for what is no WebSocket; nothing more can be read then.
    """

    def __init__(self, *, from_client: bool, agreed: bytes = b"", limit: int = MESSAGE_LIMIT) -> None:
        # wsproto reads as one of the sides: as the server what the client sends.
        self._frames = FrameProtocol(not from_client, extensions(agreed))
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self.close_code: int | None = None

    def feed(self, data: bytes) -> Iterator[Received]:
        for start in range(0, len(data), SLICE):
            if self.close_code is not None:
                return  # what follows a Close is no part of the session
            yield from self._feed(data[start : start + SLICE])

    def _feed(self, data: bytes) -> Iterator[Received]:
        try:
            self._frames.receive_bytes(data)
            for frame in self._frames.received_frames():
                if frame.opcode is Opcode.CLOSE:
                    self.close_code = int(frame.payload[0])
                    return
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY) and (received := self._part(frame)) is not None:
                    yield received
        except (ParseFailed, ValueError, zlib.error) as error:
            raise WireError(f"no WebSocket frame: {error}") from error

    def _part(self, frame: Frame) -> Received | None:
        text = frame.opcode is Opcode.TEXT
        assert not isinstance(frame.payload, tuple)  # that is a Close
        part = frame.payload.encode() if isinstance(frame.payload, str) else bytes(frame.payload)
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
        else:
            self._parts.clear()
        if not frame.message_finished:
            return None
        whole = b"".join(self._parts) if self._size <= self._limit else None
        self._parts, self._size = [], 0
        return Received(whole, text)
