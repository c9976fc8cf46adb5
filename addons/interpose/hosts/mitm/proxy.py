"""Our own mitmproxy master, with only the addons that are needed, as an async context manager.

A third of stock mitmproxy's CPU goes into asking 35 addons about every hook; this one has six. One master per
process: mitmproxy keeps its options and its context in globals.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import certifi
from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.utils.asyncio_utils import set_eager_task_factory

from interpose.engine import Engine
from interpose.errors import InterposeError
from interpose.exchange import Clock
from interpose.ledger import Ledger
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber
from interpose.upstream import Upstream

from . import authority
from .addon import EngineAddon

CLOCK = Clock(now=time.time, monotonic=time.monotonic)
# Room for long uploads and slow models: mitmproxy closes a connection on which nothing happens for so long.
IDLE_CLIENT = 600
# Calls in flight get so long to end when we stop.
DRAIN = 5.0


class ListenError(InterposeError):
    """The address cannot be listened on; the message names it."""


def new_id() -> str:
    """A call's id: 96 random bits."""
    return f"ip_{secrets.token_hex(12)}"


class Interceptor:
    """The interceptor, listening from `async with` on until its end.

    `address` is where it listens (with port 0 given, the one it got), `ca_certificate` the PEM file that clients
    must trust, `ledger_path` the SQLite file, `writer` this run's name in it. Raises ListenError, LedgerError,
    RulesError and AuthorityError before anything has been started.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        state: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        environ: Mapping[str, str] | None = None,
        scrubber: Scrubber | None = None,
    ) -> None:
        self.rules = rules
        self.state = state
        self.ledger_path = rules.ledger.sqlite or state / "usage.db"
        self.writer = secrets.token_hex(8)
        self.address = (host, port)
        self.ca_certificate = state / "ca" / authority.CERTIFICATE
        self.scrubber = scrubber or Scrubber()
        self._environ = os.environ if environ is None else environ
        self._stack = AsyncExitStack()
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            sources = [each.credential for each in self.rules.providers.values() if each.credential is not None]
            store = SecretStore(self._environ, clock=CLOCK.monotonic, learn=self.scrubber.learn)
            if problems := await store.check_all(sources):
                raise RulesError(problems)
            self.ca_certificate = authority.prepare(self.state / "ca")
            ledger = Ledger.open(self.ledger_path, writer=self.writer, clock=CLOCK.now, scrub=self.scrubber.scrub)
            stack.callback(ledger.close)
            engine = Engine(
                self.rules,
                upstream=Upstream(self.rules.upstream),
                resolve=store.resolve,
                record=ledger.record,
                clock=CLOCK,
                new_id=new_id,
            )
            stack.push_async_callback(engine.close)
            stack.enter_context(set_eager_task_factory())
            await self._listen(engine, stack)
            self._stack = stack.pop_all()
        return self

    async def _listen(self, engine: Engine, stack: AsyncExitStack) -> None:
        host, port = self.address
        master = Master(Options(listen_host=host, listen_port=port, mode=["regular"], confdir=str(self.state / "ca")))
        server = proxyserver.Proxyserver()
        master.addons.add(
            EngineAddon(engine),
            core.Core(),
            disable_h2c.DisableH2C(),
            server,
            next_layer.NextLayer(),
            tlsconfig.TlsConfig(),
        )
        # For what mitmproxy itself carries over TLS: the WebSockets of claimed hosts that the rules leave alone.
        master.options.update(ssl_verify_upstream_trusted_ca=str(trusted(self.state / "ca", self.rules.upstream.ca)))
        # Lazy: a claimed host is never dialled by mitmproxy, so that a rerouted one need not even exist.
        master.options.update(connection_strategy="lazy", tcp_timeout=IDLE_CLIENT)
        stack.push_async_callback(master.done)
        if not await server.setup_servers():
            raise ListenError(f"cannot listen on {shown(host)}:{port}: {reason(server)}")
        # On the way out, last first: stop accepting, let calls in flight end, cut off the rest.
        stack.push_async_callback(hang_up, server)
        stack.push_async_callback(engine.drain, DRAIN)
        stack.push_async_callback(server.servers.update, [])
        await master.running()
        self.address = server.listen_addrs()[0][:2]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        await self._stack.aclose()

    async def wait(self) -> None:
        """Until the interceptor is stopped."""
        await self._stopped.wait()


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


def trusted(folder: Path, extra: Path | None) -> Path:
    """A file of the CAs that upstreams are verified by: the system's (SSL_CERT_FILE included) and the rules'."""
    system = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where()
    bundle = folder / "upstream-cas.pem"
    authority.replace_file(bundle, b"\n".join(Path(path).read_bytes() for path in (system, extra) if path is not None))
    return bundle


def shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def reason(server: proxyserver.Proxyserver) -> str:
    """Why a server did not start; mitmproxy's own text proposes options that are not ours."""
    error = next((each.last_exception for each in server.servers if each.last_exception), None)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error)
