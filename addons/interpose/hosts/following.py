"""Has an engine follow its rules file: reads it when it has changed or somebody asks, and swaps the rules if good.

A file that cannot be used leaves the rules of before in force, and says so with all of its problems; until it is good
again the rules are `stale`. Reading and compiling happen in a thread: streams go on meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from interpose.errors import InterposeError
from interpose.rules.compiled import Rules
from interpose.rules.problem import Problem, RulesError

from .watching import Looks, Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stale:
    """The rules in force are not those of the file: `since` then (Unix seconds), for these reasons."""

    file: str
    since: float
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        when = datetime.datetime.fromtimestamp(self.since, datetime.UTC).astimezone().isoformat(" ", "seconds")
        many = len(self.problems)
        return (
            f"{self.file} cannot be used since {when} ({many} problem{'s' * (many != 1)}): calls go by the rules of "
            f"before; interpose check {self.file} tells more"
        )


class Following:
    """One file and what was made of it last.

    `load` reads and compiles it, in a thread; `adopt` puts rules in force. Both raise InterposeError where that cannot
    be, RulesError with its places. `rules` are those that were loaded and adopted last, `seen` is what the file looked
    like before they were read. `read` is told of each reading that changed something, and whether it was good.
    """

    def __init__(
        self,
        path: Path,
        rules: Rules | None,
        seen: Looks,
        *,
        load: Callable[[Path], Rules],
        adopt: Callable[[Rules], Awaitable[None]],
        now: Callable[[], float],
        read: Callable[[bool], None] = lambda good: None,
    ) -> None:
        self.path = path
        self.stale: Stale | None = None
        self._rules = rules
        self._load = load
        self._adopt = adopt
        self._now = now
        self._told = read
        self._watch = Watch(path, seen)
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """The file is read again, whatever it looks like; the answer is in the log."""
        self._asked.set()

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._watch.pause):
                    await self._asked.wait()
            except TimeoutError:
                # In a thread, since a network file system may not answer.
                if await asyncio.to_thread(self._watch.changed):
                    await self.reload()
            else:
                self._asked.clear()
                await asyncio.to_thread(self._watch.reads)
                await self.reload(asked=True)

    async def reload(self, *, asked: bool = False) -> None:
        """Reads the file now. Raises nothing: what is wrong is said, and makes the rules stale."""
        try:
            rules = await asyncio.to_thread(self._read)
            changed = rules != self._rules
            # What they name (CAs) may have changed where they have not; somebody who asks wants that, too.
            if changed or asked:
                await self._adopt(rules)
        except RulesError as error:
            self._fails(error.problems, asked=asked)
        except InterposeError as error:
            self._fails((Problem(str(self.path), 1, 1, "", str(error)),), asked=asked)
        except Exception as error:
            logger.exception("reading %s failed inside interpose", self.path)
            self._fails((Problem(str(self.path), 1, 1, "", f"interpose failed on it: {type(error).__name__}"),))
        else:
            self._succeeds(rules, changed=changed, asked=asked)

    def _read(self) -> Rules:
        """In a thread. Without the collector of cyclic garbage meanwhile, of which reading makes little: it would stop
        all threads for tenths of a second to look through what a large file has made.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._load(self.path)
        finally:
            if collects:
                gc.enable()

    def _fails(self, problems: tuple[Problem, ...], *, asked: bool = False) -> None:
        before, since = self.stale, self._now()
        if before is not None:
            if before.problems == problems and not asked:
                return
            since = before.since
        self.stale = Stale(str(self.path), since, problems)
        self._told(False)
        logger.error(
            "%s cannot be used; the rules of before stay in force until it is repaired:\n%s",
            self.path,
            "\n".join(map(str, problems)),
        )

    def _succeeds(self, rules: Rules, *, changed: bool, asked: bool) -> None:
        stale, self.stale, self._rules = self.stale, None, rules
        if changed:
            self._told(True)
            for warning in rules.warnings:
                logger.warning("%s", warning)
        again = " is good again:" if stale is not None else ":"
        if changed:
            logger.info("%s%s reloaded, version %s is in force", self.path, again, rules.version)
        elif asked or stale is not None:
            logger.info("%s%s unchanged, version %s stays in force", self.path, again, rules.version)
