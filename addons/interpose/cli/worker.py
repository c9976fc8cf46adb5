"""One worker of `interpose run --workers`: an interceptor in a process of its own, on an address that it shares.

What it is to do comes by the environment, since that is all that a process is given. What becomes of the processes is
the business of `together`; here is what a worker does when it is told something.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpose.errors import InterposeError
from interpose.hosts import authority, following, working
from interpose.rules.problem import RulesError
from interpose.secret import Scrubber

from .logs import log_to_stderr
from .reloading import RulesFile
from .terminal import say, say_plain

if TYPE_CHECKING:
    from interpose.hosts.mitm import Interceptor

VARIABLE = "INTERPOSE_INTERCEPTS"


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is to do. Paths are absolute; `run` begins the names of all workers in the ledger, `metrics` is
    where they count together. `given` says that there is a program under us, which was given our environment.
    """

    rules: str | None
    state: str
    listen: list[tuple[str, int]]
    mode: str
    metrics: str
    run: str
    given: bool
    quiet: bool

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Work:
        named = json.loads(environ[VARIABLE])
        return cls(**{**named, "listen": [(host, port) for host, port in named["listen"]]})


def spawned(number: int, *_given: Any, **_named: Any) -> None:
    """The whole life of a worker's process."""
    working.begin(number)
    try:
        with asyncio.Runner(loop_factory=working.SharingLoop) as runner:
            runner.run(_Worker(Work.read(os.environ), dict(os.environ)).live())
    except RulesError as error:
        for problem in error.problems:
            say_plain(str(problem))
        sys.exit(1)
    except InterposeError as error:
        say(str(error))
        sys.exit(1)


class _Worker:
    def __init__(self, work: Work, environ: dict[str, str]) -> None:
        self._work = work
        self._environ = environ
        self._first = working.first(environ)
        self._asked_to_end = asyncio.Event()
        self._hurried = False
        # There while it closes.
        self._closing: asyncio.Task[Any] | None = None

    async def live(self) -> None:
        """Until it is told to end, and what is in flight has ended. Raises InterposeError."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked_to_end.set)
        work, environ = self._work, self._environ
        scrubber = Scrubber()
        self._log(scrubber)
        # What all find alike is told by the first of them.
        path = None if work.rules is None else Path(work.rules)
        file = RulesFile(path, environ if work.given and self._first else None)
        interceptor = self._interceptor(file, scrubber)
        try:
            async with interceptor:
                with file.followed_by(interceptor):
                    working.listen(file.ask, self._cut)
                    await self._until_told(interceptor)
                self._closing = asyncio.current_task()
                if self._hurried:
                    self._cut()
        except asyncio.CancelledError:
            # A cancelled exit does the rest of it: calls are settled as aborted, the ledger is closed.
            if not self._hurried or self._closing is None:
                raise
            self._closing.uncancel()
        if self._first and not work.quiet and file.stale is not None:
            say(str(file.stale))

    def _interceptor(self, file: RulesFile, scrubber: Scrubber) -> Interceptor:
        # Here, not above: the process that starts workers needs none of it.
        from interpose.hosts.mitm import Interceptor
        from interpose.hosts.mitm.mode import Mode

        mode, work = Mode.parse(self._work.mode), self._work
        try:
            rules = mode.applied_to(file.rules)
        except ValueError as error:
            raise InterposeError(str(error)) from error
        return Interceptor(
            rules,
            state=Path(work.state),
            listen=work.listen,
            mode=mode,
            environ=self._environ,
            scrubber=scrubber,
            writer=work.run + secrets.token_hex(3),
            metrics=Path(work.metrics),
        )

    def _log(self, scrubber: Scrubber) -> None:
        log_to_stderr(scrubber, news=not self._work.quiet)
        if not self._first:
            following.logger.setLevel(logging.CRITICAL)
        # What is worth a warning at the start has been told by whoever has started us.
        authority.log.setLevel(logging.ERROR)

    async def _until_told(self, interceptor: Interceptor) -> None:
        waits = [asyncio.create_task(self._asked_to_end.wait()), asyncio.create_task(interceptor.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._asked_to_end.is_set():
            raise InterposeError("an interceptor has stopped by itself")

    def _cut(self) -> None:
        """Ends what is in flight, and then itself."""
        self._hurried = True
        self._asked_to_end.set()
        if self._closing is not None:
            self._closing.cancel()
