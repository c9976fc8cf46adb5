"""The metrics of one worker: what its engine tells, what is asked of others for their states, and the page of all."""

from __future__ import annotations

import asyncio
import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from interpose import __version__
from interpose.ledger.record import Record
from interpose.prices.catalogue import PRICES
from interpose.rules.compiled import Rules

from .counting import Counting, named_in
from .families import FAMILIES
from .sheet import SharedSheet, Sheet, State, key

logger = logging.getLogger(__name__)

# Others see a worker's states so many seconds late at most.
EVERY = 0.5
_DROPPED = key("metrics_dropped")
# What is there from the start, at zero.
_ZERO = tuple(
    (key(*name), 0.0)
    for name in (
        ("ledger_records",),
        ("ledger_records_lost",),
        ("rules_reloads", "success"),
        ("rules_reloads", "failure"),
    )
)

Look = Callable[[], Iterable[State]]


class Metrics:
    """Counts for one engine. With `folder`, together with the other workers that were given the same."""

    def __init__(self, folder: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._sheet = _opened(folder)
        self._shared = folder is not None
        self._sheet.add(_ZERO)
        self._counting = Counting()
        self._counting.remember(self._sheet.mine())
        self._lock = threading.Lock()
        self._looks: list[Look] = []
        # What the totals stood at that others keep, when they were looked at last.
        self._totals: dict[str, float] = {}
        self._now = now
        self._began = now()
        self._adopted = self._began
        self._version = ""
        self._complained = False

    def record(self, record: Record) -> None:
        """A call has ended. Never raises: what is wrong with us is no matter of the call."""
        try:
            with self._lock:
                amounts = self._counting.amounts(record)
            self._sheet.add(amounts)
        except Exception:
            if not self._complained:
                self._complained = True
                logger.exception("the call %s is missing in the metrics, and so may be others", record.id)

    def refused(self, code: str, outcome: str) -> None:
        """A call was answered by us."""
        self._add("refusals", code, outcome)

    def limited(self, limit: str, kind: str) -> None:
        """A limit has refused a call or an attempt."""
        self._add("limits_hit", limit, kind)

    def reloaded(self, good: bool) -> None:
        """A changed rules file was read."""
        self._add("rules_reloads", "success" if good else "failure")

    def adopt(self, rules: Rules) -> None:
        """These rules are in force."""
        with self._lock:
            self._counting.name(named_in(rules))
            self._version = rules.version
            self._adopted = self._now()

    def watch(self, look: Look) -> None:
        """`look` tells states whenever somebody wants to see them. A state that has the name of a counter is the total
        that somebody else keeps.
        """
        self._looks.append(look)

    async def show(self) -> None:
        """Keeps this worker's states up to date for the others, until it is cancelled."""
        while self._shared:
            self._sheet.show(self._states())
            await asyncio.sleep(EVERY)

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """Everything, and its content type. `accept` is the header of a request."""
        # The records of the first moments wait for the prices.
        await asyncio.to_thread(PRICES.settle)
        # What is looked at is this thread's; the rest takes milliseconds, or more of them with many models.
        mine = self._states()
        return await asyncio.to_thread(self._written, mine, accept)

    def _written(self, mine: list[State], accept: str) -> tuple[bytes, str]:
        # Here, not above: who is never scraped needs no library for it.
        from .exposition import Page, written

        return written(Page(self._sheet.all(), [mine, *self._sheet.others()]), accept)

    def close(self) -> None:
        self._states()
        self._sheet.close()

    def _add(self, name: str, *labels: str) -> None:
        try:
            self._sheet.add([(key(name, *labels), 1.0)])
        except Exception:
            logger.exception("%s was not counted", name)

    def _states(self) -> list[State]:
        found = [
            State("workers", 1.0),
            State("rules_stale", 0.0),
            State("start_timestamp_seconds", self._began),
            State("build_info", 1.0, (__version__, platform.python_version())),
            State("rules_loaded_timestamp_seconds", self._adopted),
            State("rules_info", 1.0, (self._version,)),
        ]
        for look in self._looks:
            try:
                seen = list(look())
            except Exception:
                logger.exception("some states are missing in the metrics")
                continue
            for state in seen:
                if FAMILIES[state.name].kind == "gauge":
                    found.append(state)
                else:
                    self._total(state)
        return found

    def _total(self, state: State) -> None:
        name = key(state.name, *state.labels)
        with self._lock:
            more = state.value - self._totals.get(name, 0.0)
            self._totals[name] = state.value
        if more > 0:
            self._sheet.add([(name, more)])


def _opened(folder: Path | None) -> Sheet:
    if folder is None:
        return Sheet(_DROPPED)
    try:
        return SharedSheet(folder, _DROPPED)
    except OSError as error:
        logger.error("this worker's metrics cannot be shared, so that a scrape may miss its calls: %s", error)
        return Sheet(_DROPPED)
