"""The client's side of HTTP/1 and HTTP/2: bounded where mitmproxy's own is not, and told of all that ends."""

import h2.config
import h2.connection
from mitmproxy import connection, options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestEndOfMessage, RequestProtocolError
from mitmproxy.test import taddons

from interpose.hosts.mitm.connections import PIPELINED, ClientHttp1, ClientHttp2

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def server[Kind: ClientHttp1 | ClientHttp2](kind: type[Kind]) -> Kind:
    with taddons.context(options=options.Options()) as tctx:
        tctx.master.addons.add(Proxyserver())
        client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
        made = kind(context.Context(client, tctx.options))
    list(made.handle_event(events.Start()))
    return made


def received(by: ClientHttp1 | ClientHttp2, data: bytes) -> list[object]:
    sent = list(by.handle_event(events.DataReceived(by.conn, data)))
    return [command.event if isinstance(command, ReceiveHttp) else command for command in sent]


def test_trailers_of_a_request_are_dropped() -> None:
    """mitmproxy's own parser raises on them, and the client would wait for ever."""
    assert isinstance(
        received(server(ClientHttp1), HEAD + b"1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n")[-1], RequestEndOfMessage
    )


def test_what_is_sent_ahead_of_a_reply_is_bounded() -> None:
    """A flood behind a running request ends the connection instead of filling memory."""
    running = server(ClientHttp1)
    received(running, HEAD + b"0\r\n\r\n")
    assert received(running, b"x" * PIPELINED) == []
    closed, error = received(running, b"xx")
    assert isinstance(closed, commands.CloseConnection)
    assert isinstance(error, RequestProtocolError)


def test_a_request_that_is_reset_together_with_its_end_is_reset() -> None:
    """mitmproxy's own forgets the stream at its end, and would let the call run on."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    client.send_headers(1, head)
    client.send_data(1, b"{}", end_stream=True)
    client.reset_stream(1)
    told = [type(each) for each in received(server(ClientHttp2), client.data_to_send())]
    assert told.index(RequestEndOfMessage) < told.index(RequestProtocolError)
