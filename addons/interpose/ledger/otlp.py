"""The sink that is an OpenTelemetry collector: each record is a log record with its columns as attributes, the hashes
of its chain included; what is null is left out, and so are bodies, which no chain holds.

Acknowledged is what the collector has answered 200 to. It knows no transactions: where an answer was lost, records come
twice, each time with the same `interpose.hash`. What it says that it has refused is lost there, and counted. It cannot
be read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from interpose import __version__
from interpose.telemetry import logs
from interpose.telemetry.post import Post, Undelivered
from interpose.telemetry.settings import Endpoint
from interpose.telemetry.spans import nanoseconds

from .address import Collector
from .record import CALLS, GAP_ENTRANCE, LedgerError, Row, Table
from .sink import Placed, Writer

log = logging.getLogger(__name__)

SCOPE = "interpose.ledger"
PREFIX = "interpose."
START = 5.0
# So many records, and about so many bytes, go in one post: collectors take 20 MiB by default.
MOST = 500
LARGEST = 4 << 20
# What says that there is something wrong with a record, not with the way.
_OF_CONTENT = frozenset((400, 413, 422))
_ENTRANCE = CALLS.columns.index("entrance")
_OUTCOME = CALLS.columns.index("outcome")
_WELL = frozenset(("ok", "aborted"))


class Failed(Exception):
    """What went wrong, in words that repeat nothing secret."""


class OtlpSink:
    """The collector `at`."""

    def __init__(self, at: Collector) -> None:
        self._at = at
        self._post = Post(Endpoint(f"{at.url.base}/v1/logs", at.headers, at.ca))
        self._entered: set[str] = set()
        # {(writer, table): seq} of what the collector has taken from this process.
        self._last: dict[tuple[str, str], int] = {}
        self._under_way: Future[None] | None = None
        self._not_before = 0.0
        self._refused = 0

    @property
    def name(self) -> str:
        return str(self._at)

    def open(self, writer: Writer) -> Writer | None:
        try:
            self._send(self._post, [_entry(writer)], [], START)
        except Undelivered as error:
            self._post.close()
            if error.passing:
                log.warning("the ledger %s is away (%s): records wait here until it is back", self.name, error)
                return None
            raise LedgerError(f"the ledger {self.name} cannot be opened: {error}") from error
        self._entered.add(writer.writer)
        return writer

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Raises Failed."""
        if self._under_way is None:
            if (left := self._not_before - time.monotonic()) > 0:
                raise Failed(f"it wants to be left alone for {left:.0f} s more")
            self._under_way = self._begin(writer, [placed for placed in rows if not self._has(*placed)])
        if wait_for([self._under_way], patience).not_done:
            return False
        done, self._under_way = self._under_way, None
        try:
            done.result()
        except Undelivered as error:
            if error.wait is not None:
                self._not_before = time.monotonic() + error.wait
            raise Failed(str(error)) from error
        # What was under way may have been a part of these.
        return all(self._has(*placed) for placed in rows) or self.write(writer, rows, patience)

    def refused(self) -> int:
        """How many records the collector has refused since this was asked last."""
        count, self._refused = self._refused, 0
        return count

    def close(self) -> None:
        """What is under way is left to itself: its thread holds nobody up."""
        self._under_way = None
        self._post.close()
        self._post = Post(self._post.endpoint)

    def _has(self, table: Table, row: Row) -> bool:
        return int(row[1] or 0) <= self._last.get((str(row[0]), table.name), 0)

    def _begin(self, writer: Writer, rows: Sequence[Placed]) -> Future[None]:
        work: Future[None] = Future()

        # The connection of now: after a close the next batch has one of its own.
        post = self._post

        def run() -> None:
            try:
                self._deliver(post, writer, rows)
            except BaseException as error:  # noqa: BLE001 - whoever waits is told
                work.set_exception(error)
            else:
                work.set_result(None)

        threading.Thread(target=run, name="ledger-otlp", daemon=True).start()
        return work

    def _deliver(self, post: Post, writer: Writer, rows: Sequence[Placed]) -> None:
        """Raises Undelivered; what was taken before that stays taken."""
        part: list[Placed] = []
        size = 0
        for placed in rows:
            part.append(placed)
            size += sum(len(value) for value in placed[1] if type(value) is str)
            if len(part) >= MOST or size >= LARGEST:
                self._deliver_part(post, writer, part)
                part, size = [], 0
        if part:
            self._deliver_part(post, writer, part)

    def _deliver_part(self, post: Post, writer: Writer, rows: Sequence[Placed]) -> None:
        entry = [] if writer.writer in self._entered else [_entry(writer)]
        try:
            self._send(post, entry, rows, None)
        except Undelivered as error:
            if error.status not in _OF_CONTENT:
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                self._deliver_part(post, writer, rows[:middle])
                self._deliver_part(post, writer, rows[middle:])
                return
            log.error("the ledger %s refuses the record %s of %s: %s", self.name, rows[0][1][1], rows[0][1][0], error)
            self._refuse(1, rows)
        self._entered.add(writer.writer)
        for table, row in rows:
            self._last[str(row[0]), table.name] = int(row[1] or 0)

    def _send(self, post: Post, entry: Sequence[LogRecord], rows: Sequence[Placed], timeout: float | None) -> None:
        now = time.time_ns()
        records = [*entry, *(_log_record(table, row, now) for table, row in rows)]
        resource: Mapping[str, logs.Value] = {
            "service.name": "interpose",
            "service.version": __version__,
            "service.instance.id": str(rows[0][1][0]) if rows else _writer_of(records[0]),
        }
        answer = post.send(logs.request(resource, SCOPE, records), timeout)
        try:
            count, why = logs.refused(answer)
        except Exception:  # noqa: BLE001 - an answer that cannot be read: its status was good
            return
        if count:
            log.error("the ledger %s has refused %d of %d records: %s", self.name, count, len(records), why[:200])
            self._refuse(count, rows)

    def _refuse(self, count: int, rows: Sequence[Placed]) -> None:
        """A gap that is refused in its turn makes no gap: that would never end."""
        counted = sum(table is not CALLS or row[_ENTRANCE] != GAP_ENTRANCE for table, row in rows)
        self._refused += min(count, counted)


def _entry(writer: Writer) -> LogRecord:
    told = {PREFIX + name: value for name, value in writer.told().items()}
    at = nanoseconds(writer.opened_at)
    return logs.log_record("interpose.ledger.writers", at, time.time_ns(), told)


def _writer_of(record: LogRecord) -> str:
    found: str = next(pair.value.string_value for pair in record.attributes if pair.key == f"{PREFIX}writer")
    return found


def _log_record(table: Table, row: Row, now: int) -> LogRecord:
    told = {
        PREFIX + name: value
        for place, (name, value) in enumerate(zip(table.columns, row, strict=True))
        if place != table.body and not isinstance(value, bytes)
    }
    well = table is not CALLS or row[_OUTCOME] in _WELL
    return logs.log_record(
        f"interpose.ledger.{table.name}",
        nanoseconds(str(row[table.moment])),
        now,
        told,
        severity=logs.INFO if well else logs.WARN,
    )
