"""Our own mitmproxy master, as an async context manager: with only the addons that are needed, or mitmweb's.

A third of stock mitmproxy's CPU goes into asking 35 addons about every hook; ours has six. One master per process:
mitmproxy keeps its options and its context in globals.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver, tlsconfig
from mitmproxy.certs import DEFAULT_DHPARAM
from mitmproxy.exceptions import OptionsError
from mitmproxy.master import Master
from mitmproxy.options import CONF_BASENAME, Options
from mitmproxy.utils.asyncio_utils import set_eager_task_factory

from interpose.call import bracketed
from interpose.engine.engine import Engine
from interpose.errors import InterposeError
from interpose.gateway import Answers
from interpose.hosts import authority
from interpose.hosts.assembly import Assembly, assemble, new_id, unusable
from interpose.hosts.pages import Served
from interpose.hosts.recording import first_file
from interpose.ledger.address import Readable
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError
from interpose.secret import Scrubber

from . import DRAIN, views
from .addon import EngineAddon, loopback
from .carriage import Onlookers
from .dispatch import Dispatch
from .leaves import Leaves
from .mode import Mode, by_tcp_alone
from .redirector import Redirector, told
from .release import Release
from .remarks import Loaded
from .replay import Replay

logger = logging.getLogger(__name__)

# Room for long uploads and slow models: mitmproxy closes a connection on which nothing happens for so long.
IDLE_CLIENT = 600
# Below the ephemeral ports of Linux (32768) and of the others (49152): https://www.rfc-editor.org/rfc/rfc6335#section-6.
NOT_GIVEN_OUT = range(20000, 32000)

Address = tuple[str, int]


class ListenError(InterposeError):
    """The address cannot be listened on; the message names it."""


class Interceptor:
    """The interceptor, listening from `async with` on until its end.

    `listen` are the addresses to listen on (port 0: any free one), by `mode`; `web` is where mitmweb is to answer, if
    at all. While it runs, `addresses` is where it listens, `address` the first of them, `web_url` the page of mitmweb
    with its token, `live_url` the live page beside it, `ca_certificate` the PEM file that clients must trust,
    `ledger_path` the first file of the ledger (None if it is databases alone), `places` where the ledger is read,
    `writer` this run's name in it. Whoever has it follow a rules file sets `stale`, which says why that cannot be used
    just now.

    One of several workers that share `listen` is given its `writer` and the folder in which they count together,
    `metrics`. `front` answers in the place of the engine: then nothing is sent, nothing recorded, and no connection
    leaves.

    Raises ListenError, LedgerError, RulesError and AuthorityError before anything has been started, InterposeError
    if another one runs in this process.
    """

    _running: ClassVar[Interceptor | None] = None

    def __init__(
        self,
        rules: Rules,
        *,
        state: Path,
        listen: Sequence[Address] = (("127.0.0.1", 0),),
        mode: Mode | None = None,
        web: Address | None = None,
        environ: Mapping[str, str] | None = None,
        scrubber: Scrubber | None = None,
        front: Answers | None = None,
        writer: str | None = None,
        metrics: Path | None = None,
    ) -> None:
        self.mode = mode or Mode()
        self.rules = self.mode.applied_to(rules)
        self.state = state
        self.ledger_path = first_file(rules.ledger.sinks(state))
        self.places: tuple[Readable, ...] = ()
        self.writer = writer or secrets.token_hex(8)
        self.addresses: list[Address] = list(listen)
        self.web_url: str | None = None
        self.live_url: str | None = None
        self.failure: InterposeError | None = None
        self.stale: Callable[[], object | None] = lambda: None
        self.ca_certificate = state / "ca" / authority.CERTIFICATE
        self.scrubber = scrubber or Scrubber()
        self._front = front
        self._metrics = metrics
        self._web = web if web is None or web[1] else (web[0], free_port(web[0]))
        self._environ = os.environ if environ is None else environ
        self._stack = AsyncExitStack()
        self._stopped = asyncio.Event()
        self._assembly: Assembly | None = None

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def engine(self) -> Engine:
        """The engine at work. Raises InterposeError before the start."""
        if self._assembly is None:
            raise InterposeError("the interceptor does not run yet")
        return self._assembly.engine

    async def committed(self, seconds: float) -> bool:
        """Waits until the calls in flight have ended and all records are in the ledger; False if that takes longer."""
        if self._assembly is None:
            raise InterposeError("the interceptor does not run yet")
        return await self._assembly.committed(seconds)

    async def reload(self, rules: Rules) -> None:
        """Calls that begin from now on go by these rules; those in flight keep theirs.

        Raises RulesError where they cannot be put in force: then those of before stay.
        """
        if self._assembly is None:
            raise InterposeError("the interceptor does not run yet")
        try:
            # In a thread, as all that makes rules anew: thousands of routes take a tenth of a second to put in order.
            applied = await asyncio.to_thread(self.mode.applied_to, rules)
        except ValueError as error:
            raise RulesError([unusable(rules, str(error))]) from error
        if not applied.clients.required and (open_to := [host for host, _ in self.addresses if not loopback(host)]):
            message = (
                f"must stay true while the interceptor listens on {bracketed(open_to[0])}: whoever reaches it "
                "could use your keys"
            )
            raise RulesError([unusable(rules, message, "clients.required")])
        await self._assembly.reload(applied)
        proxy = self.rules.upstream.proxy
        if applied.upstream.proxy != proxy:
            told_of_proxy()
            applied = await asyncio.to_thread(replace, applied, upstream=replace(applied.upstream, proxy=proxy))
        self.rules = applied

    async def __aenter__(self) -> Self:
        if Interceptor._running is not None:
            raise InterposeError(
                "another interceptor runs in this process already, and mitmproxy allows one: use that one, or a "
                "process of its own"
            )
        async with AsyncExitStack() as stack:
            Interceptor._running = self
            stack.callback(self._ended)
            held = stack.enter_context(authority.occupied(self.state / "ca"))
            # mitmproxy would write it too, but not as a whole.
            with authority.told(held.folder):
                authority.replace_file(held.folder / f"{CONF_BASENAME}-dhparam.pem", DEFAULT_DHPARAM)
            assembly = await stack.enter_async_context(
                assemble(
                    self.rules,
                    state=self.state,
                    environ=self._environ,
                    scrubber=self.scrubber,
                    writer=self.writer,
                    metrics=self._metrics,
                )
            )
            self._assembly = assembly
            self.places = assembly.places
            stack.enter_context(set_eager_task_factory())
            await self._listen(assembly, Leaves(held.key, held.certificate), stack)
            self._stack = stack.pop_all()
        return self

    def _stale(self) -> object | None:
        return self.stale()

    @staticmethod
    def _ended() -> None:
        Interceptor._running = None

    async def _listen(self, assembly: Assembly, leaves: Leaves, stack: AsyncExitStack) -> None:
        proxy = self.rules.upstream.proxy
        modes = [self.mode.spec(address, proxy) for address in self.addresses]
        if self._metrics is not None:
            for each in modes:
                by_tcp_alone(each)
        options = Options(mode=modes, confdir=str(self.state / "ca"))
        served = Served(assembly, self._stale, alone=True)
        owner = EngineAddon(
            assembly.engine,
            served.front() if self._front is None else self._front,
            record=assembly.ledger.connection if self._front is None else lambda _: None,
            new_id=new_id,
            onlookers=Onlookers(self.scrubber) if self._web is not None else None,
            web=self._web,
            sealed=self._front is not None,
        )
        master, server = self._master(options, owner, leaves)
        # Lazy: a claimed host is never dialled by mitmproxy, so that a rerouted one need not even exist.
        master.options.update(connection_strategy="lazy", tcp_timeout=IDLE_CLIENT, keep_host_header=True)
        stack.push_async_callback(master.done)
        stack.callback(owner.close)
        redirector = None if self.mode.listens else Redirector()
        if redirector is not None:
            stack.push_async_callback(redirector.dismiss)
        try:
            listening = await server.setup_servers()
        except (OptionsError, OSError, RuntimeError, ValueError) as error:
            raise ListenError(f"{self.mode}: {error}") from error
        if not listening:
            failed = ", ".join(f"{bracketed(host)}:{port}" for host, port in self.addresses)
            if redirector is not None:
                raise ListenError(told(reason(server)))
            raise ListenError(f"cannot listen on {failed}: {reason(server)}")
        # On the way out, last first: stop accepting, let calls in flight end, cut off the rest.
        stack.push_async_callback(hang_up, server)
        stack.push_async_callback(assembly.engine.drain, DRAIN)
        stack.push_async_callback(server.servers.update, [])
        try:
            await master.running()
        except OSError as error:
            # mitmproxy's text proposes an option that is not ours.
            why = os.strerror(error.errno) if error.errno else str(error)
            where = f"{bracketed(self._web[0])}:{self._web[1]}" if self._web is not None else "the page"
            raise ListenError(f"--web: {where} cannot be listened on: {why}") from error
        if self._web is not None:
            self.live_url = self._show_live(master, served)
        if redirector is not None:
            await redirector.ready()
            watching = asyncio.create_task(self._watch(redirector))
            stack.callback(watching.cancel)
        self.addresses = [address[:2] for address in server.listen_addrs()] or self.addresses
        # For mitmweb's page, which tells where the proxy is. Each mode names its own address.
        master.options.update(listen_host=self.address[0], listen_port=self.address[1])

    def _show_live(self, master: Master, served: Served) -> str:
        # As above: the half second has been spent by now.
        from mitmproxy.tools.web.master import WebMaster

        from . import livepage

        assert isinstance(master, WebMaster)
        master.addons.add(livepage.LivePage(master, served, self.scrubber))
        return livepage.address(master.web_url)

    async def _watch(self, redirector: Redirector) -> None:
        self.failure = await redirector.ended()
        self._stopped.set()

    def _master(self, options: Options, owner: EngineAddon, leaves: Leaves) -> tuple[Master, proxyserver.Proxyserver]:
        if self._web is not None:
            # The import takes half a second, which nobody else should pay for.
            from . import web

            with_web = web.make(options, *self._web)
            install(with_web, owner, leaves)
            # Its page shows what is logged.
            self.scrubber.guard(logging.getLogger())
            self.web_url = with_web.web_url
            return with_web, with_web.proxyserver
        master = Master(options)
        master.addons = Dispatch(master)
        server = proxyserver.Proxyserver()
        master.addons.add(
            owner,
            core.Core(),
            disable_h2c.DisableH2C(),
            server,
            next_layer.NextLayer(),
            leaves,
            tlsconfig.TlsConfig(),
        )
        return master, server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        await self._stack.aclose()

    async def wait(self) -> None:
        """Until the interceptor is stopped. Raises InterposeError if it cannot go on."""
        await self._stopped.wait()
        if self.failure is not None:
            raise self.failure


def install(master: Master, owner: EngineAddon, *others: object) -> None:
    """Puts the engine into a master with stock addons: ahead of NextLayer, whose choice of protocols it makes, and
    last of all for replays, which it answers as other addons have left them. `others` stand beside it.
    """
    views.register()
    addons = master.addons
    # A list of its own: a hook may be going through the one that there is.
    addons.chain = list(addons.chain)
    ahead = [owner, *others]
    addons.add(*ahead, Loaded(), Release(), Replay(owner))
    addons.chain[:] = [each for each in addons.chain if each not in ahead]
    # TlsConfig, ahead of which others may have to be, comes after NextLayer.
    place = next(place for place, each in enumerate(addons.chain) if isinstance(each, next_layer.NextLayer))
    addons.chain[place:place] = ahead


def told_of_proxy() -> None:
    logger.warning(
        "upstream.proxy has changed in the rules: AI calls go by it from now on, everything else goes the way of "
        "before until interpose is started again"
    )


async def hang_up(server: proxyserver.Proxyserver) -> None:
    """Closes the clients' connections."""
    handlers = [
        io.handler
        for connection in list(server.connections.values())
        for io in connection.transports.values()
        if io.handler is not None
    ]
    for handler in handlers:
        handler.cancel("shutting down")
    if handlers:
        await asyncio.wait(handlers, timeout=2)


def free_port(host: str) -> int:
    """A port that nobody listens on there: mitmweb wants to know its own beforehand.

    Of those that no system gives out by itself, lest somebody else be given it until mitmweb listens.
    """
    for port in secrets.SystemRandom().sample(NOT_GIVEN_OUT, 50):
        try:
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
                return port
        except OSError:
            continue
    raise ListenError(f"--web: no free port was found on {bracketed(host)}")


def reason(server: proxyserver.Proxyserver) -> str:
    """Why a server did not start; mitmproxy's own text proposes options that are not ours."""
    error = next((each.last_exception for each in server.servers if each.last_exception), None)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error)
