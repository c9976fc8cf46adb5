"""`interpose run --workers N`: the interceptor in several processes on one address, told and summed up as one.

This process has the address, the CA and the program under it; `worker` is what a worker does, `crew` how they are
started and ended. It waits in two threads: the main one for the workers and for signals, which it hands to the loop of
the other one, where everything else happens.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from interpose.errors import InterposeError
from interpose.hosts import authority, recording
from interpose.hosts.counting import counting_folder
from interpose.ledger.address import Readable
from interpose.ledger.record import RUN
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber

from . import guiding
from .asked import Asked
from .child import ENDS_SERVICE, ENDS_START, FORWARDED, CommandError, SignalDesk, has_terminal
from .crew import Crew, Hears, tell_of_counting
from .listen import Listen, reserved
from .logs import log_to_stderr
from .terminal import say
from .under import Program
from .worker import VARIABLE, Work, spawned

if TYPE_CHECKING:
    from pathlib import Path

# A worker gets so long to end, of which calls in flight have `hosts.mitm.DRAIN`.
PATIENCE = 20.0
# An end that takes longer is explained: processes need a moment for it.
MOMENT = 2.0


def run_together(asked: Asked) -> int:
    """As `run`, with several workers. Raises as that does."""
    options, rules = asked.options, asked.rules
    scrubber = Scrubber()
    log_to_stderr(scrubber, news=False)
    places = asyncio.run(_places(asked, scrubber))
    with ExitStack() as stack:
        listen = [stack.enter_context(reserved(each)) for each in asked.ways.listen]
        counts = stack.enter_context(counting_folder(asked.state))
        # As long as we run: a worker that takes another's place shows the same certificates.
        held = stack.enter_context(authority.occupied(asked.state / "ca"))
        work = Work(
            rules=None if options.rules is None else str(options.rules.absolute()),
            state=str(asked.state.absolute()),
            listen=[(each.host, each.port) for each in listen],
            mode=str(asked.ways.mode),
            metrics=str(counts.absolute()),
            run=secrets.token_hex(RUN // 2),
            given=bool(options.command),
            quiet=options.quiet,
        )
        os.environ[VARIABLE] = work.written()
        if not rules.audit_only:
            tell_of_counting(options.workers, rules)
        together = _Together(asked, listen, held.certificate_path)
        status = together.run()
    if together.ran and not options.quiet:
        guiding.sum_up(asked, places, work.run)
        together.program.say_what_went_past()
    return status


async def _places(asked: Asked, scrubber: Scrubber) -> tuple[Readable, ...]:
    """Where the ledger is read. Raises RulesError for credentials that are not to be had."""
    store = SecretStore(asked.environ, clock=time.monotonic, learn=scrubber.learn)
    if problems := await store.check_all(asked.rules.secrets):
        raise RulesError(problems)
    return recording.readable(await recording.places(asked.rules.ledger, asked.state, store, scrubber))


class _Desk(SignalDesk):
    """Signals come to the main thread, and are received in the loop of another one."""

    def hears(self) -> dict[signal.Signals, Hears]:
        """What the main thread does with each. One that our parent had us ignore stays ignored, in the program, too."""
        ignored = signal.SIG_IGN
        return {number: ignored if signal.getsignal(number) is ignored else self._hand_on for number in FORWARDED}

    def _hand_on(self, number: int, _: object) -> None:
        self._loop.call_soon_threadsafe(self._arrived, signal.Signals(number))


class _Together:
    """One run. `ran` says whether it came so far that workers answered."""

    def __init__(self, asked: Asked, listen: list[Listen], certificate: Path) -> None:
        self._asked = asked
        self._listen = listen
        self._certificate = certificate
        self._crew = Crew("interpose.cli.worker:spawned", listen[0], asked.options.workers, patience=PATIENCE)
        self._had_terminal = has_terminal()
        self._loop = asyncio.new_event_loop()
        self._desk = _Desk(self._loop)
        self._gone = asyncio.Event()
        self._status = 1
        self._error: InterposeError | None = None
        self.ran = False
        self.program = Program(asked, self._heard)

    def run(self) -> int:
        """The exit status. Raises InterposeError."""
        thread = threading.Thread(target=self._lead, name="interpose-leading", daemon=True)
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # As some parents leave it; the system would throw exit statuses away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        hears = self._desk.hears()
        before = {number: signal.getsignal(number) for number in hears}
        try:
            self._crew.run(spawned, hears, thread.start)
        except SystemExit:
            pass  # no worker could do its work, and has said why
        finally:
            self._loop.call_soon_threadsafe(self._gone.set)
            if thread.ident is not None:
                thread.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            self._loop.close()
        if self._error is not None:
            raise self._error
        return self._status

    # --- in the other thread ------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        self._loop.run_until_complete(self._use())

    async def _use(self) -> None:
        """From the first worker that answers to the last one that has ended."""
        try:
            if (ended_by := await self._answered()) is not None:
                self._status = 128 + ended_by
            elif not self._gone.is_set():
                self.ran = True
                listening = self._listen[0].reachable().url
                if self._asked.options.command:
                    self._status = await self.program.run(self._desk, listening, self._certificate, self._gone.wait)
                else:
                    await self._serve(listening)
        except CommandError as error:
            say(str(error))
            self._status, self.ran = error.status, False
        except InterposeError as error:
            self._error = error
        finally:
            self._desk.receiver = self._hurry
            self._crew.stop()
            waiting = self._loop.call_later(MOMENT, guiding.say_waiting, self._asked)
            await self._gone.wait()
            waiting.cancel()

    async def _answered(self) -> signal.Signals | None:
        """Waits until a worker answers, or all are gone; the signal that ends the start, if one does."""
        ended_by: list[signal.Signals] = []
        stopped = asyncio.Event()

        def end_start(number: signal.Signals) -> None:
            if number in ENDS_START and not self._means_rules(number):
                ended_by.append(number)
                stopped.set()

        self._desk.receiver = end_start
        while not (stopped.is_set() or self._gone.is_set()):
            if await asyncio.to_thread(self._crew.answers):
                self._crew.replaces()
                break
            await asyncio.sleep(0.05)
        return ended_by[0] if ended_by else None

    async def _serve(self, url: str) -> None:
        """Until a signal ends it, or all workers are gone."""
        asked_to_end = asyncio.Event()

        def end(number: signal.Signals) -> None:
            if self._means_rules(number):
                self._crew.tell(number)
            elif number in ENDS_SERVICE:
                asked_to_end.set()

        self._desk.receiver = end
        for each in self._listen:
            say(f"listening on {each.url} · {self._asked.options.workers} workers")
        if not self._asked.options.quiet:
            guiding.say_how_to_use(self._asked, url, self._certificate)
        waits = [asyncio.create_task(each.wait()) for each in (asked_to_end, self._gone)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if asked_to_end.is_set():
            self._status = 0
        else:
            say("the interceptor has stopped by itself")

    def _means_rules(self, number: signal.Signals) -> bool:
        """Whether that signal asks for the rules to be read again, and not for an end as a terminal's hang-up does."""
        hung_up = self._had_terminal and not has_terminal()
        return number == signal.SIGHUP and self._asked.options.rules is not None and not hung_up

    def _heard(self, number: signal.Signals) -> None:
        if self._means_rules(number):
            self._crew.tell(number)

    def _hurry(self, number: signal.Signals) -> None:
        if number in ENDS_START:
            self._crew.cut()
