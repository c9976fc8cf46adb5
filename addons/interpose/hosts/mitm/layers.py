"""Which protocol a connection speaks to us, and whether we look into it: the choice that mitmproxy asks of an addon.

In every mode the rule is the same. A claimed host is decrypted and its calls go to the engine; everything else is
tunnelled as it is, and counted. Modes differ in how the destination is told: by CONNECT or an absolute URL (`regular`,
`upstream`), by SOCKS, by the address that was dialled (`transparent`, `local`), by the operator (`reverse`).
"""

from __future__ import annotations

import re
from typing import Protocol

from mitmproxy.exceptions import AddonHalt
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, TCPLayer, modes
from mitmproxy.proxy.layers.http import HTTPMode, _upstream_proxy
from mitmproxy.proxy.layers.tls import parse_client_hello
from mitmproxy.proxy.mode_specs import ReverseMode

from interpose.call import Origin
from interpose.stages.claim import is_address

from .native import Claims, EngineHttpLayer
from .tls import TicketsLast

EXPLICIT = (modes.HttpProxy, modes.HttpUpstreamProxy)
# A request line and its headers end within this, or the destination is not told by them.
HEAD = 64 * 1024
_REQUEST_LINE = re.compile(rb"[A-Z]{3,20} [^\r\n]* HTTP/1\.[01]\r?\n")
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)


class Owner(Claims, Protocol):
    """What the choice depends on, beside the connection itself."""

    @property
    def proxy(self) -> Origin | None: ...


class Closed(layer.Layer):
    """Closes the client's connection: where a decision has failed, nothing is forwarded."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


class Tunnel(TCPLayer):
    """Bytes to and from a host that is not ours, undecrypted and counted."""

    def __init__(self, context: Context, owner: Owner) -> None:
        super().__init__(context, ignore=True)
        self.visit = owner.visit(context)
        self.visit.passes(self)
        assert context.server.address is not None
        self.visit.leads_to("tunnel", *context.server.address[:2])

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            count = self.visit.sent if event.connection is self.context.client else self.visit.received
            count(self, len(event.data))
        yield from super().relay_messages(event)


def choose(context: Context, data: bytes, owner: Owner) -> layer.Layer | None:
    """The layer that goes on with a connection of which `data` has come; None leaves it to mitmproxy.

    Raises AddonHalt while too little has come to tell: mitmproxy asks again when there is more.
    """
    if context.client.transport_protocol != "tcp":
        # HTTP/3 to a claimed host would pass us by; clients fall back to TCP where UDP leads nowhere.
        return Closed(context) if context.server.address and context.server.address[1] == 443 else None
    if maybe_tls(data) and not starts_like_tls_record(data):
        raise AddonHalt
    mode, below = context.layers[0], context.layers[-1]
    if isinstance(mode, EXPLICIT) and len(context.layers) <= 2:
        if below is mode and maybe_tls(data):
            # By itself: mitmproxy then agrees on HTTP/1 for TLS to the proxy, as CONNECT needs.
            return TicketsLast(context)
        kind = HTTPMode.upstream if isinstance(mode, modes.HttpUpstreamProxy) else HTTPMode.regular
        return EngineHttpLayer(context, kind, owner, claims_all=False)
    if isinstance(below, ClientTLSLayer):
        return EngineHttpLayer(context, HTTPMode.transparent, owner, claims_all=True)
    if isinstance(below, tunnel.TunnelLayer) or context.server.address is None:
        return None
    return at_destination(context, data, owner)


def at_destination(context: Context, data: bytes, owner: Owner) -> layer.Layer | None:
    """The same, once the destination of the connection is known."""
    assert context.server.address is not None
    spec = context.client.proxy_mode
    if isinstance(spec, ReverseMode):
        context.server.tls = spec.scheme == "https"
    elif not isinstance(context.layers[0], EXPLICIT) and is_address(context.server.address[0]):
        # Who was dialled by address is known by the name that is asked for there.
        name = asked_name(data)
        if name and owner.claims(name, context.server.address[1]):
            context.server.address = (name, context.server.address[1])
    host, port = context.server.address[:2]
    if not owner.claims(host, port):
        return tunnelled(context, owner)
    owner.visit(context).leads_to("ai", host, port)
    if maybe_tls(data):
        # A claimed host is never dialled from here: no TLS with it stands below the client's.
        context.server.tls = not isinstance(spec, ReverseMode) or context.server.tls
        return TicketsLast(context)
    return EngineHttpLayer(context, HTTPMode.transparent, owner, claims_all=True)


def tunnelled(context: Context, owner: Owner) -> layer.Layer:
    """A blind tunnel: straight to its destination, or through the proxy behind us."""
    assert context.server.address is not None
    if owner.proxy is None or owner.goes_direct(context.server.address[0]):
        return Tunnel(context, owner)
    context.server.via = (owner.proxy.scheme, (owner.proxy.host, owner.proxy.port))  # type: ignore[assignment]  # http or https, by the rules
    stack = _upstream_proxy.HttpUpstreamProxy.make(context, send_connect=True)
    stack /= Tunnel(context, owner)
    return stack[0]


def maybe_tls(data: bytes) -> bool:
    """Whether a connection begins like a TLS record, as far as its first bytes tell."""
    return data[:1] == b"\x16" and (len(data) < 3 or starts_like_tls_record(data))


def asked_name(data: bytes) -> str | None:
    """The host name in a ClientHello or a Host header; None if there is none. Raises AddonHalt for half of either."""
    if maybe_tls(data):
        try:
            hello = parse_client_hello(data)
        except ValueError:
            return None
        if hello is None:
            raise AddonHalt
        return hello.sni
    if not data[:3].isalpha() or (b"\n" in data and not _REQUEST_LINE.match(data)):
        return None
    if b"\n\r\n" not in data and b"\n\n" not in data:
        if len(data) > HEAD:
            return None
        raise AddonHalt
    found = _HOST.search(data)
    if found is None:
        return None
    name = found[1].decode("latin-1").strip("[]")
    host, colon, port = name.rpartition(":")
    return host.strip("[]") if colon and port.isdecimal() else name
