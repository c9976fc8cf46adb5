"""Watches one reply: decodes a copy of its bytes (gzip, br, zstd) and feeds the format's meter.

Whatever goes wrong in here is noted as a flaw and never disturbs the call. What a reading means for the ledger is
`metering`'s to say.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from interpose.call import Headers, header
from interpose.formats.meters import Meter, meter_for, stream_kind, usage_from_headers
from interpose.ir import Reading
from interpose.wire.coding import ContentDecoder, decoder
from interpose.wire.error import WireError

logger = logging.getLogger(__name__)

# The decoded copy of one reply that is looked at; a gzip bomb ends here.
DECODED_LIMIT = 256 * 1024 * 1024


class Gauge:
    """Watches one reply's raw body."""

    __slots__ = ("_decoder", "_flaw", "_from_headers", "_meter", "_named", "_stopped")

    def __init__(self, wire: str, headers: Headers) -> None:
        content_type = text(header(headers, b"content-type"))
        self._named = stream_kind(content_type) is not None
        self._flaw: str | None = None
        self._stopped = False
        self._meter: Meter | None = None
        self._decoder: ContentDecoder | None = None
        self._from_headers = usage_from_headers(headers)
        if wire == "none":
            return
        coding = text(header(headers, b"content-encoding"))
        if coding:
            self._decoder = decoder(coding, limit=DECODED_LIMIT)
            if self._decoder is None:
                self._flaw = f"content-encoding {coding[:40]} is unknown"
                return
        self._meter = meter_for(wire, content_type)

    @property
    def streaming(self) -> bool:
        """Whether the body is a stream of events: as its type says, or as its first bytes show under another type."""
        return self._named or (self._meter is not None and self._meter.streaming)

    @property
    def begun(self) -> bool:
        """Whether the content has begun, or the reply has ended without any; True where nobody can tell."""
        return self._meter is None or self._stopped or self._meter.begun

    @property
    def error(self) -> str | None:
        """The error that the body has told so far."""
        return self._meter.error if self._meter is not None else None

    def feed(self, chunk: bytes) -> None:
        if self._meter is None or self._stopped:
            return
        try:
            if self._decoder is None:
                self._meter.feed(chunk)
                return
            for piece in self._decoder.feed_pieces(chunk):
                self._meter.feed(piece)
        except Exception as error:  # noqa: BLE001 - metering is an observer: it must never disturb the call
            self._stop(error)

    def finish(self) -> Reading:
        """The reading; call it once, at the end or where the reply broke off."""
        # Without a meter there is nothing to miss: what HTTP calls the end is the end.
        reading = Reading(complete=True)
        if self._meter is not None:
            cut: WireError | None = None
            try:
                if self._decoder is not None and not self._stopped:
                    self._meter.feed(self._decoder.finish())
            except WireError as error:  # a cut gzip stream has been read up to the cut
                cut = error
            try:
                reading = self._meter.finish()
            except Exception as error:  # noqa: BLE001 - as above
                self._stop(error)
                reading = Reading()
            if cut is not None and not (self.streaming and reading.complete):
                # Of a stream whose format has ended nothing is missing but the coding's own trailer.
                self._stop(cut)
        if self._stopped:
            # What was read up to there stands, but nobody has seen the end.
            reading = replace(reading, complete=False)
        if not reading.usage and self._from_headers:
            reading = replace(reading, usage=self._from_headers)
        return replace(reading, flaw=reading.flaw or self._flaw)

    def _stop(self, error: Exception) -> None:
        """Gives up reading; the call goes on."""
        self._stopped = True
        self._flaw = self._flaw or f"{type(error).__name__}: {error}"
        if not isinstance(error, WireError):
            logger.warning("the usage of a reply could not be read: %s", self._flaw)


def text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
