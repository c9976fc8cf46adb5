"""`interpose serve`: the gateway. Workers of granian, each with an engine of its own (`hosts.serving`).

Here is what concerns all of them: what they serve and whether it can be, the address, signals, and what is said to the
person who starts them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpose.call import Entrance
from interpose.hosts.counting import counting_folder
from interpose.hosts.served import ServedRules, served
from interpose.hosts.serving import CUT, DRAIN, KEPT_BACK, VARIABLE, Service, spawned
from interpose.hosts.watching import can_be_read_again
from interpose.issued import Keys, KeysError
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.state import make_state_folder, state_path

from .child import has_terminal
from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen, check_exposure, reserved
from .terminal import own_command, refuse, say, say_plain
from .tls import check_certificate

if TYPE_CHECKING:
    from granian.server.mp import MPServer

TARGET = "interpose.hosts.serving:application"
# Connections of one worker that may be open at a time: streams are long, and idle connections count, too.
CONNECTIONS = 16_384
# What of the server's own log is said: it is at its errors, and at what it does about them.
LOGS: dict[str, Any] = {
    "formatters": {"ours": {"format": "interpose: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ours", "filters": ["ours"]}},
    "filters": {"ours": {"()": "interpose.cli.logs.of_the_server"}},
    "loggers": {"_granian": {"handlers": ["stderr"], "propagate": False}},
}


@dataclass(frozen=True, slots=True)
class Options:
    """What stands on the command line."""

    rules: Path | None
    listen: str | None
    workers: int
    state: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    quiet: bool


def serve(options: Options) -> int:
    """Serves until a signal comes; returns the exit status.

    Raises RulesError for what is wrong with the rules, other InterposeErrors for what is wrong with the surroundings.
    """
    listen = _listen(options.listen)
    file = options.rules
    if file is not None and file.exists() and not file.is_dir() and not can_be_read_again(file):
        refuse(f"--rules {file} can be read once, and each worker has to read it: name a file")
    found = served(options.rules, os.environ)
    rules = found.rules
    for warning in rules.warnings:
        say_plain(str(warning))
    check_exposure(listen, clients_required=rules.clients.asked_at(Entrance.GATEWAY))
    if (options.tls_cert is None) != (options.tls_key is None):
        refuse("--tls-cert and --tls-key go together")
    if options.tls_cert is not None and options.tls_key is not None:
        check_certificate(options.tls_cert, options.tls_key)
    if problems := asyncio.run(SecretStore(os.environ, clock=time.monotonic).check_all(rules.secrets)):
        raise RulesError(problems)
    state = make_state_folder(state_path(options.state, os.environ))
    # A worker alone counts in memory.
    with reserved(listen) as place, counting_folder(state) if options.workers > 1 else nullcontext() as counts:
        rules_file = None if file is None else str(file.absolute())
        os.environ[VARIABLE] = Service(rules_file, str(state), None if counts is None else str(counts)).written()
        _tell_before(options, found)
        Serving(_server(options, place), options, place, rules, state).run()
    return 0


def _server(options: Options, listen: Listen) -> MPServer:
    # Here, not above: a mistake should be told before the server is imported.
    from granian.constants import Interfaces, Loops, SSLProtocols
    from granian.log import LogLevels

    from .replacing import Workers

    return Workers(
        TARGET,
        answered=lambda: _answers(listen.reachable()),
        factory=True,
        address=listen.host,
        port=listen.port,
        interface=Interfaces.ASGI,
        # Not whichever is installed for other programs.
        loop=Loops.asyncio,
        workers=options.workers,
        workers_kill_timeout=int(DRAIN) + 5,
        backpressure=CONNECTIONS,
        websockets=False,
        log_level=LogLevels.info,
        log_dictconfig=LOGS,
        ssl_cert=options.tls_cert,
        ssl_key=options.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


class Serving:
    """The process that has started the workers: it passes on to them what it is told, and says that they answer."""

    def __init__(self, server: MPServer, options: Options, listen: Listen, rules: Rules, state: Path) -> None:
        self._server = server
        self._options = options
        self._listen = listen
        self._rules = rules
        self._state = state
        self._stopping = False
        # A terminal that hangs up ends us, unless whoever has started us (nohup) wants that not.
        self._of_terminal = sys.platform != "win32" and has_terminal() and not _ignored(signal.SIGHUP)

    def run(self) -> None:
        # A fork would take along whatever locks our threads hold at that moment.
        multiprocessing.set_start_method("spawn", force=True)
        if sys.platform != "win32":
            # Here, and in the workers until they listen to them: by themselves they would end them.
            signal.pthread_sigmask(signal.SIG_BLOCK, KEPT_BACK)
        self._server.on_startup(self._starting)
        self._server.serve(spawn_target=spawned)

    def _starting(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        threading.Thread(target=self._announce, name="interpose-listening", daemon=True).start()
        if sys.platform != "win32":
            threading.Thread(target=self._pass_on, name="interpose-reload", daemon=True).start()

    def _stop(self, *_: object) -> None:
        """The first time what is in flight may end by itself, for a while."""
        if sys.platform != "win32":
            if self._stopping:
                self._signal(CUT)
            else:
                cutting = threading.Timer(DRAIN, self._signal, (CUT,))
                cutting.daemon = True
                cutting.start()
        self._stopping = True
        self._server.signal_handler_interrupt()  # type: ignore[no-untyped-call] # granian types its arguments alone

    def _pass_on(self) -> None:
        """SIGHUP is for every worker, but for that of a terminal that is gone."""
        while True:
            signal.sigwait((signal.SIGHUP,))
            if self._of_terminal and not has_terminal():
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for worker in list(self._server.wrks):
            if worker.inner.is_alive():
                os.kill(worker.inner.pid, number)

    def _announce(self) -> None:
        # Its workers listen, each for itself, when they have opened all that they need.
        while not _answers(self._listen.reachable()):
            time.sleep(0.05)
        # One that dies from now on is replaced; before, there is something wrong with what they are to serve.
        self._server.respawn_failed_workers = True
        options, workers = self._options, self._options.workers
        base = f"{'http' if options.tls_cert is None else 'https'}://{self._listen.reachable()}/v1"
        say(f"answering at {base} · {workers} worker{'s' * (workers != 1)}")
        if options.quiet:
            return
        asked = self._rules.clients.asked_at(Entrance.GATEWAY)
        say_plain(f"  export OPENAI_BASE_URL={base} OPENAI_API_KEY={'vk-…' if asked else 'not-needed'}")
        if asked and not self._any_key():
            where = "" if options.state is None else f" --state {options.state}"
            say_plain(f"  Nobody has a key yet. Make one, good at once: {own_command()} keys add NAME{where}")

    def _any_key(self) -> bool:
        """Whether there is a client that could call; if nobody can tell, there may be."""
        if self._rules.clients.keys:
            return True
        keys = Keys(self._state, timer=time.monotonic)
        try:
            return any(key.revoked_at is None for key in keys.list())
        except KeysError:
            return True
        finally:
            keys.close()


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def _tell_before(options: Options, found: ServedRules) -> None:
    """What people should know of what they have asked for."""
    if options.rules is None and not options.quiet:
        names = ", ".join(found.rules.providers)
        say(f"no --rules: the usual limits, for clients with a key; providers: {names}")
        if found.without:
            left_out = ", ".join(f"{name} ({variable})" for name, variable in found.without.items())
            say_plain(f"  left out, since their variable is not set: {left_out}")
    if options.workers > 1 and found.rules.state.store is None:
        say(
            f"{options.workers} workers, and each counts limits and budgets by itself: a client may get up to "
            f"{options.workers} times as much. Name a Redis or Valkey server in the rules (state.store) for limits "
            "that hold over all of them"
        )


def _answers(listen: Listen) -> bool:
    try:
        with socket.create_connection((listen.host, listen.port), timeout=1):
            return True
    except OSError:
        return False


def _listen(text: str | None) -> Listen:
    if text is None:
        return Listen(DEFAULT_HOST, DEFAULT_PORT)
    try:
        return Listen.parse(text)
    except ValueError as error:
        refuse(f"--listen {error}")
