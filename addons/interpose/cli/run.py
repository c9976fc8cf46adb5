"""`interpose run`: the interceptor, with a program under it or on its own until a signal ends it.

Everything that can be wrong with what a person asked for is found before anything is started.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.errors import InterposeError
from interpose.rules.compiled import Rules
from interpose.rules.problem import printable
from interpose.secret import Scrubber
from interpose.state import make_state_folder, state_path

from . import bypass, summary, trust
from .bypass import Lookout
from .child import Child, CommandError, SignalDesk, find_command
from .environment import own_proxy
from .leading import claims, leading_environment, withheld
from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen, check_exposure
from .logs import log_to_stderr
from .reloading import RulesFile
from .terminal import own_command, refuse, say, say_plain

if TYPE_CHECKING:
    from interpose.gateway import Answers
    from interpose.hosts.mitm import Interceptor
    from interpose.hosts.mitm.mode import Mode

# Ways by which the environment of a command leads its calls to us.
FOR_COMMANDS = ("regular", "upstream")

# A person's end of an interceptor on its own: nothing has failed.
ENDS_SERVICE = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
ENDS_START = ENDS_SERVICE | {signal.SIGQUIT}

# Seconds after which an end that still waits for calls is explained: without calls it takes less.
PATIENCE = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line. An empty `command` is none."""

    command: tuple[str, ...]
    rules: Path | None
    listen: tuple[str, ...]
    state: Path | None
    quiet: bool
    mode: str = "regular"
    web: str | None = None
    hint: bool = True
    """Whether to say where the ledger is: no use where it is about to be deleted."""
    front: Answers | None = None
    """What answers in the place of the engine, and of all that could be reached: nothing leaves then."""


def run(options: Options) -> int:
    """Runs until the command ends, or a signal comes; returns the exit status.

    Raises RulesError for what is wrong with the rules, other InterposeErrors for what is wrong with the surroundings.
    """
    environ = dict(os.environ)
    file = RulesFile(options.rules, environ if options.command else None)
    rules = file.rules
    for warning in rules.warnings:
        say_plain(str(warning))
    listen, web, mode = _listen(options), _web(options), _mode(options)
    try:
        rules = mode.applied_to(rules)
    except ValueError as error:
        refuse(str(error))
    try:
        for each in listen:
            check_exposure(each, clients_required=bool(rules.clients.required))
        if options.command:
            find_command(options.command[0], environ)
    except CommandError as error:
        say(str(error))
        return error.status
    state = make_state_folder(state_path(options.state, environ))
    if (variable := own_proxy(environ)) and rules.upstream.proxy is None:
        say(
            f"your {variable} is not used; to go through that proxy, name it: --mode upstream:http://…, or in the "
            "rules upstream: {proxy: http://…}"
        )
    return asyncio.run(_Run(options, rules, Ways(listen, mode, web), state, environ, file).run())


def _listen(options: Options) -> list[Listen]:
    if not options.listen:
        return [Listen(DEFAULT_HOST, 0 if options.command else DEFAULT_PORT)]
    try:
        return [Listen.parse(text) for text in options.listen]
    except ValueError as error:
        refuse(f"--listen {error}")


def _web(options: Options) -> tuple[str, int] | None:
    """Where mitmweb is to answer. Only to this machine: its page shows what was said, and can say it again."""
    if options.web is None:
        return None
    try:
        web = Listen.parse(options.web)
    except ValueError as error:
        refuse(f"--web {error}")
    if not web.is_loopback():
        refuse(f"--web {web}: mitmweb is shown on this machine only; reach it from elsewhere by a tunnel of yours")
    return web.host, web.port


def _mode(options: Options) -> Mode:
    from interpose.hosts.mitm.mode import Mode

    try:
        mode = Mode.parse(options.mode)
    except ValueError as error:
        refuse(f"--mode {error}")
    if options.command and mode.name not in FOR_COMMANDS:
        refuse(f"--mode {mode} does not lead a command's calls here; with CMD it is {' or '.join(FOR_COMMANDS)}")
    return mode


@dataclass(frozen=True, slots=True)
class Ways:
    """How clients come to us, and where people look on."""

    listen: list[Listen]
    mode: Mode
    web: tuple[str, int] | None


class _Run:
    """One run of the interceptor."""

    def __init__(
        self, options: Options, rules: Rules, ways: Ways, state: Path, environ: dict[str, str], file: RulesFile
    ) -> None:
        self.options = options
        self.rules = rules
        self.ways = ways
        self.state = state
        self.environ = environ
        self.file = file
        self.scrubber = Scrubber()
        self.lookout: Lookout | None = None

    async def run(self) -> int:
        with SignalDesk(asyncio.get_running_loop()) as desk:
            task = asyncio.current_task()
            assert task is not None
            ended_by: list[signal.Signals] = []

            def end_start(number: signal.Signals) -> None:
                if number in ENDS_START and not self.file.meant_by(number):
                    ended_by.append(number)
                    task.cancel()

            desk.receiver = end_start
            try:
                # Here, not above: the import takes a second, and a mistake should be told before it.
                from interpose.hosts.mitm import Interceptor

                log_to_stderr(self.scrubber, news=not self.options.quiet)
                interceptor = Interceptor(
                    self.rules,
                    state=self.state,
                    listen=[(each.host, each.port) for each in self.ways.listen],
                    mode=self.ways.mode,
                    web=self.ways.web,
                    environ=self.environ,
                    scrubber=self.scrubber,
                    front=self.options.front,
                )
                status = await self._hold(interceptor, desk, task)
            except asyncio.CancelledError:
                if not ended_by:
                    raise
                return 128 + ended_by[0]
            except CommandError as error:
                say(str(error))
                return error.status
        if not self.options.quiet and sys.stderr is not None:
            if interceptor.places:
                summary.show(
                    interceptor.places[0],
                    interceptor.writer,
                    sys.stderr,
                    command=bool(self.options.command),
                    again=self._usage_command(),
                    waiting=interceptor.waiting,
                )
            else:
                say_plain(f"interpose: the records went to {', '.join(map(str, self.rules.ledger.to))}")
            for line in bypass.told(self.lookout.found) if self.lookout is not None else ():
                say_plain(line)
            if self.file.stale is not None:
                say(str(self.file.stale))
        return status

    async def _hold(self, interceptor: Interceptor, desk: SignalDesk, task: asyncio.Task[int]) -> int:
        """Opens it, uses it and closes it. Closing waits for the calls in flight, until a signal says not to."""
        status: int | None = None
        hurried = False
        waiting: asyncio.TimerHandle | None = None

        def hurry(number: signal.Signals) -> None:
            nonlocal hurried
            if number in ENDS_START:
                hurried = True
                task.cancel()

        try:
            async with interceptor:
                with self.file.followed_by(interceptor):
                    status = await self._use(interceptor, desk)
                desk.receiver = hurry
                waiting = asyncio.get_running_loop().call_later(PATIENCE, self._say_waiting)
        except asyncio.CancelledError:
            # A cancelled exit does the rest of it: calls are settled as aborted, the ledger is closed.
            if status is None or not hurried:
                raise
            task.uncancel()
        finally:
            if waiting is not None:
                waiting.cancel()
                desk.receiver = lambda _: None
        assert status is not None
        return status

    def _say_waiting(self) -> None:
        """Why it takes a moment to end."""
        from interpose.hosts.mitm.proxy import DRAIN

        if not self.options.quiet:
            say(f"waiting up to {DRAIN:g} s for calls in flight; interrupt to stop now")

    async def _use(self, interceptor: Interceptor, desk: SignalDesk) -> int:
        listening = [Listen(*address) for address in interceptor.addresses]
        if interceptor.web_url is not None:
            say(f"mitmweb: {interceptor.web_url}")
            say(f"live page: {interceptor.live_url}")
        if not self.options.command:
            return await self._serve(interceptor, desk, listening)
        child_environ = leading_environment(
            self.rules, self.environ, proxy=listening[0].reachable().url, authority=interceptor.ca_certificate
        )
        if not self.options.quiet:
            for note in child_environ.notes:
                say(note)
            kept = [name for name in sorted(set(withheld(self.rules))) if self.environ.get(name)]
            stays = f" · {', '.join(kept)} stay{'s' * (len(kept) == 1)} with interpose" if kept else ""
            say(f"{self._rules_in_short()}{stays} · {printable(shlex.join(self.options.command))}")
        # Until the program is there, signals wait for it.
        early: list[signal.Signals] = []
        desk.receiver = early.append
        child = await Child.start(self.options.command, child_environ.values)
        for number in early:
            child.forward(number)

        def forward(number: signal.Signals) -> None:
            child.forward(number)
            if self.file.meant_by(number):
                self.file.ask()

        desk.receiver = forward
        stopped = asyncio.create_task(_say_when_stopped(interceptor))
        # Where the rules themselves lead elsewhere, an AI host may be spoken to on a port of its own.
        self.lookout = Lookout(child.pid, {443, *(port for _, port in claims(self.rules))})
        watching = asyncio.create_task(self.lookout.watch())
        try:
            return await child.wait()
        finally:
            stopped.cancel()
            watching.cancel()
            desk.receiver = lambda _: None

    async def _serve(self, interceptor: Interceptor, desk: SignalDesk, listening: list[Listen]) -> int:
        asked_to_end = asyncio.Event()

        def end(number: signal.Signals) -> None:
            if self.file.meant_by(number):
                self.file.ask()
            elif number in ENDS_SERVICE:
                asked_to_end.set()

        desk.receiver = end
        if self.ways.mode.listens:
            for each in listening:
                say(f"listening on {each.url}")
        else:
            say(f"catching what {self.ways.mode.data or 'every program here'} sends")
        if not self.options.quiet:
            bundles = trust.write_bundles(self.state / "ca", interceptor.ca_certificate, self.environ)
            self._say_how_to_use(listening[0].reachable().url, bundles["SSL_CERT_FILE"])
        waits = [asyncio.create_task(asked_to_end.wait()), asyncio.create_task(interceptor.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if waits[1].done() and (error := waits[1].exception()) is not None:
            raise error
        if not asked_to_end.is_set():
            raise InterposeError("the interceptor has stopped by itself")
        return 0

    def _say_how_to_use(self, url: str, trusted: Path) -> None:
        mode, name = self.ways.mode, self._rules_in_short()
        bundle = shlex.quote(str(trusted))
        trust = f"  export SSL_CERT_FILE={bundle} REQUESTS_CA_BUNDLE={bundle} NODE_EXTRA_CA_CERTS={bundle}"
        match mode.name:
            case "regular" | "upstream":
                say_plain(f"  {name}. In the shell of your application:")
                say_plain(f'  eval "$({self._env_command(url)})"')
            case "socks5":
                say_plain(f"  {name}. In the shell of your application:")
                say_plain(f"  export ALL_PROXY={url.replace('http://', 'socks5h://')}")
                say_plain(trust)
            case "reverse":
                say_plain(f"  {name}. {url} stands for {mode.data}: use it as the base URL")
            case _:
                say_plain(f"  {name}. Applications whose connections are led here must trust the CA:")
                say_plain(trust)

    def _env_command(self, url: str) -> str:
        """What prints all that a shell must set to come here."""
        command = f"{own_command()} env"
        if url != Listen(DEFAULT_HOST, DEFAULT_PORT).url:
            command += f" --proxy {url}"
        for name, path in (("--rules", self.options.rules), ("--state", self.options.state)):
            if path is not None:
                command += f" {name} {shlex.quote(str(path.absolute()))}"
        return command

    def _usage_command(self) -> str | None:
        """What shows the same ledger later."""
        if not self.options.hint:
            return None
        if self.rules.ledger.to:
            return f"{own_command()} usage --rules {shlex.quote(str(self.options.rules))}"
        if self.options.state is not None:
            return f"{own_command()} usage --state {shlex.quote(str(self.options.state))}"
        return f"{own_command()} usage"

    def _rules_in_short(self) -> str:
        if self.rules.source is None:
            return "audit only: every AI call is recorded, none is changed"
        gateway = self.rules.intercept.virtual_host
        more = f", gateway at https://{gateway}/v1" if gateway else " (audit only)" if self.rules.audit_only else ""
        return f"rules {self.rules.source.name}{more}"


async def _say_when_stopped(interceptor: Interceptor) -> None:
    await interceptor.wait()
    say("the interceptor has stopped by itself: the program's AI calls will now fail")
