"""The addon that puts the engine into a mitmproxy master.

It decides what is decrypted (claimed hosts alone), installs our HTTP layers there, and runs their hooks. Add it
ahead of mitmproxy's NextLayer. Every hook fails closed: mitmproxy itself would go on after an exception.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable

from mitmproxy import ctx, http
from mitmproxy.connection import Client, Server
from mitmproxy.exceptions import AddonHalt
from mitmproxy.net.http.url import hostport
from mitmproxy.proxy import layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.mode_specs import LocalMode, RegularMode, ReverseMode, TransparentMode, UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from interpose.call import Entrance, Headers
from interpose.engine.bodies import Local
from interpose.engine.engine import Engine
from interpose.errors import Refusal
from interpose.formats.hosts import canonical_host
from interpose.formats.keys import proxy_login
from interpose.gateway import Answers
from interpose.hosts.asgi import READABLE as GATEWAYS
from interpose.hosts.process import Process, Processes
from interpose.ledger import Connection
from interpose.secret import MASK
from interpose.stages.claim import is_address, split_authority
from interpose.upstream.pool import embedded, metadata_address

from . import remarks
from .calls import as_call, bare_call, entrance
from .carriage import Carriage, Onlookers, Stream
from .closing import close
from .layers import Closed, choose
from .native import Left
from .visits import Kind, Visit

logger = logging.getLogger(__name__)

# Up to here a request's body is held; beyond it streams through.
READABLE = 8 * 1024 * 1024
# mitmproxy's own connection errors name it; these messages are what a client is shown.
DIALLED_DIRECTLY = "a host of the rules is only reached through the engine"
# Messages of a WebSocket that are kept for those who look on, and what they may hold together.
MESSAGES = 1000
MESSAGES_SIZE = 4 * 1024 * 1024
# Replies that are read as they come: held until they are whole, they would be of no use to anybody.
EVENTS = frozenset(("text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl"))


class EngineAddon:
    """Connects one `Engine` with the master that this addon is in.

    `record` takes what became of a client's connection, `processes` finds whose it was, `onlookers` are there if
    anybody looks at the flows beside us, `web` is where they are shown. `front` is the engine with the
    gateway's pages in front of it. `sealed`: every host is claimed, and nothing leaves from here.
    """

    def __init__(
        self,
        engine: Engine,
        front: Answers,
        *,
        record: Callable[[Connection], None],
        new_id: Callable[[], str],
        onlookers: Onlookers | None = None,
        web: tuple[str, int] | None = None,
        sealed: bool = False,
    ) -> None:
        self.engine = engine
        self.front = front
        self.onlookers = onlookers
        self._record = record
        self._new_id = new_id
        self._web = web
        self._sealed = sealed
        # The proxy behind us, which all that leaves goes through. mitmproxy's modes name it: it stays what it was at
        # the start, where the engine's own way follows the rules.
        self.proxy = engine.rules.upstream.proxy
        self._processes = Processes()
        self._visits: dict[str, Visit] = {}

    # For the layers

    def claims(self, host: str, port: int) -> bool:
        return self._sealed or self.engine.claims(host, port)

    def readable(self, host: str) -> int:
        """How many bytes of a call's body are held, so that they can be read, edited and sent again."""
        return GATEWAYS if entrance(host, self.engine.rules) is Entrance.GATEWAY else READABLE

    def goes_direct(self, host: str) -> bool:
        """Whether that host is dialled from here even where a proxy stands behind us: it is on this machine."""
        return self.proxy is None or host == "localhost" or loopback(host)

    def visit(self, context: Context) -> Visit:
        return self._visits[context.client.id]

    def carriage(self, flow: http.HTTPFlow, stream: Stream) -> Carriage:
        proxyserver = ctx.master.addons.get("proxyserver")
        handler = proxyserver.connections[flow.client_conn.id]
        visit = self._visits[flow.client_conn.id]
        return Carriage(flow, stream, handler, self.front, self.engine, visit, self.onlookers)

    def apology(self, flow: http.HTTPFlow) -> http.Response:
        reply = self.engine.apologise(bare_call(flow, self.engine.rules))
        assert isinstance(reply.body, Local)
        return http.Response.make(reply.status, reply.body.whole(), http.Headers(reply.headers))

    async def interpose_left(self, left: Left) -> None:
        call = as_call(left.flow, self.engine.rules, app=await left.visit.app(), login=left.visit.login)
        call.id = left.visit.call_id()
        self.engine.abandon(call)

    async def interpose_engine(self, carriage: Carriage) -> None:
        await carriage.ask()

    async def interpose_hold(self, carriage: Carriage) -> None:
        await carriage.hold()

    async def interpose_pump(self, carriage: Carriage) -> None:
        await carriage.pump()

    # mitmproxy's hooks

    def client_connected(self, client: Client) -> None:
        peer = client.peername[:2]
        process = self._processes_of(client, peer)
        clock = self.engine.clock
        visit = Visit(peer, process=process, clock=clock, new_id=self._new_id, record=self._over)
        self._visits[client.id] = visit

    def _over(self, connection: Connection) -> None:
        """Records it. Prompts are said on command lines, too: what the rules scrub is not kept from there."""
        if connection.command and (scrub := self.engine.rules.ledger.scrub):
            from interpose.capturing.spellings import pattern

            for each in scrub:
                connection.command = pattern(each).sub(MASK, connection.command)
        self._record(connection)

    def _processes_of(self, client: Client, peer: tuple[str, int]) -> asyncio.Task[Process | None] | None:
        """Finds whose connection that is, if it is one of this machine."""
        if isinstance(client.proxy_mode, LocalMode) and (pid := redirected_pid(client)) is not None:
            return asyncio.ensure_future(self._processes.named(pid))
        # Connections that the system has led here look as if they came from elsewhere; in these modes, sockname is
        # where their clients believe to be connected with.
        led = isinstance(client.proxy_mode, LocalMode | TransparentMode)
        if led or loopback(peer[0]):
            return asyncio.ensure_future(self._processes.find(peer, client.sockname[:2], here=led))
        return None

    async def client_disconnected(self, client: Client) -> None:
        await self.end(client, client)
        if (visit := self._visits.get(client.id)) is not None:
            await visit.app()
            self._visits.pop(client.id, None)
            visit.over()

    def close(self) -> None:
        """Records the connections that are still open."""
        for visit in self._visits.values():
            visit.over()
        self._visits.clear()
        self._processes.close()

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is not None and self.claims(flow.request.host, flow.request.port):
            bound_messages(flow)

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        try:
            chosen = choose(nextlayer.context, nextlayer.data_client(), self)
            if chosen is not None:
                nextlayer.layer = chosen
        except AddonHalt:
            raise
        except Exception:
            logger.exception("choosing the protocol of a connection failed; it is closed")
            nextlayer.layer = Closed(nextlayer.context)

    def tls_established_client(self, data: TlsData) -> None:
        if (visit := self._visits.get(data.conn.id)) is not None:
            visit.decrypts()

    def tls_failed_client(self, data: TlsData) -> None:
        # Claimed hosts alone are decrypted: an AI call has just failed, and its client may not say why.
        name = data.conn.sni or (data.context.server.address or ("a host",))[0]
        if (visit := self._visits.get(data.conn.id)) is not None:
            visit.fails("tls_refused", str(data.conn.error))
        logger.warning(
            "a client refused our certificate for %s (%s): it must trust the CA of interpose, or it pins its own",
            name,
            data.conn.error,
        )

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        kind: Kind = "ai" if self.claims(flow.request.host, flow.request.port) else "tunnel"
        self.leads_to(flow, kind)
        self.identify(flow)
        self.vet(flow)
        if (visit := self._visits.get(flow.client_conn.id)) is not None:
            # It waits for our answer, hence is still there to be found; one that then refuses our certificate is not.
            await visit.app()

    def http_connect_error(self, flow: http.HTTPFlow) -> None:
        # Node since 24.5 forgets the connection of a tunnel that it was refused; open, it would keep the process alive.
        if flow.response is not None:
            flow.response.headers["Connection"] = "close"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        carried = self.carried(flow)
        self.identify(flow, answers=not carried)
        if carried:
            self.leads_to(flow, "ai")
            if isinstance(flow.client_conn.proxy_mode, ReverseMode):
                self.check_addressed(flow)
            return
        self.leads_to(flow, "http")
        self.vet(flow)
        # Plain HTTP to a host that is not ours stays mitmproxy's, which would hold bodies until they are whole: for
        # other addons to see and change, where there are any.
        if self.onlookers is None:
            flow.request.stream = flow.response is None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None or self.carried(flow) or response.stream:
            return
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        response.stream = self.onlookers is None or kind in EVENTS

    def leads_to(self, flow: http.HTTPFlow, kind: Kind) -> None:
        # A flow that is replayed has no client.
        if (visit := self._visits.get(flow.client_conn.id)) is not None:
            visit.leads_to(kind, flow.request.host, flow.request.port)

    def carried(self, flow: http.HTTPFlow) -> bool:
        """Whether the engine carries that flow; inside of TLS it carries all, for nothing else is decrypted."""
        return flow.server_conn.tls or self.claims(flow.request.host, flow.request.port)

    def check_addressed(self, flow: http.HTTPFlow) -> None:
        """A reverse proxy is asked by an address of its own, or as what it stands for. A web page that has had its
        own name point here (DNS rebinding) would spend our keys.
        """
        name, _ = split_authority(flow.request.host_header or "")
        target, port = flow.request.host, flow.request.port
        if name.lower() not in ("localhost", target) and not is_address(name):
            self.answer(flow, 403, f"This proxy stands for {target}; it does not answer as {name}.")
            return
        flow.request.host_header = hostport(flow.request.scheme, target, port)

    def identify(self, flow: http.HTTPFlow, *, answers: bool = True) -> None:
        """Takes out of a request what its client tells us as its proxy, for the calls of its connection. Answers one
        that is wrong, unless that is for the engine to do.
        """
        visit = self._visits.get(flow.client_conn.id)
        if visit is None or not isinstance(flow.client_conn.proxy_mode, RegularMode | UpstreamMode):
            return
        if any(getattr(ctx.options, name, None) for name in ("proxyauth", "upstream_auth")):
            return  # it is mitmproxy's own matter then
        login = proxy_login(flow.request.headers.fields)
        # It is meant for us: it goes no further, and nobody who looks on sees it.
        flow.request.headers.pop("proxy-authorization", None)
        if flow.request.method == "CONNECT":
            visit.tunnelled = True
        elif visit.tunnelled:
            return
        visit.login = login
        if answers and login is not None:
            try:
                refusal = self.engine.turned_away(login)
            except Exception:
                logger.exception("checking a proxy key failed; it is refused")
                refusal = Refusal(500, "internal_error", "interpose failed while checking this key.")
            if refusal is not None:
                self.answer(flow, refusal.status, refusal.message, refusal.headers)

    def vet(self, flow: http.HTTPFlow) -> None:
        """Answers in the place of a destination that nobody may reach through us."""
        if flow.response is not None:
            return
        try:
            refusal = self.refusal(flow)
        except Exception:
            logger.exception("vetting a destination failed; it is refused")
            refusal = 500, "interpose failed while checking this destination."
        if refusal is not None:
            self.answer(flow, *refusal)

    def answer(self, flow: http.HTTPFlow, status: int, message: str, headers: Headers = ()) -> None:
        if (visit := self._visits.get(flow.client_conn.id)) is not None:
            visit.fails("refused", message)
        fields = http.Headers((*headers, (b"Content-Type", b"text/plain; charset=utf-8")))
        flow.response = http.Response.make(status, f"{message}\n", fields)
        if self.onlookers is not None:
            remarks.say(flow, "refused", remarks.REFUSED)

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
        if self.reserved(host, port, flow.client_conn):
            return 403, f"{host} is not a host of the rules, and this proxy serves no other to clients elsewhere."
        return None

    def reserved(self, host: str, port: int, client: Client) -> bool:
        """Whether that client may reach nothing but the hosts of the rules, and this is none."""
        required = self.engine.rules.clients.required
        return bool(required) and not loopback(client.peername[0]) and not self.claims(host, port)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """The last lock: what mitmproxy itself dials is never a claimed host, a metadata service or ourselves."""
        try:
            # Another addon may have said no already.
            data.server.error = data.server.error or await self.undiallable(data)
        except Exception:
            logger.exception("vetting a connection failed; it is not made")
            data.server.error = "vetting failed"
        if (visit := self._visits.get(data.client.id)) is not None:
            # It waits for its tunnel, hence is still there to be found.
            await visit.app()

    async def undiallable(self, data: ServerConnectionHookData) -> str | None:
        """Why that connection is not made, if it is not."""
        if self._sealed:
            return "nothing leaves from here"
        address = data.server.address
        if address is None:
            return "no destination"
        host, port = address[:2]
        if self.proxy is not None and (self.proxy.host, self.proxy.port) == (host, port):
            return None
        if self.reserved(host, port, data.client):
            return "not a host of the rules"
        return await self.forbidden(host, port)

    async def server_disconnected(self, data: ServerConnectionHookData) -> None:
        await self.end(data.client, data.server)

    async def end(self, client: Client, connection: Client | Server) -> None:
        # A flow that is replayed has no client whose handler could be known.
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        if handler is not None:
            await close(handler, connection)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        if (visit := self._visits.get(data.client.id)) is not None:
            visit.fails("error", data.server.error or "not reached")

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
        listening = [address[:2] for address in ctx.master.addons.get("proxyserver").listen_addrs()]
        ours = {host for host, taken in (*listening, *([self._web] if self._web else [])) if taken == port}
        if ours and any(this_machine(address) or address in ours for address in addresses):
            return "that is this proxy itself"
        return None


def bound_messages(flow: http.HTTPFlow) -> None:
    """Forgets the oldest messages of a session, which can last for hours; never the latest."""
    assert flow.websocket is not None
    messages = flow.websocket.messages
    kept = size = 0
    for message in reversed(messages[-MESSAGES:]):
        size += len(message.content)
        if kept and size > MESSAGES_SIZE:
            break
        kept += 1
    if kept < len(messages):
        del messages[:-kept]
        remarks.note(flow, "the latest messages only")


def this_machine(address: str) -> bool:
    """Whether dialling that address ends here: loopback, or the unspecified address, which systems take for it."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = embedded(ip) or ip
    return ip.is_loopback or ip.is_unspecified


def redirected_pid(client: Client) -> int | None:
    """The process that the system names for a connection that it has brought here; Linux names none."""
    handler = ctx.master.addons.get("proxyserver").connections[client.id]
    pid = handler.transports[client].writer.get_extra_info("pid", None)
    return pid if isinstance(pid, int) and pid > 0 else None


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
