"""A raw HTTP/2 client on `h2`: many streams on one connection, any pseudo-headers, flow control in the test's hands.

It acknowledges received data only when the test reads it, so that a slow client is one that does not read, and it sends
only what the other side's windows allow, so that a slow server is one that holds it back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .clients import PATIENCE, Client, Ending
from .upstream import Header


@dataclass(slots=True, eq=False)
class Stream:
    """One stream's reply as it arrives. `unread` waits for `H2Client.piece`; `body` is what was read.

    `sent` counts the bytes of the request's body that the windows have let out, `stopped` that the other side has reset
    the stream; a reply that had come to its end by then stays complete (RFC 9113, 8.1).
    """

    number: int
    sent: int = 0
    stopped: bool = False
    headers: list[Header] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    unread: bytearray = field(default_factory=bytearray)
    unacknowledged: int = 0
    ended: Ending | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> int:
        return int(dict(self.headers)[b":status"])

    def value(self, name: str) -> bytes | None:
        return dict(self.headers).get(name.encode())

    @property
    def complete(self) -> bool:
        return self.ended == "complete"


class H2Client:
    """One HTTP/2 connection over `client`, whose TLS handshake has agreed on h2."""

    def __init__(self, client: Client, *, window: int | None = None) -> None:
        self._client = client
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._streams: dict[int, Stream] = {}
        self._window_opened = asyncio.Event()
        self._window = window
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def over(cls, client: Client, *, window: int | None = None) -> Self:
        """Starts HTTP/2 on `client`; `window` is each stream's initial receive window (default 65,535)."""
        ssl_object = client.writer.get_extra_info("ssl_object")
        assert ssl_object is not None
        assert ssl_object.selected_alpn_protocol() == "h2", "the proxy did not agree on HTTP/2"
        self = cls(client, window=window)
        self._connection.initiate_connection()
        if window is not None:
            self._connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        else:
            # The connection's own window must not be what holds 200 streams back.
            self._connection.increment_flow_control_window(1 << 24)
        self._flush()
        self._task = asyncio.create_task(self._receive())
        return self

    def _flush(self) -> None:
        if data := self._connection.data_to_send():
            self._client.writer.write(data)

    async def _receive(self) -> None:
        ending: Ending = "closed"
        try:
            while data := await self._client.reader.read(1 << 16):
                for event in self._connection.receive_data(data):
                    self._take(event)
                self._flush()
        except (ConnectionError, h2.exceptions.ProtocolError):
            ending = "reset"
        for stream in self._streams.values():
            stream.ended = stream.ended or ending
            stream.stopped = True
            stream.changed.set()
        self._window_opened.set()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window_opened.set()
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        match event:
            case h2.events.ResponseReceived():
                stream.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            case h2.events.DataReceived():
                stream.unread += event.data
                stream.unacknowledged += event.flow_controlled_length
            case h2.events.StreamEnded():
                stream.ended = "complete"
            case h2.events.StreamReset():
                stream.ended = stream.ended or "reset"
                stream.stopped = True
                self._window_opened.set()
        stream.changed.set()

    def start(self, headers: list[tuple[str, str]], *, end: bool = True) -> Stream:
        """Opens a stream with exactly these headers, pseudo-headers included; surrogates stand for raw bytes."""
        number = self._connection.get_next_available_stream_id()
        stream = self._streams[number] = Stream(number)
        self._connection.send_headers(
            number,
            [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers],
            end_stream=end,
        )
        self._flush()
        return stream

    async def post(self, path: str, authority: str, *headers: tuple[str, str], body: bytes = b"{}") -> Stream:
        """Opens a stream with a POST and sends its whole body, as the other side's window allows."""
        stream = self.upload(path, authority, *headers, ("content-length", str(len(body))))
        await self.send(stream, body, end=True)
        return stream

    def upload(self, path: str, authority: str, *headers: tuple[str, str]) -> Stream:
        """Opens a stream with a POST whose body is left to `send`."""
        return self.start(
            [(":method", "POST"), (":scheme", "https"), (":authority", authority), (":path", path), *headers],
            end=False,
        )

    async def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Sends some of a request's body as the windows of the stream and of the connection allow.

        Raises ConnectionError when the stream is reset before all of it is out.
        """
        view = memoryview(data)
        while not stream.stopped:
            size = min(
                self._connection.local_flow_control_window(stream.number), self._connection.max_outbound_frame_size
            )
            if len(view) <= size:
                self._connection.send_data(stream.number, bytes(view), end_stream=end)
                self._flush()
                stream.sent += len(view)
                await self._client.writer.drain()
                return
            if size > 0:
                self._connection.send_data(stream.number, bytes(view[:size]))
                view = view[size:]
                self._flush()
                stream.sent += size
                await self._client.writer.drain()
            else:
                self._window_opened.clear()
                async with asyncio.timeout(PATIENCE):
                    await self._window_opened.wait()
        raise ConnectionError(f"stream {stream.number} was reset after {stream.sent} bytes of its request")

    async def _change(self, stream: Stream) -> None:
        stream.changed.clear()
        async with asyncio.timeout(PATIENCE):
            await stream.changed.wait()

    async def head(self, stream: Stream) -> Stream:
        """Waits for the reply's headers. Raises ConnectionError if the stream ends before them."""
        while not stream.headers:
            if stream.ended:
                raise ConnectionError(f"stream {stream.number} ended ({stream.ended}) before its headers")
            await self._change(stream)
        return stream

    async def piece(self, stream: Stream) -> bytes:
        """Some more of the body, b"" at its end (see `ended`); what is read is acknowledged to the sender."""
        while not stream.unread and stream.ended is None:
            await self._change(stream)
        data = bytes(stream.unread)
        stream.unread.clear()
        stream.body += data
        if stream.unacknowledged and stream.ended is None:
            self._connection.acknowledge_received_data(stream.unacknowledged, stream.number)
            stream.unacknowledged = 0
            self._flush()
        return data

    async def body_until(self, stream: Stream, mark: bytes) -> bytes:
        """Reads until `mark` stands in the body; fails if the body ends before."""
        while mark not in stream.body:
            assert await self.piece(stream), f"the body ended ({stream.ended}) before {mark!r} came"
        return bytes(stream.body)

    async def response(self, stream: Stream) -> Stream:
        """Waits for the whole reply."""
        await self.head(stream)
        while await self.piece(stream):
            pass
        return stream

    def cancel(self, stream: Stream) -> None:
        """RST_STREAM with CANCEL: this stream's client has gone, the connection stays."""
        self._connection.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
        self._client.abort()
