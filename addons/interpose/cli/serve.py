"""`interpose serve`: the gateway. Workers of granian, each with an engine of its own (`hosts.serving`)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from interpose.call import Entrance
from interpose.errors import InterposeError
from interpose.hosts.serving import DRAIN, VARIABLE, Service
from interpose.rules.load import load
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.state import make_state_folder, state_path

from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen, check_exposure
from .terminal import refuse, say, say_plain

TARGET = "interpose.hosts.serving:application"


@dataclass(frozen=True, slots=True)
class Options:
    """What stands on the command line."""

    rules: Path
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
    rules = load(options.rules)
    for warning in rules.warnings:
        say_plain(str(warning))
    check_exposure(listen, clients_required=rules.clients.asked_at(Entrance.GATEWAY))
    if (options.tls_cert is None) != (options.tls_key is None):
        refuse("--tls-cert and --tls-key go together")
    if problems := asyncio.run(
        SecretStore(os.environ, clock=time.monotonic).check_all([*rules.credentials, *rules.state.credentials])
    ):
        raise RulesError(problems)
    state = make_state_folder(state_path(options.state, os.environ))
    listen = _bindable(listen)
    os.environ[VARIABLE] = Service(str(options.rules.absolute()), str(state)).written()
    # Here, not above: a mistake should be told before the server is imported.
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    server = Granian(
        TARGET,
        factory=True,
        address=listen.host,
        port=listen.port,
        interface=Interfaces.ASGI,
        workers=options.workers,
        workers_kill_timeout=int(DRAIN) + 5,
        websockets=False,
        log_level=LogLevels.warning,
        ssl_cert=options.tls_cert,
        ssl_key=options.tls_key,
    )
    # A fork would take along whatever locks our threads hold at that moment.
    multiprocessing.set_start_method("spawn", force=True)
    scheme = "https" if options.tls_cert is not None else "http"
    base = f"{scheme}://{listen.reachable()}/v1"

    def starting() -> None:
        # granian would replace its workers: the rules are followed without that.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Its workers listen, each for itself, when they have opened all that they need.
        threading.Thread(target=announce, name="interpose-listening", daemon=True).start()

    def announce() -> None:
        while not _answers(listen.reachable()):
            time.sleep(0.05)
        say(f"answering at {base} · {options.workers} worker{'s' * (options.workers != 1)}")
        if not options.quiet:
            say_plain(f"  export OPENAI_BASE_URL={base} OPENAI_API_KEY=vk-…   # a key: interpose keys add NAME")

    server.on_startup(starting)
    server.serve()
    return 0


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


def _bindable(listen: Listen) -> Listen:
    """The address, with a free port in the place of 0.

    Raises InterposeError where somebody else listens: granian would share the port with them.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        with socket.create_server((listen.host, listen.port), family=family) as probe:
            return Listen(listen.host, probe.getsockname()[1])
    except OSError as error:
        raise InterposeError(f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from error
