"""`interpose run` and its rules file after the start: which signal means it, and what people are told of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.hosts.following import Following, Stale
from interpose.hosts.watching import Looks, can_be_read_again, looks
from interpose.rules.compiled import Rules
from interpose.rules.load import load

from .child import has_terminal
from .leading import changed_environment
from .terminal import say

if TYPE_CHECKING:
    from interpose.hosts.mitm import Interceptor


class RulesFile:
    """The file that was named on the command line, None if none was. Raises RulesError for one that cannot be used.

    `rules` are those that it held. `given` is the environment of a program under us, None without a program.
    """

    def __init__(self, path: Path | None, given: Mapping[str, str] | None) -> None:
        self._path = path
        self._given = given
        # Before it is read: what is written from here on is a change.
        self._looks: Looks = looks(path) if path is not None else None
        self.rules = load(path) if path is not None else Rules.default()
        self._had_terminal = has_terminal()
        self._following: Following | None = None

    @property
    def stale(self) -> Stale | None:
        return self._following.stale if self._following is not None else None

    def meant_by(self, number: signal.Signals) -> bool:
        """Whether that signal asks for the file to be read again, and not for an end as a terminal's hang-up does."""
        hung_up = self._had_terminal and not has_terminal()
        return number == signal.SIGHUP and self._path is not None and not hung_up

    def ask(self) -> None:
        """Has it read again."""
        if self._following is not None:
            self._following.ask()
        else:
            say("the rules cannot be read again: they came through a pipe")

    @contextmanager
    def followed_by(self, interceptor: Interceptor) -> Iterator[None]:
        """While it is open, the interceptor follows the file, if there is one that can be read again."""
        if self._path is None or not can_be_read_again(self._path):
            yield
            return

        async def adopt(rules: Rules) -> None:
            before = interceptor.rules
            await interceptor.reload(rules)
            for note in changed_environment(before, interceptor.rules, self._given or {}):
                say(note)

        self._following = Following(
            self._path,
            self.rules,
            self._looks,
            load=load,
            adopt=adopt,
            now=interceptor.engine.clock.now,
            read=interceptor.engine.observer.reloaded,
        )
        interceptor.stale = lambda: self.stale
        task = asyncio.get_running_loop().create_task(self._following.follow())
        try:
            yield
        finally:
            task.cancel()
