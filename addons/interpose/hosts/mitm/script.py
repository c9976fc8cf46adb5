"""The engine as a mitmproxy script: what stands behind `mitmdump -s addons/intercept.py` and its neighbours.

Several of these scripts in one mitmproxy share one engine, which then does what any of them asks. Until it is ready,
and wherever it fails to get ready, connections are closed: nothing passes unvetted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy import layer
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from interpose.errors import InterposeError
from interpose.hosts.assembly import CLOCK, Assembly, assemble, new_id
from interpose.hosts.following import Following
from interpose.hosts.pages import Served
from interpose.hosts.recording import told
from interpose.hosts.watching import Looks, can_be_read_again, looks
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.rules.parts import Part, only
from interpose.secret import Scrubber
from interpose.state import make_state_folder, state_path

from .addon import EngineAddon, loopback
from .carriage import Onlookers
from .forgetting import KEPT_FLOWS, Forgetful
from .layers import Closed
from .mode import Mode
from .proxy import install, told_of_proxy
from .replay import Replay

logger = logging.getLogger(__name__)


class Script:
    """What a script puts into its `addons`: the parts of the rules that it wants in force; none is observing alone."""

    def __init__(self, *parts: Part) -> None:
        self.parts = frozenset(parts)
        self.name = "interpose_script_" + "_".join(sorted(parts))

    def load(self, loader: Loader) -> None:
        shared = ctx.master.addons.get(Shared.name)
        if shared is None:
            shared = Shared()
            ctx.master.addons.add(shared)
        shared.parts |= self.parts


class Shared:
    """The one engine of a mitmproxy, whichever scripts have asked for it."""

    name = "interpose"

    def __init__(self) -> None:
        self.parts: frozenset[Part] = frozenset()
        self.scrubber = Scrubber()
        self.owner: EngineAddon | None = None
        self._decided = asyncio.Event()
        self._stack = AsyncExitStack()
        self._assembly: Assembly | None = None
        self._followed: Following | None = None
        self._following: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option("interpose_rules", str, "", "The rules file of interpose. Without one: observe only.")
        loader.add_option("interpose_state", str, "", "The folder of the ledger. Default: as `interpose run` has it.")
        loader.add_option(
            "interpose_flows", int, KEPT_FLOWS, "So many flows are kept by mitmweb or the console, the latest; 0: all."
        )
        # A claimed host is never dialled by mitmproxy; the Host that a reverse proxy was asked by is looked at.
        ctx.options.update(connection_strategy="lazy", keep_host_header=True)

    def configure(self, updated: set[str]) -> None:
        if self.owner is None:
            return
        if "interpose_state" in updated:
            raise OptionsError("the state of interpose is opened when mitmproxy starts: start it again")
        if "interpose_flows" in updated:
            raise OptionsError("how many flows are kept is settled when mitmproxy starts: start it again")
        if "interpose_rules" in updated:
            self.follow_other(ctx.options.interpose_rules)

    async def running(self) -> None:
        try:
            await self.open()
        except (InterposeError, ValueError) as error:
            logger.error("interpose: %s", error)
            ctx.master.shutdown()
        finally:
            self._decided.set()

    async def open(self) -> None:
        """Raises InterposeError or ValueError for what is wrong with the rules, the ledger or mitmproxy's options."""
        named = ctx.options.interpose_rules
        seen = looks(Path(named)) if named else None
        read = self.read(Path(named)) if named else Rules.default()
        for warning in read.warnings:
            logger.warning("%s", warning)
        rules = vetted(read)
        folder = ctx.options.interpose_state
        state = make_state_folder(state_path(Path(folder) if folder else None, os.environ))
        assembly = await self._stack.enter_async_context(
            assemble(rules, state=state, environ=os.environ, scrubber=self.scrubber, writer=secrets.token_hex(8))
        )
        self.scrubber.guard(logging.getLogger())
        served = Served(assembly, lambda: self._followed.stale if self._followed is not None else None, alone=True)
        owner = EngineAddon(
            assembly.engine,
            served.front(),
            record=assembly.ledger.connection,
            new_id=new_id,
            onlookers=Onlookers(self.scrubber),
            web=web_address(),
        )
        self._stack.callback(owner.close)
        install(ctx.master, owner)
        view = ctx.master.addons.get("view")
        if view is not None and (kept := ctx.options.interpose_flows) > 0:
            ctx.master.addons.add(Forgetful(view, flows=kept))
        if hasattr(ctx.master, "app"):
            # mitmdump has nothing to do with pages, nor with what makes them.
            from .columns import show_comments

            show_comments(ctx.master)
        self._assembly = assembly
        self._stack.callback(self.follow_none)
        self.owner = owner
        self.show_live(served)
        logger.info("interpose: ready; %s; ledger %s", self.in_short(rules, named), told(rules.ledger.sinks(state)))
        if (now := ctx.options.interpose_rules) != named:
            self.follow_other(now)
        elif named:
            self.follow(Path(named), read, seen)

    def show_live(self, served: Served) -> None:
        """The live page, in mitmweb."""
        if web_address() is None:
            return
        from . import livepage

        # Whose master has mitmweb's options is one of mitmweb's.
        ctx.master.addons.add(livepage.LivePage(ctx.master, served, self.scrubber))  # type: ignore[arg-type]
        logger.info("interpose: live page at %s", livepage.address(ctx.master.web_url))  # type: ignore[attr-defined]

    def read(self, path: Path) -> Rules:
        return only(load(path), self.parts)

    async def adopt(self, rules: Rules) -> None:
        """Raises InterposeError where these rules cannot be put in force."""
        assert self._assembly is not None
        assert self.owner is not None
        try:
            applied = vetted(rules)
        except ValueError as error:
            raise InterposeError(str(error)) from error
        await self._assembly.reload(applied)
        if applied.upstream.proxy != self.owner.proxy:
            told_of_proxy()

    def follow(self, path: Path, rules: Rules | None, seen: Looks) -> Following:
        """Has the engine follow that file, in the place of another."""
        self.follow_none()
        assert self._assembly is not None
        told = self._assembly.engine.observer.reloaded
        following = Following(path, rules, seen, load=self.read, adopt=self.adopt, now=CLOCK.now, read=told)
        self._followed = following
        if can_be_read_again(path) or rules is None:
            self._following = asyncio.get_running_loop().create_task(following.follow())
        return following

    def follow_none(self) -> None:
        self._followed = None
        if self._following is not None:
            self._following.cancel()

    def follow_other(self, named: str) -> None:
        """Somebody has named another file while we run, or none: then nothing but observing is left."""
        if named:
            self.follow(Path(named), None, None).ask()
            return
        self.follow_none()
        self._following = asyncio.get_running_loop().create_task(self.observe())

    async def observe(self) -> None:
        try:
            await self.adopt(Rules.default())
        except InterposeError as error:
            logger.error("interpose: the rules of before stay in force: %s", error)
        else:
            logger.info("interpose: observing only")

    def in_short(self, rules: Rules, named: str) -> str:
        """What is in force, in a few words."""
        if rules.audit_only or not self.parts:
            return f"rules {named}, observing only" if named else "observing only"
        return f"rules {named} ({', '.join(sorted(self.parts))})"

    async def done(self) -> None:
        await self._stack.aclose()

    async def request(self, flow: http.HTTPFlow) -> None:
        # `-C file` begins to replay before there is an engine.
        if flow.is_replay == "request":
            await self._decided.wait()
            if self.owner is not None:
                await Replay(self.owner).request(flow)
            elif flow.response is None:
                flow.response = http.Response.make(500, "interpose has not started\n")

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if self.owner is None:
            data.server.error = "interpose has not started"

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if self.owner is None:
            # Too early, or never to be. The layer that stock mitmproxy has chosen has put itself in the way already.
            if nextlayer.layer is not None:
                del nextlayer.context.layers[nextlayer.context.layers.index(nextlayer) + 1 :]
            nextlayer.layer = Closed(nextlayer.context)


def vetted(rules: Rules) -> Rules:
    """The rules as mitmproxy's options let them be put in force. Raises InterposeError or ValueError where not."""
    for spec in map(ProxyMode.parse, ctx.options.mode):
        if isinstance(spec, UpstreamMode):
            rules = Mode("upstream", spec.data).applied_to(rules)
    if ctx.options.ssl_insecure and rules.credentials:
        raise InterposeError("ssl_insecure is set: no credential of the rules may be sent to whoever answers")
    if rules.credentials and not rules.clients.required:
        check_exposure()
    return rules


def check_exposure() -> None:
    """Raises InterposeError if strangers could use our keys. Left to itself, mitmproxy listens on every address."""
    for host, port in (address[:2] for address in ctx.master.addons.get("proxyserver").listen_addrs()):
        if not loopback(host):
            raise InterposeError(
                f"mitmproxy listens on {host}, port {port}, and whoever reaches it could use your keys: add "
                "--listen-host 127.0.0.1, or let the rules ask every client for a key: "
                "clients: {required: true, keys: …}"
            )


def web_address() -> tuple[str, int] | None:
    """Where mitmweb answers, in mitmweb."""
    if "web_port" not in ctx.options:
        return None
    return ctx.options.web_host, ctx.options.web_port
