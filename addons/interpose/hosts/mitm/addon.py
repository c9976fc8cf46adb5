"""The addon that puts the engine into a mitmproxy master.

It decides what is decrypted (claimed hosts alone), installs our HTTP layers there, and runs their hooks. Add it
ahead of mitmproxy's NextLayer. Every hook fails closed: mitmproxy itself would go on after an exception.
"""

from __future__ import annotations

import ipaddress
import logging

from mitmproxy import ctx, http
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, tunnel
from mitmproxy.proxy.layers import ClientTLSLayer, TCPLayer, modes
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from interpose.engine import Engine
from interpose.formats.hosts import canonical_host
from interpose.pool import metadata_address

from .carriage import Carriage
from .native import EngineHttpLayer, EngineStream

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

    # For the layers

    def claims(self, host: str, port: int) -> bool:
        return self.engine.claims(host, port)

    def carriage(self, flow: http.HTTPFlow, stream: EngineStream) -> Carriage:
        proxyserver = ctx.master.addons.get("proxyserver")
        return Carriage(flow, stream, proxyserver.connections[flow.client_conn.id], self.engine.handle)

    async def interpose_engine(self, carriage: Carriage) -> None:
        await carriage.ask()

    async def interpose_pump(self, carriage: Carriage) -> None:
        await carriage.pump()

    # mitmproxy's hooks

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        try:
            nextlayer.layer = self.choose(nextlayer)
        except Exception:
            logger.exception("choosing the protocol of a connection failed; it is closed")
            nextlayer.layer = Closed(nextlayer.context)

    def choose(self, nextlayer: layer.NextLayer) -> layer.Layer | None:
        """Our layer where HTTP is spoken, a blind tunnel to hosts that are not ours; None leaves it to mitmproxy."""
        context = nextlayer.context
        below = context.layers[-1]
        data = nextlayer.data_client()
        if len(context.layers) == 1 and isinstance(below, modes.HttpProxy):
            stack = tunnel.LayerStack()
            if starts_like_tls_record(data):
                stack /= ClientTLSLayer(context)
            stack /= EngineHttpLayer(context, HTTPMode.regular, self, claims_all=False)
            return stack[0]
        if isinstance(below, HttpStream):
            # Behind a CONNECT.
            assert context.server.address is not None
            if not self.claims(*context.server.address[:2]):
                return TCPLayer(context, ignore=True)
            if data and not starts_like_tls_record(data):
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

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """The last lock: mitmproxy itself never dials a claimed host, whatever led it there."""
        address = data.server.address
        try:
            if address is None or self.claims(*address[:2]):
                data.server.error = DIALLED_DIRECTLY
            elif metadata_address(address[0]):
                data.server.error = "a metadata address"
        except Exception:
            logger.exception("vetting a connection failed; it is not made")
            data.server.error = "vetting failed"


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
