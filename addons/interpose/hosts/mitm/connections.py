"""The client's side of HTTP/1 and HTTP/2, where mitmproxy's own falls short of what we promise.

HTTP/2: more streams than h2 offers by default, and flow control that holds a client back while its upload is ahead of
the upstream. HTTP/1: trailers of a request are dropped, where mitmproxy's parser would crash on them.
"""

from __future__ import annotations

from collections import defaultdict

import h2.events
import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, RequestData, RequestProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Server, TBodyReader
from mitmproxy.proxy.layers.http._http2 import Http2Server, StreamState

# Streams that one HTTP/2 client may have open at once.
CONCURRENT_STREAMS = 1000
# What an HTTP/1 client may send behind a request that is still being answered.
PIPELINED = 8 * 1024 * 1024
# How far one upload may run ahead before the upstream has taken any of it.
UPLOAD_WINDOW = 4 * 1024 * 1024


class WithoutTrailers:
    """Reads a chunked body and forgets its trailers: they are not relayed (docs), and the call is none the worse."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = self._reader(buffer)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event

    def read_eof(self) -> None:
        self._reader.read_eof()


class ClientHttp1(Http1Server):
    """mitmproxy's HTTP/1 server side, for chunked requests with trailers too."""

    _reader: TBodyReader

    @property
    def body_reader(self) -> TBodyReader:
        return self._reader

    @body_reader.setter
    def body_reader(self, reader: TBodyReader) -> None:
        self._reader = WithoutTrailers(reader) if isinstance(reader, ChunkedReader) else reader  # type: ignore[assignment]  # the same two methods

    def wait(self, event: events.Event) -> layer.CommandGenerator[None]:
        """A client may send its next requests while one is running; so far ahead as this, none does in earnest."""
        if isinstance(event, events.DataReceived) and len(self.buf) > PIPELINED:
            yield commands.CloseConnection(self.conn)
            yield ReceiveHttp(
                RequestProtocolError(self.stream_id, "too much sent ahead of a reply", ErrorCode.CLIENT_DISCONNECTED)
            )
            return
        yield from super().wait(event)


class ClientHttp2(Http2Server):
    """mitmproxy's HTTP/2 server side, with a window for each upload.

    mitmproxy acknowledges whatever it receives at once, so that a client never has to wait. For a stream in `uploads`
    that is left to `consumed`.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.uploads: set[int] = set()
        self._unacknowledged: defaultdict[int, int] = defaultdict(int)
        settings = self.h2_conn.local_settings
        settings.max_concurrent_streams = CONCURRENT_STREAMS
        settings.initial_window_size = UPLOAD_WINDOW
        # The peer's acknowledgement is not awaited, as mitmproxy does not for its own settings.
        settings.acknowledge()

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if (
            isinstance(event, h2.events.DataReceived)
            and event.stream_id in self.uploads
            and self.streams.get(event.stream_id) is StreamState.HEADERS_RECEIVED
        ):
            self._unacknowledged[event.stream_id] += event.flow_controlled_length
            if event.data:
                yield ReceiveHttp(RequestData(event.stream_id, event.data))
            return False
        if isinstance(event, h2.events.StreamReset):
            self.release(event.stream_id)
            # A request that is reset in the same breath as it ends is forgotten by mitmproxy at its end, and nobody
            # is told of the reset: the call would run on with nobody to take its reply.
            self.streams.setdefault(event.stream_id, StreamState.HEADERS_RECEIVED)
        return (yield from super().handle_h2_event(event))

    def consumed(self, stream_id: int) -> bytes:
        """Opens the window again by what has come for that stream; returns the bytes that tell the client."""
        if size := self._unacknowledged.pop(stream_id, 0):
            self.h2_conn.acknowledge_received_data(size, stream_id)
        return self.h2_conn.data_to_send()

    def release(self, stream_id: int) -> bytes:
        """The upload is over, or nobody wants it: what still comes is acknowledged at once."""
        self.uploads.discard(stream_id)
        return self.consumed(stream_id)
