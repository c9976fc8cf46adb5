"""What a program gives that has an engine inside, and what it is told: rules in any form, where things are kept, the
records of its calls.

How the engine gets its calls is not known here: the interceptor in a thread (`embedded`), the httpx transports
(`hosts.httpx`) and the ASGI application (`hosts.application`) share this.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from interpose.ledger import LedgerError, Record
from interpose.ledger.address import Readable
from interpose.ledger.record import CALLS, from_row
from interpose.ledger.source import open_source
from interpose.rules.compiled import Rules
from interpose.rules.load import load, parse
from interpose.secret import Scrubber
from interpose.state import make_state_folder, state_path

from .assembly import Assembly, assemble

log = logging.getLogger(__name__)

RulesLike = Rules | Path | str | Mapping[str, object] | None
"""Rules, a path to a rules file, the text of one (a str of several lines), what one holds (a mapping); None: no rules,
hence record everything and change nothing.
"""

# Stands for the rules that were named last.
AGAIN: Final = Rules.default()
# How long `calls` waits for calls that are still in flight.
PATIENCE = 5.0
# Whose log lines are ours.
LOGGERS = ("interpose", "mitmproxy")


class Host(Protocol):
    """What runs an engine by rules and writes a ledger: an interceptor, or a bare assembly."""

    @property
    def places(self) -> tuple[Readable, ...]: ...
    @property
    def writer(self) -> str: ...
    async def reload(self, rules: Rules) -> None: ...
    async def committed(self, seconds: float) -> bool: ...


class Given:
    """What a program asks for. `rules` are those in force, or about to be: of none before they are read. `metrics` is
    the folder in which several processes count together.
    """

    def __init__(
        self,
        rules: RulesLike,
        state: Path | str | None,
        environ: Mapping[str, str] | None,
        load: Callable[[Path], Rules] = load,
        metrics: Path | None = None,
    ) -> None:
        self.rules = Rules.default()
        self._asked = rules
        self._state = state
        self._environ = environ
        self._load = load
        self._metrics = metrics
        # Learns every secret that is read.
        self.scrubber = Scrubber()

    @property
    def path(self) -> Path | None:
        """The rules' file, if that is what was given."""
        asked = self._asked
        return Path(asked) if isinstance(asked, Path) or (isinstance(asked, str) and "\n" not in asked) else None

    def read(self) -> None:
        """Raises RulesError. What is worth a warning is logged."""
        self.rules = told(self._load(path) if (path := self.path) is not None else read_rules(self._asked))

    def environ(self) -> dict[str, str]:
        return dict(os.environ if self._environ is None else self._environ)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The state folder; without one, another that is gone afterwards."""
        if self._state is not None:
            yield make_state_folder(state_path(Path(self._state), os.environ))
            return
        path = tempfile.mkdtemp(prefix="interpose-")
        try:
            yield Path(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @asynccontextmanager
    async def assembly(self) -> AsyncIterator[Assembly]:
        """An engine by these rules. Raises what `assemble` raises, InterposeError for a state folder that is none."""
        with self.folder() as state, scrubbed(self.scrubber):
            async with assemble(
                self.rules,
                state=state,
                environ=self.environ(),
                scrubber=self.scrubber,
                writer=secrets.token_hex(8),
                metrics=self._metrics,
            ) as assembly:
                yield assembly

    def reread(self, asked: RulesLike) -> None:
        """Other rules for when it is opened, or those of last time, read again. Raises RulesError: then nothing has
        changed.
        """
        asked = self._asked if asked is AGAIN else asked
        self.rules = told(read_rules(asked))
        self._asked = asked

    async def reload(self, host: Host, asked: RulesLike) -> None:
        """The same for what is open. Raises RulesError, also for what cannot be had."""
        asked = self._asked if asked is AGAIN else asked
        rules = told(await asyncio.to_thread(read_rules, asked))
        await host.reload(rules)
        self._asked, self.rules = asked, rules


def read_rules(rules: RulesLike) -> Rules:
    """Raises RulesError. Relative paths in text or a mapping start from the current folder."""
    match rules:
        case None:
            return Rules.default()
        case Rules():
            return rules
        case str() if "\n" in rules:
            return parse(rules, "rules", Path.cwd())
        case str() | Path():
            return load(rules)
        case _:
            # JSON is YAML.
            return parse(json.dumps(rules, indent=1, default=str), "rules", Path.cwd())


def told(rules: Rules) -> Rules:
    """The rules, their warnings logged."""
    for warning in rules.warnings:
        log.warning("%s", warning)
    return rules


@contextmanager
def scrubbed(scrubber: Scrubber) -> Iterator[None]:
    """No secret that `scrubber` knows is in what we log, whoever handles it."""
    # A filter sees its own logger's records alone, not those of the loggers below.
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in LOGGERS]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(scrubber)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(scrubber)


async def recorded(host: Host, since: str, seconds: float) -> list[Record]:
    """The calls of this run that began at `since` or later, once those in flight have ended, but after `seconds` at
    the latest.
    """
    await host.committed(seconds)
    if not host.places:
        raise LedgerError("the calls of this run cannot be told: ledger.to names no place that can be read")
    return await asyncio.to_thread(_read, host.places[0], host.writer, since)


def _read(place: Readable, writer: str, since: str) -> list[Record]:
    with open_source(place) as source:
        rows = source.rows(
            f"SELECT {CALLS.listed} FROM calls"  # noqa: S608 - our columns
            " WHERE writer = ? AND started_at >= ? AND entrance != 'ledger' ORDER BY started_at, seq",
            writer,
            since,
        )
        return [from_row(row) for row in rows]
