"""What `hosts/mitm/native.py` and `carriage.py` rely on in mitmproxy's private code.

They hold for mitmproxy 12.2.3 and later patches of 12.2. When one of these fails after an upgrade, read the layer it
names before changing anything: the failure is the warning that this file exists to give.
"""

import inspect
from importlib.metadata import version

import h2.events
import pytest
from mitmproxy import connection, options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, context, events, layer, mode_servers, server
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import _http1, _http2, _http_h2
from mitmproxy.proxy.layers.tls import ClientTLSLayer, TLSLayer
from mitmproxy.test import taddons

from interpose.hosts.mitm.connections import CONCURRENT_STREAMS, ClientHttp1, ClientHttp2
from interpose.hosts.mitm.native import (
    EngineHook,
    EngineHttpLayer,
    EngineStream,
    HoldHook,
    LeftHook,
    PumpHook,
)


def source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


@pytest.fixture
def client_context() -> context.Context:
    opts = options.Options()
    with taddons.context(options=opts) as tctx:
        tctx.master.addons.add(Proxyserver())
        client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
        return context.Context(client, opts)


def test_the_version_is_one_that_this_was_written_for() -> None:
    """12.2.3 up to 12.3, excluded."""
    assert (12, 2, 3) <= tuple(int(part) for part in version("mitmproxy").split(".")[:3]) < (12, 3)


def test_a_paused_layer_queues_events_and_says_that_it_is_paused() -> None:
    """`EngineStream.handle_event` looks at `_paused` and lets some events past the queue."""
    text = source(layer.Layer.handle_event)
    assert "if self._paused:" in text
    assert "self._paused_event_queue.append(event)" in text


def test_the_killed_check_looks_into_the_queue() -> None:
    """An abandoned call is ended by the client's error waiting in the queue."""
    assert "_paused_event_queue" in source(http_layers.HttpStream.check_killed)


@pytest.mark.parametrize("name", ["state_consume_request_body", "handle_connect_regular", "handle_event"])
def test_overridden_methods_exist(name: str) -> None:
    """An override of nothing would never be called."""
    assert callable(getattr(http_layers.HttpStream, name))
    assert name in vars(EngineStream)


@pytest.mark.parametrize("name", ["make_stream", "_handle_event"])
def test_overridden_methods_of_the_layer_exist(name: str) -> None:
    """As above, for the HTTP layer."""
    assert name in vars(http_layers.HttpLayer)
    assert name in vars(EngineHttpLayer)


def test_the_layer_makes_its_streams_in_one_place() -> None:
    """`make_stream` is the only place that hard-codes HttpStream."""
    module = inspect.getsource(http_layers)
    assert module.count("HttpStream(ctx, stream_id)") == 1


def test_a_connection_may_be_set_before_the_layer_starts() -> None:
    """`ClientHttp1` and `ClientHttp2` are put there ahead of mitmproxy's own."""
    assert "self.connections.setdefault(self.context.client, http_conn)" in source(http_layers.HttpLayer._handle_event)


def test_our_hooks_block_and_carry_one_argument() -> None:
    """mitmproxy's connection handler supports single-argument hooks alone."""
    for hook in (EngineHook, LeftHook, HoldHook, PumpHook):
        assert hook.blocking is True
        assert len(hook(None).args()) == 1  # type: ignore[arg-type]
    assert "(data,) = hook.args()" in source(mode_servers.ProxyConnectionHandler.handle_hook)


def test_the_connection_handler_has_the_lock_and_the_transports() -> None:
    """The pump writes under the lock that keeps layers from running."""
    text = source(server.ConnectionHandler)
    assert "self._server_event_lock = asyncio.Lock()" in text
    assert "async with self._server_event_lock:" in source(server.ConnectionHandler.server_event)
    assert {"reader", "writer", "handler"} <= set(server.ConnectionIO.__dataclass_fields__)
    assert hasattr(server.TimeoutWatchdog, "register_activity")
    assert "self.connections[connection_id] = handler" in source(Proxyserver.register_connection)
    assert "handler.layer.context.client.id" in source(mode_servers.ServerInstance.handle_stream)


def test_a_connections_end_is_told_by_hooks_while_its_handler_is_known() -> None:
    """`closing` ends there what the connection's own task has not."""
    text = source(server.ConnectionHandler.handle_client)
    assert text.index("asyncio.wait([handler])") < text.index("ClientDisconnectedHook")
    text = source(server.ConnectionHandler.open_connection)
    assert text.index("self.handle_connection") < text.index("finally") < text.index("ServerDisconnectedHook")
    text = source(mode_servers.ServerInstance.handle_stream)
    assert "with self.manager.register_connection(" in text
    assert text.index("register_connection(") < text.index("await handler.handle_client()")


def test_tls_sends_by_yielding_the_bytes_of_its_records() -> None:
    """The pump takes the place of the layers between a stream and the socket."""
    assert issubclass(ClientTLSLayer, TLSLayer)
    assert "self.tls.sendall(data)" in source(TLSLayer.send_data)
    assert "yield commands.SendData(self.conn, data)" in source(TLSLayer.tls_interact)


def test_a_responses_data_has_no_effect_but_bytes(client_context: context.Context) -> None:
    """HTTP/1 and HTTP/2 answer ResponseData with SendData to the client, and nothing else."""
    assert source(_http1.Http1Server.send).count("commands.SendData(self.conn, raw)") == 2
    http2 = ClientHttp2(client_context)
    list(http2.handle_event(events.Start()))
    assert isinstance(http2.h2_conn, _http_h2.BufferedH2Connection)
    assert hasattr(http2.h2_conn, "stream_buffers")


def test_http2_buffers_what_flow_control_holds_back() -> None:
    """The gate of the pump waits on these buffers."""
    assert "self.stream_buffers[stream_id].append" in source(_http_h2.BufferedH2Connection.send_data)


def test_an_http2_client_is_offered_more_than_a_hundred_streams(client_context: context.Context) -> None:
    """h2 advertises 100 by default; the first SETTINGS frame must say more."""
    (hello,) = [
        command
        for command in ClientHttp2(client_context).handle_event(events.Start())
        if isinstance(command, commands.SendData)
    ]
    peer = _http2.h2.connection.H2Connection()
    peer.initiate_connection()
    received = peer.receive_data(hello.data)
    (changed,) = [event for event in received if isinstance(event, h2.events.RemoteSettingsChanged)]
    setting = changed.changed_settings[_http2.h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS]
    assert setting.new_value == CONCURRENT_STREAMS


def test_the_body_reader_is_set_where_it_can_be_wrapped() -> None:
    """`ClientHttp1` takes trailers off by wrapping whatever reader mitmproxy assigns."""
    assert "self.body_reader = make_body_reader(expected_body_size)" in source(_http1.Http1Server.read_headers)
    assert "HTTP trailers are not implemented yet" in source(_http1.Http1Connection.read_body)
    assert isinstance(vars(ClientHttp1)["body_reader"], property)


def test_http2_acknowledges_data_where_we_withhold_it() -> None:
    """`ClientHttp2.handle_h2_event` stands in for the branch that acknowledges at once."""
    assert "self.h2_conn.acknowledge_received_data(" in source(_http2.Http2Connection.handle_h2_event)


def test_a_halted_hook_asks_no_further_addon() -> None:
    """A connection whose first bytes do not tell its protocol must not be decided by mitmproxy's own addon."""
    assert "except exceptions.AddonHalt:" in source(AddonManager.trigger_event)
