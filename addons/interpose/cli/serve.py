"""`interpose serve`: the gateway. Workers of granian, each with an engine of its own (`hosts.serving`).

Here is what concerns all of them: what they serve and whether it can be, the address, signals, and what is said to the
person who starts them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.call import Entrance
from interpose.hosts.counting import counting_folder
from interpose.hosts.served import ServedRules, served
from interpose.hosts.serving import DRAIN, VARIABLE, Service, spawned
from interpose.hosts.watching import can_be_read_again
from interpose.hosts.working import CUT
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
    from .crew import Crew, Hears

TARGET = "interpose.hosts.serving:application"
# Connections of one worker that may be open at a time: streams are long, and idle connections count, too.
CONNECTIONS = 16_384


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
        _Serving(_crew(options, place), options, place, rules, state).run()
    return 0


def _crew(options: Options, place: Listen) -> Crew:
    # Here, not above: a mistake should be told before the server is imported.
    from granian.constants import SSLProtocols

    from .crew import Crew

    return Crew(
        TARGET,
        place,
        options.workers,
        patience=DRAIN + 5,
        factory=True,
        backpressure=CONNECTIONS,
        ssl_cert=options.tls_cert,
        ssl_key=options.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


class _Serving:
    """The process that has started the workers: it passes on to them what it is told, and says that they answer."""

    def __init__(self, crew: Crew, options: Options, listen: Listen, rules: Rules, state: Path) -> None:
        self._crew = crew
        self._options = options
        self._listen = listen
        self._rules = rules
        self._state = state
        # A terminal that hangs up ends us, unless whoever has started us (nohup) wants that not.
        self._of_terminal = sys.platform != "win32" and has_terminal() and not _ignored(signal.SIGHUP)

    def run(self) -> None:
        hears: dict[signal.Signals, Hears] = {signal.SIGINT: self._stop, signal.SIGTERM: self._stop}
        if sys.platform != "win32":
            # What ends calls in a worker is nothing to us: by itself it would end us.
            hears |= {signal.SIGHUP: self._hang_up, CUT: lambda *_: None}
        self._crew.run(spawned, hears, self._begun)

    def _begun(self) -> None:
        threading.Thread(target=self._announce, name="interpose-listening", daemon=True).start()

    def _stop(self, *_: object) -> None:
        self._crew.stop(DRAIN)

    def _hang_up(self, *_: object) -> None:
        """SIGHUP is for every worker, but for that of a terminal that is gone."""
        if self._of_terminal and not has_terminal():
            self._stop()
        elif sys.platform != "win32":
            self._crew.tell(signal.SIGHUP)

    def _announce(self) -> None:
        while not self._crew.answers():
            time.sleep(0.05)
        self._crew.replaces()
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
    if options.workers > 1:
        from .crew import tell_of_counting

        tell_of_counting(options.workers, found.rules)


def _listen(text: str | None) -> Listen:
    if text is None:
        return Listen(DEFAULT_HOST, DEFAULT_PORT)
    try:
        return Listen.parse(text)
    except ValueError as error:
        refuse(f"--listen {error}")
