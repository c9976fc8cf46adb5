"""The addon that puts the engine into a mitmproxy master.

It decides what is decrypted (claimed hosts alone), installs our HTTP layers there, and runs their hooks. Add it
ahead of mitmproxy's NextLayer. Every hook fails closed: mitmproxy itself would go on after an exception.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http
from mitmproxy.exceptions import AddonHalt
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import ClientTLSLayer, TCPLayer, modes
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from interpose.engine import Engine, upgrades
from interpose.errors import Outcome
from interpose.exchange import Exchange, Local
from interpose.formats.hosts import canonical_host
from interpose.pool import embedded, metadata_address

from .carriage import Carriage, Stream, as_call, bare_call
from .native import EngineHttpLayer

logger = logging.getLogger(__name__)

# mitmproxy's own connection errors name it; these messages are what a client is shown.
DIALLED_DIRECTLY = "a host of the rules is only reached through the engine"


class Closed(layer.Layer):
    """Closes the client's connection: where a decision has failed, nothing is forwarded."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


class EngineAddon:
    """Connects one `Engine` with the master that this addon is in."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # WebSockets that the rules leave alone are carried by mitmproxy itself; live objects have no place in a flow.
        self._watched: WeakKeyDictionary[http.HTTPFlow, Exchange] = WeakKeyDictionary()
        self._may_dial: set[tuple[str, str, int]] = set()

    # For the layers

    def claims(self, host: str, port: int) -> bool:
        return self.engine.claims(host, port)

    def carriage(self, flow: http.HTTPFlow, stream: Stream) -> Carriage:
        proxyserver = ctx.master.addons.get("proxyserver")
        return Carriage(flow, stream, proxyserver.connections[flow.client_conn.id], self.engine)

    def apology(self, flow: http.HTTPFlow) -> http.Response:
        reply = self.engine.apologise(bare_call(flow))
        assert isinstance(reply.body, Local)
        return http.Response.make(reply.status, reply.body.whole(), http.Headers(reply.headers))

    async def interpose_engine(self, carriage: Carriage) -> None:
        await carriage.ask()

    async def interpose_pump(self, carriage: Carriage) -> None:
        await carriage.pump()

    def passes(self, flow: http.HTTPFlow) -> bool:
        """Whether a flow is a WebSocket that the rules leave alone: it passes as it is, carried by mitmproxy itself."""
        call = as_call(flow)
        if not upgrades(call):
            return False
        exchange = self.engine.witness(call)
        if exchange is None:
            return False
        self._watched[flow] = exchange
        self._may_dial.add((flow.client_conn.id, flow.request.host, flow.request.port))
        return True

    # mitmproxy's hooks

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow in self._watched and flow.websocket is not None:
            # Nobody looks at them here, and a session can last for hours.
            del flow.websocket.messages[:-1]

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self.observed(flow, "ok")

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            self.observed(flow, "ok")

    def error(self, flow: http.HTTPFlow) -> None:
        self.observed(flow, "error")

    def observed(self, flow: http.HTTPFlow, outcome: Outcome) -> None:
        exchange = self._watched.pop(flow, None)
        if exchange is not None:
            self._may_dial.discard((flow.client_conn.id, flow.request.host, flow.request.port))
            exchange.observe(flow.response.status_code if flow.response is not None else 502, outcome)

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        try:
            nextlayer.layer = self.choose(nextlayer)
        except AddonHalt:
            raise
        except Exception:
            logger.exception("choosing the protocol of a connection failed; it is closed")
            nextlayer.layer = Closed(nextlayer.context)

    def choose(self, nextlayer: layer.NextLayer) -> layer.Layer | None:
        """Our layer where HTTP is spoken, a blind tunnel to hosts that are not ours; None leaves it to mitmproxy."""
        context = nextlayer.context
        below = context.layers[-1]
        data = nextlayer.data_client()
        if maybe_tls(data) and not starts_like_tls_record(data):
            raise AddonHalt  # too little to tell: mitmproxy asks again when more has come
        if len(context.layers) == 1 and isinstance(below, modes.HttpProxy):
            if maybe_tls(data):
                # By itself: mitmproxy then agrees on HTTP/1 for TLS to the proxy, as CONNECT needs.
                return ClientTLSLayer(context)
            return EngineHttpLayer(context, HTTPMode.regular, self, claims_all=False)
        if (
            len(context.layers) == 2
            and isinstance(context.layers[0], modes.HttpProxy)
            and isinstance(below, ClientTLSLayer)
        ):
            return EngineHttpLayer(context, HTTPMode.regular, self, claims_all=False)
        if isinstance(below, HttpStream):
            # Behind a CONNECT.
            assert context.server.address is not None
            if not self.claims(*context.server.address[:2]):
                return TCPLayer(context, ignore=True)
            if not maybe_tls(data):
                return EngineHttpLayer(context, HTTPMode.transparent, self, claims_all=True)
            return None
        if isinstance(below, ClientTLSLayer) and context.server.address is not None:
            return EngineHttpLayer(context, HTTPMode.transparent, self, claims_all=True)
        return None

    def tls_failed_client(self, data: TlsData) -> None:
        # Claimed hosts alone are decrypted: an AI call has just failed, and its client may not say why.
        name = data.conn.sni or (data.context.server.address or ("a host",))[0]
        logger.warning(
            "a client refused our certificate for %s (%s): it must trust the CA of interpose, or it pins its own",
            name,
            data.conn.error,
        )

    def http_connect(self, flow: http.HTTPFlow) -> None:
        self.vet(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not self.carried(flow):
            self.vet(flow)
            # Plain HTTP to a host that is not ours stays mitmproxy's, which would hold bodies until they are whole.
            flow.request.stream = flow.response is None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and not self.carried(flow):
            flow.response.stream = True

    def carried(self, flow: http.HTTPFlow) -> bool:
        """Whether the engine carries that flow; inside of TLS it carries all, for nothing else is decrypted."""
        return flow.server_conn.tls or self.claims(flow.request.host, flow.request.port)

    def vet(self, flow: http.HTTPFlow) -> None:
        """Answers in the place of a destination that nobody may reach through us."""
        try:
            refusal = self.refusal(flow)
        except Exception:
            logger.exception("vetting a destination failed; it is refused")
            refusal = 500, "interpose failed while checking this destination."
        if refusal is not None:
            status, message = refusal
            flow.response = http.Response.make(status, f"{message}\n", {"Content-Type": "text/plain; charset=utf-8"})

    def refusal(self, flow: http.HTTPFlow) -> tuple[int, str] | None:
        host, port = flow.request.host, flow.request.port
        if "@" in (flow.request.authority or ""):
            return 400, "The destination must not carry a user or password."
        try:
            host = canonical_host(host)
        except ValueError as error:
            return 400, f"The destination is invalid: {error}."
        if metadata_address(host):
            return 403, f"{host} is a metadata address; it is not reached through interpose."
        if (
            self.engine.rules.clients.required
            and not self.claims(host, port)
            and not loopback(flow.client_conn.peername[0])
        ):
            return 403, f"{host} is not a host of the rules, and this proxy serves no other to clients elsewhere."
        return None

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """The last lock: what mitmproxy itself dials is never a claimed host, a metadata service or ourselves."""
        address = data.server.address
        try:
            if address is not None and (data.client.id, *address[:2]) in self._may_dial:
                # mitmproxy has noted the name that TLS is to verify; only where it is dialled may differ.
                data.server.address = self.engine.rules.upstream.connect_to.get(address[:2], address)
                return
            data.server.error = "no destination" if address is None else await self.forbidden(*address[:2])
        except Exception:
            logger.exception("vetting a connection failed; it is not made")
            data.server.error = "vetting failed"

    async def forbidden(self, host: str, port: int) -> str | None:
        """Why that destination is not dialled. Judged by the addresses that it stands for, in whatever spelling."""
        if self.claims(host, port):
            return DIALLED_DIRECTLY
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return error.strerror or "the host is not known"
        addresses = {str(entry[4][0]) for entry in found}
        if any(metadata_address(address) for address in addresses):
            return "a metadata address"
        ours = {listening[1]: listening[0] for listening in ctx.master.addons.get("proxyserver").listen_addrs()}
        if port in ours and any(this_machine(address) or address == ours[port] for address in addresses):
            return "that is this proxy itself"
        return None


def maybe_tls(data: bytes) -> bool:
    """Whether a connection begins like a TLS record, as far as its first bytes tell."""
    return data[:1] == b"\x16" and (len(data) < 3 or starts_like_tls_record(data))


def this_machine(address: str) -> bool:
    """Whether dialling that address ends here: loopback, or the unspecified address, which systems take for it."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = embedded(ip) or ip
    return ip.is_loopback or ip.is_unspecified


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
