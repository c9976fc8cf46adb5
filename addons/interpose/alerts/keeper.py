"""Alerts beside an engine: looks once a second at what has happened, and tells what has changed.

A call pays for it with one append to a queue. A process has its own windows: of several workers or machines each sees,
and tells, its own calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from interpose.ledger.record import Record
from interpose.rules.alerts import Alert, Notify

from .notices import Notice
from .senders import Senders, Undelivered
from .watch import Change, Watch
from .window import OF_CALLS, Measured, Window

logger = logging.getLogger(__name__)

# Seconds between two looks.
EVERY = 1.0
# Notices that are still under way at the end get so long.
LAST_WORDS = 5.0
# Records that wait for the next look at most; those beyond are not counted.
MOST_WAITING = 200_000


def nothing() -> Iterable[tuple[str, float]]:
    return ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What alerts are about beside calls.

    `budgets` gives the used share of each budget, `quotas` the share that each credential has left with its provider,
    by name; `lost` how many records the ledger has lost so far.
    """

    budgets: Callable[[], Iterable[tuple[str, float]]] = nothing
    quotas: Callable[[], Iterable[tuple[str, float]]] = nothing
    lost: Callable[[], int] = lambda: 0


@dataclass(slots=True)
class _Kept:
    """One alert, with what it needs to remember."""

    watch: Watch
    window: Window
    # how many records were lost, at each time of which the window still knows
    losses: deque[tuple[float, int]]


class Keeper:
    """The alerts of one engine.

    `now` gives Unix time, `timer` seconds that do not go back; `host` names this machine.
    """

    def __init__(
        self,
        alerts: Sequence[Alert],
        senders: Senders,
        *,
        now: Callable[[], float],
        timer: Callable[[], float],
        host: str,
    ) -> None:
        self._surroundings = Surroundings()
        self._senders = senders
        self._now = now
        self._timer = timer
        self._host = host
        self._seen: deque[Record] = deque(maxlen=MOST_WAITING)
        self._kept: list[_Kept] = []
        self._telling: set[asyncio.Task[None]] = set()
        self.adopt(alerts)

    def watch(self, surroundings: Surroundings) -> None:
        """From now on that is looked at beside calls."""
        self._surroundings = surroundings

    def adopt(self, alerts: Sequence[Alert]) -> None:
        """From now on these. One that is as it was goes on."""
        before = {kept.watch.alert: kept for kept in self._kept}
        self._kept = [before.get(alert) or _Kept(Watch(alert), Window(alert.window), deque()) for alert in alerts]

    def saw(self, record: Record) -> None:
        """A call has ended. Any thread may say so."""
        if self._kept:
            self._seen.append(record)

    async def keep(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                self.look()
            except Exception:
                # Alerts are beside the calls: whatever is wrong with them, these go on.
                logger.exception("looking for alerts failed")

    def look(self) -> list[Change]:
        """What has changed since the last look; it is being told when this returns."""
        at, now = self._timer(), self._now()
        while self._seen:
            record = self._seen.popleft()
            for kept in self._kept:
                kept.window.add(record, at)
        changes = []
        for kept in self._kept:
            for change in kept.watch.look(self._values(kept, at), now):
                changes.append(change)
                self._tell(change)
        return changes

    def firing(self) -> list[Notice]:
        """The alerts that have begun and have not ended."""
        return [Notice.of(change, self._host) for kept in self._kept for change in kept.watch.firing()]

    async def aclose(self) -> None:
        """Looks once more and waits for what is being told, for a while."""
        self.look()
        if self._telling:
            _, late = await asyncio.wait(self._telling, timeout=LAST_WORDS)
            for task in late:
                task.cancel()

    def _values(self, kept: _Kept, at: float) -> Mapping[str, Measured]:
        metric = kept.watch.alert.when.metric
        if (measure := OF_CALLS.get(metric)) is not None:
            value = measure(kept.window.sums(at))
            return {} if value is None else {"": value}
        if metric == "ledger_gap":
            return {"": self._lost(kept, at)}
        told = {"budget": self._surroundings.budgets, "quota": self._surroundings.quotas}[metric]
        return {name: Measured(share, 0) for name, share in told()}

    def _lost(self, kept: _Kept, at: float) -> Measured:
        """How many records were lost within the window."""
        kept.losses.append((at, self._surroundings.lost()))
        while len(kept.losses) > 1 and kept.losses[1][0] <= at - kept.window.seconds:
            kept.losses.popleft()
        return Measured(kept.losses[-1][1] - kept.losses[0][1], 0)

    def _tell(self, change: Change) -> None:
        notice = Notice.of(change, self._host)
        for notify in change.alert.notify:
            task = asyncio.get_running_loop().create_task(self._deliver(notify, notice))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _deliver(self, notify: Notify, notice: Notice) -> None:
        try:
            await self._senders.send(notify, notice)
        except Undelivered as error:
            # Whoever reads the log learns at least what was to be told.
            logger.error("alert %s (not delivered: %s)", notice.text(), error)
        except Exception:
            logger.exception("alert %s (not delivered)", notice.text())
