"""What is done to a ledger while it is written: retention deletes what is old, and checkpoints say how far it is.

A thread of its own, if the rules ask for any of it, at the start and then every so often; at the end a last checkpoint.
Several workers share a ledger: of each kind one does it (`retention.Taken`; a checkpoint that is young enough). What
fails is told and tried again the next time: traffic has nothing to do with it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from interpose.errors import InterposeError
from interpose.ledger import utc_text
from interpose.ledger.address import Readable
from interpose.rules.compiled import CheckpointRules, LedgerRules

logger = logging.getLogger(__name__)

# Retention runs so often, and rests so long between two batches, in which others write.
PRUNED_EVERY = 3600.0
REST = 0.05
# What is left of a run when the program ends is for the next one.
FAREWELL = 5.0
# Another worker's checkpoint is good for so much of the time between two.
_YOUNG = 0.9


class Keeping:
    """Keeps the ledgers at `places`; `now` gives Unix time. Without a wish nothing is started and nothing imported."""

    def __init__(self, places: Sequence[Readable], *, now: Callable[[], float]) -> None:
        self._places = tuple(places)
        self._now = now
        self._rules = LedgerRules()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._pruned = float("-inf")  # when retention has last run, by the monotonic clock
        self._told = float("-inf")  # when checkpoints were last written
        # Held by whoever has to do with a ledger; a process that forks asks for it.
        self._at_ledger = threading.Lock()
        self._asked_for = threading.Event()

    def adopt(self, rules: LedgerRules) -> None:
        """From now on by these rules."""
        with self._changed:
            if rules.keep != self._rules.keep:
                self._pruned = float("-inf")
            if rules.checkpoints != self._rules.checkpoints:
                self._told = float("-inf")
            self._rules = rules
            if (self._keeps or rules.checkpoints) and self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="ledger-keeping", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    async def aclose(self) -> None:
        """Ends it, with a last checkpoint."""
        if self._thread is not None:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._changed:
            self._ended.set()
            self._changed.notify_all()
        assert self._thread is not None
        self._thread.join(FAREWELL)
        if (checkpoints := self._rules.checkpoints) is not None and not self._thread.is_alive():
            self._checkpoint(checkpoints)

    @contextmanager
    def unopened(self) -> Iterator[None]:
        """Meanwhile no ledger is open here: for a moment at which the process forks."""
        self._asked_for.set()
        with self._at_ledger:
            self._asked_for.clear()
            yield

    # --- the thread ---------------------------------------------------------------------------------------------

    @property
    def _keeps(self) -> bool:
        keep = self._rules.keep
        return keep.records is not None or keep.bodies is not None

    def _run(self) -> None:
        while not self._ended.is_set():
            now = time.monotonic()
            rules = self._rules
            pruned = False
            if self._keeps and now >= self._pruned + PRUNED_EVERY:
                self._pruned = now
                pruned = self._prune(rules)
            checkpoints = rules.checkpoints
            if (
                checkpoints is not None
                and not self._ended.is_set()
                and (pruned or now >= self._told + checkpoints.every)
            ):
                self._told = now
                self._checkpoint(checkpoints, young=None if pruned else checkpoints.every * _YOUNG)
            with self._changed:
                if not self._ended.is_set() and self._rules is rules:
                    self._changed.wait(self._rest())

    def _rest(self) -> float | None:
        """Seconds until something is due."""
        due = [self._pruned + PRUNED_EVERY] if self._keeps else []
        if self._rules.checkpoints is not None:
            due.append(self._told + self._rules.checkpoints.every)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _pause(self) -> bool:
        """Whether retention has to stop."""
        time.sleep(REST)  # a moment in which others get the lock
        return self._ended.is_set() or self._asked_for.is_set()

    def _prune(self, rules: LedgerRules) -> bool:
        """Whether anything was deleted."""
        from interpose.ledger.pruning import Keep, Taken
        from interpose.ledger.retention import prunable, prune

        keep = Keep(rules.keep.records, rules.keep.bodies)
        deleted = False
        for place in filter(prunable, self._places):
            try:
                with self._at_ledger:
                    done = prune(place, keep, clock=self._now, pause=self._pause)
            except Taken:
                continue  # another worker or machine does it
            except Exception as error:  # noqa: BLE001 - whatever it is, the next run may do better
                _complain("retention has not done its work", place, error)
                continue
            if done.records or done.bodies:
                deleted = True
                logger.info(
                    "the ledger %s: retention has deleted %d records, and %d bodies of others",
                    place, sum(done.records.values()), done.bodies,
                )  # fmt: skip
        return deleted

    def _checkpoint(self, rules: CheckpointRules, young: float | None = None) -> None:
        """Writes one for each ledger, unless there is one that is younger."""
        from interpose.ledger.checkpoints import append, named, state

        for place in self._places:
            try:
                with self._at_ledger:
                    if young is not None and _age(rules.to, named(place), self._now()) < young:
                        continue
                    at = utc_text(self._now())
                    append(rules.to, at=at, ledger=named(place), state=state(place))
            except Exception as error:  # noqa: BLE001 - as above
                _complain("there is no checkpoint", place, error)


def _age(path: Path, ledger: str, now: float) -> float:
    """Of the last checkpoint of that ledger, in seconds."""
    from interpose.ledger.checkpoints import last_of

    last = last_of(path, ledger)
    return now - datetime.fromisoformat(last.at).timestamp() if last is not None else float("inf")


def _complain(what: str, place: Readable, error: Exception) -> None:
    if isinstance(error, InterposeError):
        logger.warning("the ledger %s: %s: %s", place, what, error)
    else:
        logger.error("the ledger %s: %s", place, what, exc_info=error)
