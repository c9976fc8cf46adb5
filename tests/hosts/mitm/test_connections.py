"""The client's side of HTTP/1: bounded where mitmproxy's own is not."""

from mitmproxy import connection, options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestEndOfMessage, RequestProtocolError
from mitmproxy.test import taddons

from interpose.hosts.mitm.connections import PIPELINED, ClientHttp1

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def server() -> ClientHttp1:
    with taddons.context(options=options.Options()) as tctx:
        tctx.master.addons.add(Proxyserver())
        client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
        made = ClientHttp1(context.Context(client, tctx.options))
    list(made.handle_event(events.Start()))
    return made


def received(by: ClientHttp1, data: bytes) -> list[object]:
    sent = list(by.handle_event(events.DataReceived(by.conn, data)))
    return [command.event if isinstance(command, ReceiveHttp) else command for command in sent]


def test_trailers_of_a_request_are_dropped() -> None:
    """mitmproxy's own parser raises on them, and the client would wait for ever."""
    assert isinstance(received(server(), HEAD + b"1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n")[-1], RequestEndOfMessage)


def test_what_is_sent_ahead_of_a_reply_is_bounded() -> None:
    """A flood behind a running request ends the connection instead of filling memory."""
    running = server()
    received(running, HEAD + b"0\r\n\r\n")
    assert received(running, b"x" * PIPELINED) == []
    closed, error = received(running, b"xx")
    assert isinstance(closed, commands.CloseConnection)
    assert isinstance(error, RequestProtocolError)
