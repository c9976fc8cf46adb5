"""When the tickets of TLS 1.3 leave: with the first thing that the client is told, and whole."""

import ssl
from pathlib import Path

import pytest
from mitmproxy import connection, options
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers.tls import TlsStartClientHook
from mitmproxy.proxy.mode_specs import ProxyMode

from interpose.hosts import authority
from interpose.hosts.mitm.leaves import Leaves
from interpose.hosts.mitm.tls import TicketsLast

HOST = "api.openai.com"


class Answering(layer.Layer):
    """Answers each thing it is told in capitals."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield commands.SendData(event.connection, event.data.upper())


class Client:
    """A client of the standard library, whose bytes go through the layer and back by hand."""

    def __init__(self, leaves: Leaves, trust: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        self._leaves = leaves
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST, session=session)
        peer = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0.0)
        peer.proxy_mode = ProxyMode.parse("regular")
        peer.state = connection.ConnectionState.OPEN
        self._context = context.Context(peer, options.Options())
        layer.Layer(self._context)
        self._layer = TicketsLast(self._context)
        self._layer.child_layer = Answering(self._context)
        self._told(events.Start())

    def _told(self, event: events.Event) -> bytes:
        """What the layer sends on that event."""
        pending: list[events.Event] = [event]
        sent = bytearray()
        while pending:
            for command in self._layer.handle_event(pending.pop(0)):
                if isinstance(command, commands.SendData):
                    sent += command.data
                elif isinstance(command, commands.StartHook):
                    if isinstance(command, TlsStartClientHook):
                        self._leaves.tls_start_client(command.data)
                    pending.append(events.HookCompleted(command, None))
        return bytes(sent)

    def exchange(self) -> bytes:
        """Delivers what the client has to say; what the layer sends back, which the client is given as well."""
        sent = self._told(events.DataReceived(self._context.client, said)) if (said := self._outgoing.read()) else b""
        self._incoming.write(sent)
        return sent

    def shake(self) -> bytes:
        """The handshake; what the layer sends once the client has said its last word of it."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                assert self.exchange(), "the handshake does not go on"
            else:
                return self.exchange()

    def ask(self) -> bytes:
        """A question's answer."""
        self.tls.write(b"hello")
        self.exchange()
        return self.tls.read()

    @property
    def has_ticket(self) -> bool:
        assert isinstance(self.tls.session, ssl.SSLSession)
        return self.tls.session.has_ticket


class Trust:
    """A certificate authority of ours, and a client's trust in it."""

    def __init__(self, folder: Path) -> None:
        authority.prepare(folder)
        ca = authority.load(folder)
        self.leaves = Leaves(ca.key, ca.certificate)
        self.context = ssl.create_default_context(cafile=str(ca.certificate_path))

    def client(self, session: ssl.SSLSession | None = None) -> Client:
        return Client(self.leaves, self.context, session)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


def test_nothing_follows_the_handshake_until_there_is_an_answer(trust: Trust) -> None:
    """A client that reads and writes in two threads has then nothing to read while it writes its request."""
    client = trust.client()
    assert client.shake() == b""
    assert client.tls.version() == "TLSv1.3"
    assert not client.has_ticket
    for _ in range(2):
        assert client.ask() == b"HELLO"
    assert client.has_ticket


def test_the_tickets_are_good(trust: Trust) -> None:
    """The next connection goes on with the session of the one before."""
    first = trust.client()
    first.shake()
    first.ask()
    assert not first.tls.session_reused
    second = trust.client(first.tls.session)
    second.shake()
    assert second.ask() == b"HELLO"
    assert second.tls.session_reused


def test_an_alert_does_not_wait(trust: Trust) -> None:
    """A client whose bytes make no sense is told, after the tickets that came before."""
    client = trust.client()
    client.shake()
    client._outgoing.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert client.exchange()
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        client.tls.read()


def test_tls_1_2_is_as_it_was(trust: Trust) -> None:
    """There the server has the last word of the handshake, and must say it."""
    trust.context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = trust.client()
    client.shake()
    assert client.tls.version() == "TLSv1.2"
    assert client.ask() == b"HELLO"
