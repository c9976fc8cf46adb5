"""A sink's lane: a queue that never blocks, and a thread that seals what comes into the sink's chains and commits it in
batches. While the sink is down or slow, records are kept in a spool on disk; where there is none, or it is full, they
wait in memory, and what does not fit there is counted: the count becomes a record (a *gap*) in its place.

The laws: `take` neither blocks on I/O nor raises; *acknowledged* means that the sink's commit returned; a kill -9 loses
at most the records of the last interval and of what was being written (law 7), also while a sink is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from .record import CALLS, GAP_ENTRANCE, TABLES, Record, Row, Table, storable, utc_text
from .sink import Placed, Refusing, Sink, Writer, stands_for
from .spool import Spool

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0
COMPLAIN_EVERY = 60.0
# A commit may take so long before its batch is kept in the spool; with the interval it is what a kill -9 may lose.
PATIENCE = 0.1
# So many bytes of bodies wait in memory at most, and are committed at once; a row more may come on top.
HEAVIEST = 64 << 20
HEAVY_BATCH = 4 << 20
# Rows that are delivered from a spool at once.
REPLAYED = 2000


@dataclass(slots=True)
class Gap:
    """Records that did not fit into memory: their number, and when (Unix time) the first and the last were lost."""

    count: int
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a lane works: a commit at most every `interval` seconds, or as soon as `batch` records wait; up to `capacity`
    records wait in memory. `clock` gives Unix time, `timer` seconds for deadlines.
    """

    clock: Callable[[], float]
    timer: Callable[[], float] = time.monotonic
    batch: int = 500
    interval: float = 0.1
    capacity: int = 100_000


class Lane:
    """One writer on one sink, which is open. Any thread may call any method."""

    def __init__(
        self,
        sink: Sink,
        writer: Writer,
        pace: Pace,
        *,
        spool: Spool | None = None,
        on_commit: Callable[[int], None] | None = None,
    ) -> None:
        self.name = sink.name
        self._sink = sink
        self._writer = writer
        self._pace = pace
        self._spool = spool
        self._on_commit = on_commit
        # Under the condition's lock. Counts are of records: a gap weighs as many as it stands for.
        self._changed = threading.Condition()
        self._queue: deque[Placed | Gap] = deque()
        self._weight = 0
        self._accepted = 0
        self._settled = 0
        self._lost = 0
        self._waiting: list[tuple[int, Future[bool]]] = []
        self._closing = False
        self._deadline = float("inf")
        # Held by whoever has to do with the sink.
        self._at_sink = threading.Lock()
        # The thread's own.
        self._seq = dict.fromkeys(TABLES, 0)
        self._head = dict.fromkeys(TABLES, writer.start)
        self._held: list[Placed] = []  # sealed, and neither in the sink nor in the spool
        self._behind = spool is not None and not spool.empty
        self._pause = 0.0  # since the last attempt has failed
        self._again = 0.0  # when the sink is tried again, by the monotonic clock
        self._acknowledged = 0
        self._announced = False
        self._told_loss = False
        self._complained = float("-inf")
        self._thread = threading.Thread(target=self._run, name=f"ledger-{writer.writer[:8]}", daemon=True)
        self._thread.start()

    # --- for everybody ------------------------------------------------------------------------------------------

    def take(self, table: Table, row: Row | None) -> None:
        """Takes one row, or counts it as lost if it is None."""
        with self._changed:
            if self._closing:
                self._lost += 1
                log.error("a record came after the ledger %s was closed, and is lost", self.name)
                return
            self._accepted += 1
            weight = table.weight(row) if row is not None else 0
            full = len(self._queue) >= self._pace.capacity or (weight and self._weight >= HEAVIEST)
            if row is not None and not full:
                self._queue.append((table, row))
                self._weight += weight
            else:
                self._lose(1)
            heavy = self._weight >= HEAVY_BATCH > self._weight - weight
            if len(self._queue) in (1, self._pace.batch) or heavy:
                self._changed.notify_all()

    def committed(self) -> Future[bool]:
        """A future that comes true when everything accepted so far is committed, and false if it never will be."""
        future: Future[bool] = Future()
        with self._changed:
            if self._accepted == self._settled or not self._thread.is_alive():
                future.set_result(self._accepted == self._settled)
            else:
                self._waiting.append((self._accepted, future))
                self._changed.notify_all()
        return future

    def caught_up(self, timeout: float) -> bool:
        """Waits until nothing is in the spool; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._behind, timeout)

    def end(self, timeout: float) -> None:
        """Takes nothing more, and commits what waits for at most `timeout` seconds; `join` waits for that."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._deadline = self._pace.timer() + timeout
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    @contextmanager
    def unopened(self) -> Iterator[None]:
        """Meanwhile the sink is not open, and nothing is committed to it."""
        with self._at_sink:
            self._sink.close()
            yield

    @property
    def acknowledged(self) -> int:
        """The `seq` of the last call whose commit returned; 0 before the first."""
        return self._acknowledged

    @property
    def pending(self) -> int:
        """How many records are not committed (yet)."""
        with self._changed:
            return self._accepted - self._settled

    @property
    def away(self) -> bool:
        """Whether the sink did not take what it was given last."""
        return self._pause > 0

    @property
    def behind(self) -> bool:
        """Whether what waits for the sink is in its spool."""
        return self._behind

    @property
    def lost(self) -> int:
        """How many records are lost for good so far; the ledger itself has the number in its gap records."""
        return self._lost

    # --- the thread ---------------------------------------------------------------------------------------------

    def _lose(self, count: int) -> None:
        """Counts records that cannot be kept, at their place in the queue. Holds the lock already."""
        now = self._pace.clock()
        self._lost += count
        if self._queue and isinstance(last := self._queue[-1], Gap):
            last.count += count
            last.until = now
        else:
            self._queue.append(Gap(count, now, now))

    def _run(self) -> None:
        while self._turn():
            pass
        with self._changed:
            waiting, self._waiting = self._waiting, []
            left = self._accepted - self._settled
        _tell(waiting, answer=False)
        self._say_what_is_left(left)
        # Last: what hangs may take a while, and nobody waits for it.
        self._sink.close()
        if self._spool is not None:
            self._spool.close()

    def _unkept(self) -> int:
        """How many records are in memory alone."""
        held = sum(stands_for(*placed) for placed in self._held)
        return held + sum(item.count if isinstance(item, Gap) else 1 for item in self._queue)

    def _say_what_is_left(self, left: int) -> None:
        unkept = self._unkept()
        if self._spool is not None and left > unkept:
            log.warning(
                "the ledger %s has not got %d records: they wait in %s, and are written by the next start",
                self.name,
                left - unkept,
                self._spool.folder,
            )
        if unkept:
            log.error("the ledger %s was closed with %d records that could not be written", self.name, unkept)

    def _turn(self) -> bool:
        """Takes what waits, puts it into the sink or the spool, and delivers from the spool; False at the end."""
        changed = self._changed
        with changed:
            changed.wait_for(self._due, self._rest())
            items = [] if self._held else self._batch()
        began = time.monotonic()
        if items:
            self._held = self._sealed(items)
        if self._held and not self._behind and time.monotonic() >= self._again and self._try(self._writer, self._held):
            self._settle(self._held)
            self._held = []
            self._admit()
        if self._held and self._spool is not None:
            self._keep(self._spool)
        if self._behind and time.monotonic() >= self._again:
            self._replay()
        with changed:
            if self._closing:
                return self._goes_on()
            changed.wait_for(
                lambda: self._closing or self._waiting or self._much(),
                # From one batch to the next: a commit that took its time is not to be added to it.
                began + self._pace.interval - time.monotonic() if items else 0,
            )
        return True

    def _much(self) -> bool:
        """Whether a whole batch waits. Holds the lock."""
        return len(self._queue) >= self._pace.batch or self._weight >= HEAVY_BATCH

    def _batch(self) -> list[Placed | Gap]:
        """What is to be committed next. Holds the lock."""
        items: list[Placed | Gap] = []
        weight = 0
        while self._queue and len(items) < self._pace.batch and weight < HEAVY_BATCH:
            items.append(item := self._queue.popleft())
            if not isinstance(item, Gap):
                weight += item[0].weight(item[1])
        self._weight -= weight
        return items

    def _due(self) -> bool:
        return self._closing or bool(self._queue and not self._held)

    def _rest(self) -> float | None:
        """How long nothing is to be done unless somebody asks for it."""
        if not (self._held or self._behind):
            return None
        rest = max(0.0, self._again - time.monotonic())
        return min(rest, 0.05) if self._closing else rest

    def _goes_on(self) -> bool:
        """Whether there is more to do at the end. Holds the lock."""
        if not (self._queue or self._held or self._behind):
            return False
        if self._pace.timer() >= self._deadline:
            return False
        # What is in the spool is safe: nobody waits for a sink that is away.
        if self._spool is not None and self._pause and not (self._queue or self._held):
            return False
        if self._pause:
            self._changed.wait(min(self._pause, 0.05))
            self._again = min(self._again, time.monotonic())
        return True

    def _try(self, writer: Writer, rows: Sequence[Placed]) -> bool:
        """Has the sink commit these rows, once; whether it has."""
        try:
            with self._at_sink:
                done = self._sink.write(writer, rows, PATIENCE)
        except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it, or all is lost
            self._pause = min(self._pause * 2 or FIRST_BACKOFF, LONGEST_BACKOFF)
            self._again = time.monotonic() + self._pause
            self._complain(error)
            done = False
        else:
            self._pause = 0.0 if done else self._pause
        if done and self._announced:
            self._announced = False
            log.warning("the ledger %s is written again", self.name)
        if not done:
            self._behind = self._spool is not None
        return done

    def _keep(self, spool: Spool) -> None:
        try:
            spool.append(self._writer, self._held)
        except Exception as error:  # noqa: BLE001 - as above
            # They wait in memory, and what comes meanwhile in the queue.
            self._complain(error)
        else:
            self._held = []

    def _replay(self) -> None:
        """Delivers from the spool, for no longer than an interval."""
        assert self._spool is not None
        until = time.monotonic() + self._pace.interval
        while time.monotonic() < until:
            try:
                chunk = self._spool.next(REPLAYED)
            except OSError as error:
                self._pause = min(self._pause * 2 or FIRST_BACKOFF, LONGEST_BACKOFF)
                self._again = time.monotonic() + self._pause
                self._complain(error)
                return
            if chunk is None:
                with self._changed:
                    # What was kept and is not there any more: somebody has removed or spoiled it.
                    if missing := self._accepted - self._settled - self._unkept():
                        self._lose(missing)
                    self._behind = False
                    self._changed.notify_all()
                return
            if not self._try(chunk.writer, chunk.rows):
                return
            self._spool.advance()
            if chunk.own:
                self._settle(chunk.rows)
            self._admit()

    def _sealed(self, items: Sequence[Placed | Gap]) -> list[Placed]:
        """The batch in its place in the chains."""
        placed: list[Placed] = []
        for item in items:
            table = CALLS if isinstance(item, Gap) else item[0]
            seq = self._seq[table] = self._seq[table] + 1
            row = self._gap_row(item, seq) if isinstance(item, Gap) else item[1]
            row = table.seal(row, writer=self._writer.writer, seq=seq, prev_hash=self._head[table])
            self._head[table] = str(row[-1])
            placed.append((table, row))
        return placed

    def _gap_row(self, gap: Gap, seq: int) -> Row:
        since, until = utc_text(gap.since), utc_text(gap.until)
        loss = {"class": "dropped", "reason": "gap", "count": gap.count, "since": since, "until": until}
        return storable(
            Record(
                id=f"gap-{self._writer.writer[:8]}-{seq}",
                started_at=since,
                finished_at=until,
                entrance=GAP_ENTRANCE,
                method="",
                host="",
                path="",
                endpoint="other",
                outcome="error",
                losses=orjson.dumps([loss]).decode(),
            )
        )

    def _settle(self, placed: Sequence[Placed]) -> None:
        """The commit returned: the rows are acknowledged, and whoever waited for them is told."""
        with self._changed:
            for table, row in placed:
                if table is CALLS:
                    self._acknowledged = int(row[1] or 0)
                self._settled += stands_for(table, row)
            settled = self._settled
            done = [waiter for waiter in self._waiting if waiter[0] <= settled]
            self._waiting = [waiter for waiter in self._waiting if waiter[0] > settled]
        if self._on_commit is not None:
            try:
                self._on_commit(self._acknowledged)
            except Exception:  # somebody else's fault must not end the ledger's thread
                log.exception("the ledger's on_commit failed")
        _tell(done, answer=True)

    def _admit(self) -> None:
        """What the sink has taken and refused all the same is a gap."""
        if isinstance(self._sink, Refusing) and (count := self._sink.refused()):
            with self._changed:
                self._accepted += count
                self._lose(count)

    def _complain(self, error: Exception) -> None:
        """Say loudly that records wait, at most once a minute, and when the first ones are lost."""
        now = self._pace.timer()
        if now - self._complained < COMPLAIN_EVERY and (self._told_loss or not self._lost):
            return
        self._complained = now
        self._announced = True
        self._told_loss = bool(self._lost)
        where = "in memory" if self._spool is None else f"in memory or in {self._spool.folder}"
        log.error(
            "the ledger %s cannot be written (%s): traffic goes on, %d records wait %s, %d are lost",
            self.name,
            str(error) or type(error).__name__,
            self.pending,
            where,
            self._lost,
        )


def _tell(waiting: list[tuple[int, Future[bool]]], *, answer: bool) -> None:
    for _, future in waiting:
        if future.set_running_or_notify_cancel():
            future.set_result(answer)
