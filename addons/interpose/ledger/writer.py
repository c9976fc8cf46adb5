"""The ledger as those see it who record: one call takes a record to every sink, each with a lane of its own.

Traffic never waits for the ledger and never fails with it. What enters is made storable once, its secrets scrubbed;
the rest is each lane's own: its queue, its chain, its outages.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from interpose import __version__

from .lane import Lane, Pace
from .record import (
    CALLS,
    CAPTURES,
    CONNECTIONS,
    Capture,
    Connection,
    Record,
    Row,
    Table,
    canonical_heads,
    storable,
    utc_text,
)
from .schema import Connect
from .sink import Sink, Writer
from .spool import Spool
from .sqlite import SqliteSink

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """A sink, and where its records wait while it is away, if anywhere but in memory."""

    sink: Sink
    spool: Callable[[], Spool] | None = None


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink does: how many records wait for it, how many are lost; whether it is `away`, and whether what waits is
    in its spool (`spooled`), else in memory.
    """

    name: str
    pending: int
    lost: int
    away: bool
    spooled: bool


class Ledger:
    """One writer on its sinks. Any thread may call any method; open it after forking, not before."""

    def __init__(self, lanes: Sequence[Lane], scrub: Callable[[str], str] | None) -> None:
        """`Ledger.open` and `Ledger.start` are the ways in; here everything is ready to write."""
        self._lanes = tuple(lanes)
        self._scrub = scrub
        # The threads are daemons, so that a forgotten close() cannot hang the exit; this drains all the same.
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        writer: str,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
        scrub: Callable[[str], str] | None = None,
        on_commit: Callable[[int], None] | None = None,
        batch: int = 500,
        interval: float = 0.1,
        capacity: int = 100_000,
        connect: Connect = sqlite3.connect,
    ) -> Self:
        """One SQLite file, opened or created at `path`, without a spool; else as `start`."""
        pace = Pace(clock=clock, timer=timer, batch=batch, interval=interval, capacity=capacity)
        ways = [Way(SqliteSink(path, connect=connect))]
        return cls.start(ways, writer=writer, pace=pace, scrub=scrub, on_commit=on_commit)

    @classmethod
    def start(
        cls,
        ways: Sequence[Way],
        *,
        writer: str,
        pace: Pace,
        scrub: Callable[[str], str] | None = None,
        on_commit: Callable[[int], None] | None = None,
    ) -> Self:
        """Enters `writer`, a random hex id that was never used before, into every sink that is there.

        `scrub` takes secrets out of every text. `on_commit` is told, in a thread of the ledger, the highest `seq` that
        the first sink has acknowledged. Raises LedgerError. Blocks: not for an event loop.
        """
        entered: list[tuple[Sink, Writer, Spool | None]] = []
        with ExitStack() as undoing:
            for way in ways:
                undoing.callback(way.sink.close)
                spool = way.spool() if way.spool is not None else None
                if spool is not None:
                    undoing.callback(spool.close)
                new = Writer(writer=writer, opened_at=utc_text(pace.clock()), version=__version__)
                entered.append((way.sink, _entered(way.sink, new, spool), spool))
            undoing.pop_all()
        return cls(
            [
                Lane(sink, known, pace, spool=spool, on_commit=on_commit if place == 0 else None)
                for place, (sink, known, spool) in enumerate(entered)
            ],
            scrub,
        )

    # --- for everybody ------------------------------------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Take one record, as it is now. Returns at once and never raises; later changes to it are not seen."""
        self._take(CALLS, record)

    def connection(self, connection: Connection) -> None:
        """The same for a connection of a client."""
        self._take(CONNECTIONS, connection)

    def capture(self, part: Capture) -> None:
        """The same for a part of a call whose bodies are kept. It is scrubbed already."""
        self._take(CAPTURES, part)

    def gap(self) -> None:
        """A call's captures could not be kept: the sinks get a gap in their place."""
        for lane in self._lanes:
            lane.take(CAPTURES, None)

    def _take(self, table: Table, record: Record | Connection | Capture) -> None:
        try:
            row: Row | None = storable(record, self._scrub)
        except Exception:  # a fault of ours costs this record (it is counted), not the call
            log.exception("a record could not be taken into the ledger %s", self._lanes[0].name)
            row = None
        for lane in self._lanes:
            lane.take(table, row)

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a deadline is an answer here: False
        """Wait until all that was recorded so far is committed everywhere; False if it was not in `timeout` seconds."""
        futures = [lane.committed() for lane in self._lanes]
        if all(future.done() for future in futures):
            return all(future.result() for future in futures)
        try:
            return all(await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, futures)), timeout))
        except TimeoutError:
            return False

    def wait(self, timeout: float | None = None) -> bool:
        """`flush` for code without an event loop."""
        deadline = None if timeout is None else time.monotonic() + timeout
        answers = []
        for future in [lane.committed() for lane in self._lanes]:
            try:
                answers.append(future.result(None if deadline is None else max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                future.cancel()
                answers.append(False)
        return all(answers)

    def caught_up(self, timeout: float) -> bool:
        """Waits until the first sink has what earlier runs have left for it; False if that takes longer."""
        return self._lanes[0].caught_up(timeout)

    def close(self, timeout: float = 5.0) -> int:
        """Commit what waits, for at most `timeout` seconds, and end. Returns how many records have not come to every
        sink.
        """
        for lane in self._lanes:
            lane.end(timeout)
        atexit.unregister(self.close)
        # A commit that hangs in the file system must not hang the exit too; SQLite's own wait is a second.
        last = time.monotonic() + timeout + 2.0
        for lane in self._lanes:
            lane.join(max(0.0, last - time.monotonic()))
        return self.pending

    @contextmanager
    def unopened(self) -> Iterator[None]:
        """Meanwhile no sink is open and nothing is committed: for a moment at which the process forks.

        https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
        """
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(lane.unopened())
            yield

    @property
    def acknowledged(self) -> int:
        """The `seq` of the last call whose commit into the first sink returned; 0 before the first."""
        return self._lanes[0].acknowledged

    @property
    def pending(self) -> int:
        """How many records are not committed (yet), in the sink that has the least."""
        return max(lane.pending for lane in self._lanes)

    @property
    def lost(self) -> int:
        """How many records are lost for good so far; each sink itself has the number in its gap records."""
        return max(lane.lost for lane in self._lanes)

    def sinks(self) -> list[SinkState]:
        """How each sink does."""
        return [SinkState(lane.name, lane.pending, lane.lost, lane.away, lane.behind) for lane in self._lanes]


def _entered(sink: Sink, new: Writer, spool: Spool | None) -> Writer:
    """The writer as the sink has entered it; if that is away, with the heads of what waits for it here."""
    if (known := sink.open(new)) is not None:
        return known
    heads = canonical_heads(spool.tips() if spool is not None else {}).decode()
    return replace(new, heads=heads)
