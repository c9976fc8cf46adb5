"""Where captured calls are worked on: a bounded queue, and a thread that makes rows of them and hands them to the
ledger, each call's before its record.

The laws: nothing here waits on the event loop or fails a call; what does not fit is said, in the call's record and in
the log, and counted. A record waits for its bodies no longer than PATIENCE, so that a kill -9 loses no more of the
records than it does without them.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson

from interpose.call import Call
from interpose.ledger.record import Capture, Record
from interpose.rules.compiled import LedgerRules

from .onlooker import Onlooker, Seen
from .pieces import Room
from .writing import Written, written

log = logging.getLogger(__name__)

# So many bytes of bodies are in memory, of calls under way and of those that wait to be written.
ROOM = 128 << 20
# So many calls wait to be written.
WAITING = 2000
PATIENCE = 0.1
COMPLAIN_EVERY = 60.0


class Books(Protocol):
    """What is asked of the ledger."""

    def record(self, record: Record) -> None: ...
    def capture(self, part: Capture) -> None: ...
    def gap(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Case:
    """One call from its beginning until both its rows and its record are in the ledger."""

    seen: Seen | None = None
    record: Record | None = None
    released: bool = False
    told: bool = False
    made: Written | None = None
    over: bool = False


class Desk:
    """Any thread may call any method. `credentials` gives the secrets of this process; `now` is the engine's clock for
    durations, `timer` real time.
    """

    def __init__(
        self,
        ledger: Books,
        *,
        credentials: Callable[[], tuple[str, ...]],
        now: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
        room: int = ROOM,
        waiting: int = WAITING,
    ) -> None:
        self._ledger = ledger
        self._credentials = credentials
        self._now = now
        self._timer = timer
        self._room = Room(room)
        self._most = waiting
        # Under the condition's lock.
        self._changed = threading.Condition()
        self._cases: dict[str, _Case] = {}
        self._queue: deque[_Case] = deque()
        self._due: deque[tuple[float, _Case]] = deque()
        self._at_work = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lost = 0
        self._crowded = 0
        self._complained = float("-inf")

    # --- on the event loop --------------------------------------------------------------------------------------------

    def look_at(self, number: str, call: Call, rules: LedgerRules, began: float) -> Onlooker:
        """The witness of a call that has begun and whose bodies are kept."""
        with self._changed:
            self._cases[number] = _Case()
        return Onlooker(number, call, rules, room=self._room, now=self._now, began=began, settle=self._settled)

    def _settled(self, seen: Seen, record: Record) -> None:
        """All is seen of it."""
        with self._changed:
            case = self._cases.get(seen.id)
            if case is None:
                seen.let_go()
                return
            case.seen = seen
            case.record = case.record or record
            if len(self._queue) >= self._most or self._closing:
                self._give_up(case)
                return
            self._queue.append(case)
            self._work()

    def record(self, record: Record) -> None:
        """Takes a call's record, in the ledger's place: it goes there behind the call's rows."""
        case = self._cases.get(record.id)
        if case is None:
            self._ledger.record(record)
            return
        with self._changed:
            if self._closing:
                self._ledger.record(record)
                return
            case.record, case.told = record, True
            if case.over:
                # Its rows were made in between.
                self._release(case)
            else:
                self._due.append((self._timer() + PATIENCE, case))
                self._work()

    @property
    def crowded(self) -> int:
        """Of how many calls some of the bodies had no room, beside those for which the ledger has a gap."""
        return self._crowded

    @property
    def held(self) -> int:
        """How many bytes of bodies are in memory."""
        return self._room.taken

    # --- for those who wait -------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all that has ended is handed to the ledger; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(self._done, timeout)

    def _done(self) -> bool:
        """Whether nothing waits. A client may still be told the last of a call whose record is here. Holds the lock."""
        unfinished = (case for case in self._cases.values() if case.told and not case.over)
        return not self._queue and not self._at_work and not self._due and next(unfinished, None) is None

    def close(self, timeout: float = 5.0) -> None:
        """The same for at most `timeout` seconds; then what waits is given up, with a word."""
        self.flush(timeout)
        with self._changed:
            self._closing = True
            while self._queue:
                self._give_up(self._queue.popleft())
            for _, case in self._due:
                self._release(case)
            self._due.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            atexit.unregister(self.close)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Holds the lock."""
        if self._thread is None:
            # Only now: who keeps no bodies has no thread.
            self._thread = threading.Thread(target=self._run, name="capturing", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._queue or self._overdue(), self._rest())
                while self._overdue():
                    self._release(self._due.popleft()[1])
                if not self._queue:
                    if self._closing:
                        return
                    self._changed.notify_all()
                    continue
                case = self._queue.popleft()
                self._at_work += 1
            made = self._made(case)
            with self._changed:
                self._at_work -= 1
                self._finish(case, made)
                self._changed.notify_all()

    def _rest(self) -> float | None:
        return max(0.0, self._due[0][0] - self._timer()) if self._due else None

    def _overdue(self) -> bool:
        """Whether a record waits no longer, or has not waited."""
        return bool(self._due) and (self._due[0][1].released or self._due[0][0] <= self._timer())

    def _made(self, case: _Case) -> Written | None:
        """Makes the rows and hands them over. None for a fault of ours: it costs these rows, not the thread."""
        assert case.seen is not None
        assert case.record is not None
        try:
            made = written(case.seen, case.record, self._credentials())
            for row in made.rows:
                self._ledger.capture(row)
        except Exception:
            log.exception("the bodies of the call %s could not be kept", case.seen.id)
            return None
        finally:
            case.seen.let_go()
        return made

    def _finish(self, case: _Case, made: Written | None) -> None:
        """The rows are handed over, and now the record behind them. Holds the lock."""
        case.made, case.over = made, True
        if made is None:
            self._ledger.gap()
            self._complain()
        elif made.crowded:
            self._crowded += 1
            self._complain()
        if case.released:
            self._forget(case)
        elif case.told:
            self._release(case)

    def _release(self, case: _Case) -> None:
        """The record goes to the ledger. Holds the lock."""
        if not case.released:
            case.released = True
            assert case.record is not None
            try:
                record = _marked(case.record, case)
            except Exception:
                log.exception("the record of a call does not say what became of its bodies")
                record = case.record
            self._ledger.record(record)
        if case.over:
            self._forget(case)

    def _forget(self, case: _Case) -> None:
        assert case.record is not None
        self._cases.pop(case.record.id, None)

    def _give_up(self, case: _Case) -> None:
        """It does not fit. Holds the lock."""
        assert case.seen is not None
        case.seen.let_go()
        case.made, case.over = None, True
        self._ledger.gap()
        self._complain()
        if case.released:
            self._forget(case)
        self._changed.notify_all()

    def _complain(self) -> None:
        """Holds the lock."""
        self._lost += 1
        now = self._timer()
        if now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            log.error(
                "bodies of calls come faster than they can be kept: those of %d calls so far are missing or cut, as "
                "their records say; the calls themselves go on",
                self._lost,
            )


def _marked(record: Record, case: _Case) -> Record:
    """The record says what became of its bodies, as far as that is known already."""
    made = case.made
    if made is None or made.crowded:
        if case.over:
            loss = {"class": "dropped", "path": "ledger.captures", "reason": "gap: there was no room for its bodies"}
            record.losses = orjson.dumps([*orjson.loads(record.losses), loss]).decode()
        return record
    if made.echoed:
        attempts = orjson.loads(record.attempts)
        for number in made.echoed:
            if number <= len(attempts):
                attempts[number - 1]["echoed_credential"] = True
        record.attempts = orjson.dumps(attempts).decode()
    return record
