"""`interpose run`: the interceptor, with a program under it or on its own until a signal ends it.

Everything that can be wrong with what a person asked for is found before anything is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from interpose.errors import InterposeError
from interpose.secret import Scrubber
from interpose.state import make_state_folder, state_path

from . import guiding
from .asked import Asked, Options, ways
from .child import ENDS_SERVICE, ENDS_START, CommandError, SignalDesk, find_command
from .environment import own_proxy
from .listen import Listen, check_exposure
from .logs import log_to_stderr
from .reloading import RulesFile
from .terminal import refuse, say, say_plain
from .under import Program

if TYPE_CHECKING:
    from interpose.hosts.mitm import Interceptor

# Seconds after which an end that still waits for calls is explained: without calls it takes less.
PATIENCE = 0.2


def run(options: Options) -> int:
    """Runs until the command ends, or a signal comes; returns the exit status.

    Raises RulesError for what is wrong with the rules, other InterposeErrors for what is wrong with the surroundings.
    """
    environ = dict(os.environ)
    file = RulesFile(options.rules, environ if options.command else None)
    rules = file.rules
    for warning in rules.warnings:
        say_plain(str(warning))
    found = ways(options)
    try:
        rules = found.mode.applied_to(rules)
    except ValueError as error:
        refuse(str(error))
    try:
        for each in found.listen:
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
    asked = Asked(options, rules, found, state, environ)
    if options.workers > 1:
        # Here, not above: nobody else should pay for the import.
        from .together import run_together

        return run_together(asked)
    # The import takes a second: a mistake should be told before it, and a signal end it.
    import interpose.hosts.mitm.proxy  # noqa: F401

    with asyncio.Runner() as runner:
        # First: an interrupt while a loop is made would leave a coroutine behind that nobody has begun.
        runner.get_loop()
        return runner.run(_Run(asked, file).run())


class _Run:
    """One run of the interceptor."""

    def __init__(self, asked: Asked, file: RulesFile) -> None:
        self.asked = asked
        self.file = file
        self.scrubber = Scrubber()
        self.program = Program(asked, self._heard)

    def _heard(self, number: signal.Signals) -> None:
        if self.file.meant_by(number):
            self.file.ask()

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
                from interpose.hosts.mitm import Interceptor

                asked, ways = self.asked, self.asked.ways
                log_to_stderr(self.scrubber, news=not asked.options.quiet)
                interceptor = Interceptor(
                    asked.rules,
                    state=asked.state,
                    listen=[(each.host, each.port) for each in ways.listen],
                    mode=ways.mode,
                    web=ways.web,
                    environ=asked.environ,
                    scrubber=self.scrubber,
                    front=asked.options.front,
                )
                status = await self._hold(interceptor, desk, task)
            except asyncio.CancelledError:
                if not ended_by:
                    raise
                return 128 + ended_by[0]
            except CommandError as error:
                say(str(error))
                return error.status
        if not asked.options.quiet:
            guiding.sum_up(asked, interceptor.places, interceptor.writer)
            self.program.say_what_went_past()
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
                waiting = asyncio.get_running_loop().call_later(PATIENCE, guiding.say_waiting, self.asked)
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

    async def _use(self, interceptor: Interceptor, desk: SignalDesk) -> int:
        listening = [Listen(*address) for address in interceptor.addresses]
        if interceptor.web_url is not None:
            say(f"mitmweb: {interceptor.web_url}")
            say(f"live page: {interceptor.live_url}")
        if not self.asked.options.command:
            return await self._serve(interceptor, desk, listening)
        proxy = listening[0].reachable().url
        return await self.program.run(desk, proxy, interceptor.ca_certificate, interceptor.wait)

    async def _serve(self, interceptor: Interceptor, desk: SignalDesk, listening: list[Listen]) -> int:
        asked_to_end = asyncio.Event()

        def end(number: signal.Signals) -> None:
            if self.file.meant_by(number):
                self.file.ask()
            elif number in ENDS_SERVICE:
                asked_to_end.set()

        desk.receiver = end
        mode = self.asked.ways.mode
        if mode.listens:
            for each in listening:
                say(f"listening on {each.url}")
        else:
            say(f"catching what {mode.data or 'every program here'} sends")
        if not self.asked.options.quiet:
            guiding.say_how_to_use(self.asked, listening[0].reachable().url, interceptor.ca_certificate)
        waits = [asyncio.create_task(asked_to_end.wait()), asyncio.create_task(interceptor.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if waits[1].done() and (error := waits[1].exception()) is not None:
            raise error
        if not asked_to_end.is_set():
            raise InterposeError("the interceptor has stopped by itself")
        return 0
