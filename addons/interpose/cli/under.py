"""The program of `interpose run -- CMD`: led to an interceptor that answers, signalled, waited for, and watched for
what it sends past us.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from interpose.rules.problem import printable

from . import bypass
from .asked import Asked
from .bypass import Lookout
from .child import Child, SignalDesk
from .guiding import rules_in_short
from .leading import claims, leading_environment, withheld
from .terminal import say, say_plain


class Program:
    """One run of it. `heard` is told of each signal that it gets."""

    def __init__(self, asked: Asked, heard: Callable[[signal.Signals], None]) -> None:
        self._asked = asked
        self._heard = heard
        self._lookout: Lookout | None = None

    async def run(self, desk: SignalDesk, proxy: str, authority: Path, stopped: Callable[[], Awaitable[object]]) -> int:
        """Its exit status. It goes by `proxy`, a URL, and trusts `authority`, a PEM file; `stopped` waits until
        nobody answers there any more. Raises CommandError, and InterposeError if its environment cannot be made.
        """
        asked = self._asked
        environ = leading_environment(asked.rules, asked.environ, proxy=proxy, authority=authority)
        if not asked.options.quiet:
            for note in environ.notes:
                say(note)
            kept = [name for name in sorted(set(withheld(asked.rules))) if asked.environ.get(name)]
            stays = f" · {', '.join(kept)} stay{'s' * (len(kept) == 1)} with interpose" if kept else ""
            say(f"{rules_in_short(asked)}{stays} · {printable(shlex.join(asked.options.command))}")
        # Until the program is there, signals wait for it.
        early: list[signal.Signals] = []
        desk.receiver = early.append
        child = await Child.start(asked.options.command, environ.values)
        for number in early:
            child.forward(number)

        def forward(number: signal.Signals) -> None:
            child.forward(number)
            self._heard(number)

        desk.receiver = forward
        watching = [asyncio.create_task(_say_when(stopped))]
        # Where the rules themselves lead elsewhere, an AI host may be spoken to on a port of its own.
        self._lookout = Lookout(child.pid, {443, *(port for _, port in claims(asked.rules))})
        watching.append(asyncio.create_task(self._lookout.watch()))
        try:
            return await child.wait()
        finally:
            for task in watching:
                task.cancel()
            desk.receiver = lambda _: None

    def say_what_went_past(self) -> None:
        for line in bypass.told(self._lookout.found) if self._lookout is not None else ():
            say_plain(line)


async def _say_when(stopped: Callable[[], Awaitable[object]]) -> None:
    await stopped()
    say("the interceptor has stopped by itself: the program's AI calls will now fail")
