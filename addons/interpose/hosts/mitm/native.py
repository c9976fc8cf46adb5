"""mitmproxy's HTTP layers with the engine in the place of the upstream connection.

`EngineHttpLayer` makes an `EngineStream` for each request. Up to the `request` hook it is mitmproxy's own stream;
then, for a claimed call, it asks the engine (`EngineHook`), sends the reply's head and lets the `Carriage` pump the
body (`PumpHook`) straight to the client. Everything else about HTTP/1 and HTTP/2 stays mitmproxy's.

This module subclasses private classes. It holds for mitmproxy 12.2.3 up to 12.3, excluded; what it relies on is
named, and held, by tests/hosts/mitm/test_contract.py.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Protocol

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream, HttpLayer, HTTPMode, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.layers.tls import ClientTLSLayer
from mitmproxy.proxy.layers.websocket import WebsocketLayer
from wsproto.connection import ConnectionState

from interpose.call import upgrades
from interpose.wire.websocket import extensions

from .carriage import Carriage, Onlookers, Stream, UpstreamSent
from .connections import ClientHttp1, ClientHttp2
from .visits import Visit

logger = logging.getLogger(__name__)


class Claims(Protocol):
    """What the layers need to know of the engine: whether an authority's calls are ours to carry."""

    @property
    def onlookers(self) -> Onlookers | None: ...
    def claims(self, host: str, port: int) -> bool: ...
    def readable(self, host: str) -> int: ...
    def goes_direct(self, host: str) -> bool: ...
    def visit(self, context: Context) -> Visit: ...
    def apology(self, flow: http.HTTPFlow) -> http.Response: ...
    def carriage(self, flow: http.HTTPFlow, stream: Stream) -> Carriage: ...


@dataclass(frozen=True, slots=True)
class Left:
    """A whole request whose client had left before the engine could be asked."""

    flow: http.HTTPFlow
    visit: Visit


@dataclass
class LeftHook(commands.StartHook):
    """Such a call is recorded."""

    name = "interpose_left"
    left: Left


@dataclass
class EngineHook(commands.StartHook):
    """The engine is asked for a reply; completed when the reply's head is there, or none is to come."""

    name = "interpose_engine"
    carriage: Carriage


@dataclass
class HoldHook(commands.StartHook):
    """The reply's body is collected; completed when it is whole, too large for that, or broken."""

    name = "interpose_hold"
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
        self.left = False

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
        elif self._paused and isinstance(event, RequestProtocolError) and self.asks():
            # mitmproxy would drop the call without a word. It has been made, hence leaves a record.
            self.left = True
            return
        yield from super().handle_event(event)

    def asks(self) -> bool:
        """Whether the engine is about to be asked: the request is whole, and only other addons' hooks are to run."""
        request = self.flow.request
        whole = self.client_state == self.state_done or any(
            isinstance(event, RequestEndOfMessage) for event in self._paused_event_queue
        )
        return whole and request.method != "CONNECT" and self.flow.response is None and self.claimed()

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        try:
            yield from super()._handle_event(event)
        except Exception:
            # mitmproxy would log it and leave the client waiting. Nothing is forwarded, and the client is told.
            logger.exception("a stream failed inside interpose")
            if self.carriage is None and isinstance(event, RequestEndOfMessage) and self.flow.response is None:
                yield from self.apologise()
            else:
                yield from self.break_off("interpose failed", ErrorCode.GENERIC_SERVER_ERROR)

    def apologise(self) -> layer.CommandGenerator[None]:
        """The engine's own 500, in the client's format and with its record, for a call that it was never given."""
        self.client_state = self.server_state = self.state_errored
        self.flow.response = response = self.parent.owner.apology(self.flow)
        client = self.context.client
        yield SendHttp(ResponseHeaders(self.stream_id, response, end_stream=False), client)
        yield SendHttp(ResponseData(self.stream_id, response.raw_content or b""), client)
        self.flow.live = False
        yield DropStream(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)

    def claimed(self) -> bool:
        request = self.flow.request
        return self.parent.claims_all or self.parent.owner.claims(request.host, request.port)

    def handle_connect_regular(self) -> layer.CommandGenerator[None]:
        # A claimed host is never dialled from here. Any other is, before the client is told that the tunnel stands:
        # it gets a plain 502 instead of a connection that dies.
        address = self.context.server.address
        assert address
        self.context.server.via = None
        if not self.flow.response and not self.parent.owner.claims(*address[:2]):
            err = yield commands.OpenConnection(self.context.server)
            if err:
                self.flow.response = http.Response.make(502, f"Cannot connect to {address[0]}:{address[1]}: {err}\n")
        self.child_layer = layer.NextLayer(self.context)
        yield from self.handle_connect_finish()

    def handle_connect_upstream(self) -> layer.CommandGenerator[None]:
        # A tunnel to the proxy behind us is made by whoever finds that the destination is not ours.
        address = self.context.server.address
        assert address
        if self.parent.owner.claims(*address[:2]) or self.parent.owner.goes_direct(address[0]):
            yield from self.handle_connect_regular()
        else:
            self.child_layer = layer.NextLayer(self.context)
            yield from self.handle_connect_finish()

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        if self.parent.owner.goes_direct(self.flow.request.host):
            self.flow.server_conn.via = None
        return (yield from super().make_server_connection())

    def start_request_stream(self) -> layer.CommandGenerator[None]:
        # Asked for by another addon, or by mitmproxy's stream_large_bodies. What of a claimed call is held, so that
        # rules can read it, is ours to say: mitmproxy would dial its host.
        if self.claimed():
            self.client_state = self.state_consume_request_body
        else:
            yield from super().start_request_stream()

    def edited(self, *pieces: bytes) -> bytes:
        """Pieces of the body as another addon's `flow.request.stream` makes them; b"" tells it of the end."""
        edit = self.flow.request.stream
        if not callable(edit):
            return b"".join(pieces)
        made = [edit(piece) for piece in pieces]
        return b"".join(each if isinstance(each, bytes) else b"".join(each) for each in made)

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not self.claimed():
            yield from super().state_consume_request_body(event)
            return
        if isinstance(event, RequestData):
            if len(self.request_body_buf) + len(event.data) > self.parent.owner.readable(self.flow.request.host):
                yield from self.start_upload(event)
            else:
                self.request_body_buf += event.data
            return
        if not isinstance(event, RequestEndOfMessage):
            yield from super().state_consume_request_body(event)
            return
        self.flow.request.timestamp_end = time.time()
        self.flow.request.data.content = self.edited(bytes(self.request_body_buf), b"")
        self.request_body_buf.clear()
        self.client_state = self.state_done
        yield HttpRequestHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        if self.flow.response:
            yield from self.answer()
            return
        if self.left:
            yield LeftHook(Left(self.flow, self.parent.visit))
            yield from self.break_off("Client disconnected.", ErrorCode.CLIENT_DISCONNECTED)
            return
        self.carriage = carriage = self.parent.owner.carriage(self.flow, self)
        if upgrades(self.flow.request.headers.fields):
            carriage.begin_relay()
        yield from self.carry(carriage)

    def answer(self) -> layer.CommandGenerator[None]:
        """A response that another addon has set wins, as it does in mitmproxy."""
        assert self.flow.response
        self.flow.response.timestamp_start = time.time()
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        yield from self.send_response()
        if self.client_state == self.state_upload:
            yield from self.flow_done()

    def start_upload(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The body has outgrown what is held: the engine is asked now, and gets the rest as it arrives."""
        self.carriage = carriage = self.parent.owner.carriage(self.flow, self)
        carriage.begin_upload(self.edited(bytes(self.request_body_buf)))
        self.request_body_buf.clear()
        self.upload(event)
        self.flow.request.stream = self.flow.request.stream or True
        self.client_state = self.state_upload
        yield HttpRequestHook(self.flow)
        if (yield from self.check_killed(True)):
            carriage.dismiss()
        elif self.flow.response:
            carriage.dismiss()
            yield from self.answer()
        else:
            yield from self.carry(carriage)

    def state_upload(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Body that is still coming while nothing of ours runs; what nobody reads any more is dropped."""
        self.upload(event)
        yield from ()

    def upload(self, event: events.Event) -> None:
        assert self.carriage is not None
        if isinstance(event, RequestData):
            self.carriage.receive(self.edited(event.data))
        elif isinstance(event, RequestEndOfMessage):
            self.flow.request.timestamp_end = time.time()
            self.client_state = self.state_done
            if last := self.edited(b""):
                self.carriage.receive(last)
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
        if self.flow.response.status_code == 101:
            yield from self.upgrade(carriage)
            return
        if carriage.holds():
            yield HoldHook(carriage)
            if carriage.whole and not carriage.tells_a_secret():
                self.flow.response.data.content = carriage.held()
                carriage.show_request()
                yield from self.send_response()
                if self.client_state == self.state_upload:
                    yield from self.flow_done()
                return
            if (yield from self.check_killed(True)):
                carriage.abandon()
                return
        yield SendHttp(ResponseHeaders(self.stream_id, self.flow.response, end_stream=False), self.context.client)
        yield PumpHook(carriage)
        carriage.show_request()
        carriage.show()
        if carriage.finished:
            yield from self.send_response(already_streamed=True)
            if self.client_state == self.state_upload:
                # The reply came to its end before the upload did: the client is told now, and need not go on.
                yield from self.flow_done()
        elif not (yield from self.check_killed(True)):
            yield from self.break_off(carriage.failure, ErrorCode.GENERIC_SERVER_ERROR)

    def break_off(self, message: str, code: ErrorCode) -> layer.CommandGenerator[None]:
        """Ends the stream as broken: the connection is closed under HTTP/1, the stream reset under HTTP/2."""
        if self.carriage is not None:
            self.carriage.abandon()
        self.client_state = self.server_state = self.state_errored
        self.flow.error = mitm_flow.Error(message)
        yield HttpErrorHook(self.flow)
        yield SendHttp(ResponseProtocolError(self.stream_id, message, code), self.context.client)
        self.flow.live = False
        yield DropStream(self.stream_id)

    def upgrade(self, carriage: Carriage) -> layer.CommandGenerator[None]:
        """The upstream has agreed to a WebSocket.

        Where others look on, mitmproxy's own layer reads it, between the client and the engine, so that messages can
        be seen, edited and injected; else bytes pass as they come.
        """
        assert self.flow.response
        self.flow.response.data.content = b""
        if self.parent.owner.onlookers is not None:
            yield from self.send_response()
            if not isinstance(self.child_layer, WebsocketLayer):
                carriage.abandon()
                return
            agreed = self.flow.response.headers.get("sec-websocket-extensions", "").encode("ascii", "replace")
            for side in (self.child_layer.client_ws, self.child_layer.server_ws):
                side._proto.extensions = extensions(agreed)
        else:
            self.flow.response.timestamp_end = time.time()
            yield HttpResponseHook(self.flow)
            if (yield from self.check_killed(False)):
                carriage.abandon()
                return
            self.server_state = self.state_done
            self._handle_event = self.passthrough  # type: ignore[method-assign]  # as mitmproxy does
            client = self.context.client
            yield SendHttp(ResponseHeaders(self.stream_id, self.flow.response, end_stream=True), client)
            yield SendHttp(ResponseEndOfMessage(self.stream_id), client)
        carriage.start_relay()

    def passthrough(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self.carriage is None:
            yield from super().passthrough(event)
        elif isinstance(self.child_layer, WebsocketLayer):
            yield from self.relay(self.carriage, self.child_layer, event)
        elif isinstance(event, UpstreamSent) and event.message:
            yield SendHttp(ResponseData(self.stream_id, event.message), self.context.client)
        elif isinstance(event, UpstreamSent):
            yield self.hang_up()
        elif isinstance(event, RequestData):
            self.carriage.upload.feed(event.data)
        elif isinstance(event, RequestEndOfMessage):
            self.carriage.upload.finish()

    def hang_up(self) -> SendHttp:
        return SendHttp(ResponseProtocolError(self.stream_id, "EOF", ErrorCode.PASSTHROUGH_CLOSE), self.context.client)

    def relay(self, carriage: Carriage, websocket: WebsocketLayer, event: events.Event) -> layer.CommandGenerator[None]:
        """As `passthrough`, with the engine in the place of the server's connection.

        A side that vanishes is no side that says goodbye: the other one is cut off then, where mitmproxy would tell
        it of a normal close (law 4).
        """
        client, server = self.context.client, self.context.server
        vanished = False
        if isinstance(event, UpstreamSent):
            vanished = not event.message and websocket.server_ws.state is ConnectionState.OPEN
            event = events.DataReceived(server, event.message) if event.message else events.ConnectionClosed(server)
        elif isinstance(event, RequestData):
            event = events.DataReceived(client, event.data)
        elif isinstance(event, RequestEndOfMessage):
            if vanished := websocket.client_ws.state is ConnectionState.OPEN:
                carriage.abandon()
            event = events.ConnectionClosed(client)
        for command in websocket.handle_event(event):
            match command:
                case commands.SendData() if vanished:
                    pass
                case commands.SendData(connection=connection, data=data) if connection is server:
                    carriage.upload.feed(data)
                case commands.CloseConnection(connection=connection) if connection is server:
                    carriage.upload.finish()
                case commands.SendData(connection=connection, data=data) if connection is client:
                    yield SendHttp(ResponseData(self.stream_id, data), client)
                case commands.CloseConnection(connection=connection) if connection is client:
                    yield self.hang_up()
                case _:
                    yield command

    # For the carriage, which writes past the layers

    def frame(self, chunk: bytes) -> bytes:
        """The bytes that carry a piece of the reply's body: framed by the client's HTTP, wrapped in its TLS."""
        return self.wrap(self.parent.frame(ResponseData(self.stream_id, chunk)))

    def wrap(self, data: bytes) -> bytes:
        """Bytes of the client's HTTP connection in the TLS that stands around it; the innermost layer comes last."""
        for each in reversed(self.context.layers):
            if isinstance(each, ClientTLSLayer):
                data = b"".join(sent.data for sent in each.send_data(data) if isinstance(sent, commands.SendData))
        return data

    def held_back(self) -> bool:
        """Whether the client's flow control keeps data of this stream waiting in mitmproxy's unbounded buffer."""
        connection = self.http2()
        return connection is not None and bool(connection.h2_conn.stream_buffers.get(self.stream_id))

    def http2(self) -> ClientHttp2 | None:
        connection = self.parent.connections[self.context.client]
        return connection if isinstance(connection, ClientHttp2) else None


class EngineHttpLayer(HttpLayer):
    """mitmproxy's HTTP layer, whose streams ask the engine.

    `claims_all` is set inside a TLS connection that was opened because its host is claimed: whatever authority its
    requests then name, they go to the engine, which refuses those that name another.
    """

    def __init__(self, context: Context, mode: HTTPMode, owner: Claims, *, claims_all: bool) -> None:
        super().__init__(context, mode)
        self.owner = owner
        self.claims_all = claims_all
        self.visit = owner.visit(context)
        self.visit.passes(self)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        stream = EngineStream(self.context.fork(), stream_id, self)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        client = self.context.client
        if isinstance(event, events.Start) and client.alpn in (b"h2", b"http/1.1", b"http/1.0", None):
            make = ClientHttp2 if client.alpn == b"h2" else ClientHttp1
            # Already there where mitmproxy replays a flow.
            if client not in self.connections:
                self.connections[client] = make(self.context.fork())
        try:
            for command in super()._handle_event(event):
                if isinstance(command, commands.SendData) and command.connection is client:
                    self.visit.received(self, len(command.data))
                yield command
        except Exception:
            logger.exception("a connection failed inside interpose; it is closed")
            for carriage in self.carriages():
                carriage.abandon()
            yield commands.CloseConnection(client)
        # What the client has sent may have been the window update for which a pump is waiting.
        if isinstance(event, events.DataReceived):
            if event.connection is client:
                self.visit.sent(self, len(event.data))
            for carriage in self.carriages():
                carriage.window_changed()

    def carriages(self) -> list[Carriage]:
        streams = [stream for stream in self.streams.values() if isinstance(stream, EngineStream)]
        return [stream.carriage for stream in streams if stream.carriage is not None]

    def frame(self, event: HttpEvent) -> bytes:
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
        self.visit.received(self, len(out))
        return bytes(out)
