"""mitmproxy's HTTP layers with the engine in the place of the upstream connection.

`EngineHttpLayer` makes an `EngineStream` for each request. Up to the `request` hook it is mitmproxy's own stream;
then, for a claimed call, it asks the engine (`EngineHook`), sends the reply's head and lets the `Carriage` pump the
body (`PumpHook`) straight to the client. Everything else about HTTP/1 and HTTP/2 stays mitmproxy's.

This module subclasses private classes. It holds for mitmproxy 12.2.3 up to 12.3, excluded; what it relies on is
named, and held, by tests/hosts/mitm/test_contract.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    RequestTrailers,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpRequestHook, HttpResponseHeadersHook
from mitmproxy.proxy.layers.http._http2 import Http2Server

from .carriage import Carriage

# Up to here a request body is held, so that it can be read, edited and sent again; beyond it streams through.
HELD_BODY = 8 * 1024 * 1024
# Streams that one HTTP/2 client may have open at once.
CONCURRENT_STREAMS = 1000


class Claims(Protocol):
    """What the layers need to know of the engine: whether an authority's calls are ours to carry."""

    def claims(self, host: str, port: int) -> bool: ...
    def carriage(self, flow: http.HTTPFlow, stream: EngineStream) -> Carriage: ...


@dataclass
class EngineHook(commands.StartHook):
    """The engine is asked for a reply; completed when the reply's head is there, or none is to come."""

    name = "interpose_engine"
    carriage: Carriage


@dataclass
class PumpHook(commands.StartHook):
    """The reply's body goes to the client; completed at its end, or when it broke off."""

    name = "interpose_pump"
    carriage: Carriage


class EngineStream(HttpStream):
    """One request and its reply."""

    def __init__(self, context: Context, stream_id: int, parent: EngineHttpLayer) -> None:
        super().__init__(context, stream_id)
        self.parent = parent
        self.carriage: Carriage | None = None

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        # While a hook runs, mitmproxy's layer queues events until it ends. Two kinds must not wait for that: the
        # client's leaving, which is to end the hook, and the body of an upload, which the hook is sending.
        carriage = self.carriage
        if carriage is not None and self._paused:
            if isinstance(event, RequestProtocolError):
                carriage.abandon()
            elif self.client_state == self.state_upload and isinstance(
                event, (RequestData, RequestTrailers, RequestEndOfMessage)
            ):
                self.upload(event)
                return
        yield from super().handle_event(event)

    def claimed(self) -> bool:
        request = self.flow.request
        return self.parent.claims_all or self.parent.owner.claims(request.host, request.port)

    def handle_connect_regular(self) -> layer.CommandGenerator[None]:
        # A claimed host is never dialled from here. Any other is, before the client is told that the tunnel stands:
        # it gets a plain 502 instead of a connection that dies.
        address = self.context.server.address
        assert address
        if not self.flow.response and not self.parent.owner.claims(*address[:2]):
            err = yield commands.OpenConnection(self.context.server)
            if err:
                self.flow.response = http.Response.make(502, f"Cannot connect to {address[0]}:{address[1]}: {err}\n")
        self.child_layer = layer.NextLayer(self.context)
        yield from self.handle_connect_finish()

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        outgrown = isinstance(event, RequestData) and len(self.request_body_buf) + len(event.data) > HELD_BODY
        if outgrown and self.claimed():
            yield from self.start_upload(event)
            return
        if not isinstance(event, RequestEndOfMessage) or not self.claimed():
            yield from super().state_consume_request_body(event)
            return
        self.flow.request.timestamp_end = time.time()
        self.flow.request.data.content = bytes(self.request_body_buf)
        self.request_body_buf.clear()
        self.client_state = self.state_done
        yield HttpRequestHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        if self.flow.response:
            # A response that another addon has set wins, as it does in mitmproxy.
            self.flow.response.timestamp_start = time.time()
            yield HttpResponseHeadersHook(self.flow)
            if not (yield from self.check_killed(True)):
                yield from self.send_response()
            return
        self.carriage = self.parent.owner.carriage(self.flow, self)
        yield from self.carry(self.carriage)

    def start_upload(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The body has outgrown what is held: the engine is asked now, and gets the rest as it arrives."""
        self.carriage = carriage = self.parent.owner.carriage(self.flow, self)
        carriage.upload.feed(bytes(self.request_body_buf))
        self.request_body_buf.clear()
        self.upload(event)
        self.flow.request.stream = True
        self.client_state = self.state_upload
        yield HttpRequestHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        yield from self.carry(carriage)

    def state_upload(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The reply has ended before the upload did: what is still coming is read and dropped."""
        self.upload(event)
        if self.client_state == self.state_done and self.server_state == self.state_done:
            yield from self.flow_done()

    def upload(self, event: events.Event) -> None:
        assert self.carriage is not None
        if isinstance(event, RequestData):
            self.carriage.upload.feed(event.data)
        elif isinstance(event, RequestEndOfMessage):
            self.flow.request.timestamp_end = time.time()
            self.client_state = self.state_done
            self.carriage.upload.finish()

    def carry(self, carriage: Carriage) -> layer.CommandGenerator[None]:
        """Asks the engine, sends the head, pumps the body. Whatever ends otherwise ends in an error for the client."""
        yield EngineHook(carriage)
        if (yield from self.check_killed(True)):
            carriage.abandon()
            return
        if carriage.reply is None:
            yield from self.break_off("no reply", ErrorCode.GENERIC_SERVER_ERROR)
            return
        self.flow.response = carriage.response()
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            carriage.abandon()
            return
        yield SendHttp(ResponseHeaders(self.stream_id, self.flow.response, end_stream=False), self.context.client)
        yield PumpHook(carriage)
        if carriage.finished:
            yield from self.send_response(already_streamed=True)
        elif not (yield from self.check_killed(True)):
            yield from self.break_off(carriage.failure, ErrorCode.GENERIC_SERVER_ERROR)

    def break_off(self, message: str, code: ErrorCode) -> layer.CommandGenerator[None]:
        """Ends the stream as broken: the connection is closed under HTTP/1, the stream reset under HTTP/2."""
        self.flow.error = mitm_flow.Error(message)
        yield HttpErrorHook(self.flow)
        yield SendHttp(ResponseProtocolError(self.stream_id, message, code), self.context.client)
        self.flow.live = False
        self.client_state = self.server_state = self.state_errored


class EngineHttpLayer(HttpLayer):
    """mitmproxy's HTTP layer, whose streams ask the engine.

    `claims_all` is set inside a TLS connection that was opened because its host is claimed: whatever authority its
    requests then name, they go to the engine, which refuses those that name another.
    """

    def __init__(self, context: Context, mode: HTTPMode, owner: Claims, *, claims_all: bool) -> None:
        super().__init__(context, mode)
        self.owner = owner
        self.claims_all = claims_all

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        stream = EngineStream(self.context.fork(), stream_id, self)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start) and self.context.client.alpn == b"h2":
            self.connections.setdefault(self.context.client, http2_server(self.context.fork()))
        yield from super()._handle_event(event)
        # What the client has sent may have been the window update for which a pump is waiting.
        if isinstance(event, events.DataReceived):
            for stream in self.streams.values():
                if isinstance(stream, EngineStream) and stream.carriage is not None:
                    stream.carriage.window_changed()

    def send_data(self, event: HttpEvent) -> bytes:
        """The bytes with which the client's HTTP connection frames `event`.

        Used by the pump, outside of the event loop of the layers: a response's data has no other effect than these
        bytes. Raises ConnectionError when the connection asks for anything else.
        """
        out = bytearray()
        for command in self.connections[self.context.client].handle_event(event):
            if isinstance(command, commands.SendData):
                out += command.data
            elif not isinstance(command, commands.Log):
                raise ConnectionError(f"cannot send to the client: {command}")
        return bytes(out)


def http2_server(context: Context) -> Http2Server:
    """mitmproxy's HTTP/2 server side, open for more streams than the 100 that h2 advertises by default."""
    server = Http2Server(context)
    settings = server.h2_conn.local_settings
    settings.max_concurrent_streams = CONCURRENT_STREAMS
    # The peer's acknowledgement is not awaited, as mitmproxy does not for its own settings.
    settings.acknowledge()
    return server
