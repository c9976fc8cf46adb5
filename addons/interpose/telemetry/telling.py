"""Telemetry at work: places calls in their traces, and tells a collector of them in a thread of its own.

On a call's way there is no more than an id or two and the parsing of a header; what has ended goes into a queue that
has an end, beyond which calls are counted and not told. The rest is the thread's: spans, instruments, events, posts.
What was said, where it is told, is the first to be left out when there is too much.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from interpose import __version__
from interpose.call import Call
from interpose.capturing.pieces import Room
from interpose.engine.tracing import Tried
from interpose.ledger.record import from_row, storable
from interpose.metrics.counting import Models, named_in
from interpose.rules.compiled import Rules

from . import logs
from .context import RANDOM, SAMPLED, Parent, parent_of
from .conventions import SCHEMA_URL, SCOPE
from .events import events
from .measures import Measures
from .outbox import Outbox, Parcel
from .post import Post
from .said import Reader
from .settings import Settings
from .spans import Place, spans, told
from .traced import Ended, Traced

logger = logging.getLogger(__name__)

# So many calls wait to be told; a span, an event and their attributes are some 5 kB.
MOST_CALLS = 10_000
# They are sent so often, and at the latest when so many wait.
EVERY = 1.0
BATCH = 256
BATCH_OF_CONTENT = 32
# What is left to be told at the end gets so many seconds.
LAST = 3.0
# So many bytes of what was said wait to be told, in all.
ROOM = 64 << 20
# When so many calls wait, what was said in them is left out: reading it is what takes time.
CROWD = 1000
# So long a client may take the last of a stream until its call is told as it is.
PATIENCE = 5.0

_SERVICE = "interpose"


class Telling:
    """Open while it is there; `close` when done. `writer` is this process' name in the ledger, `scrub` takes secrets
    out of every text; `credentials` are these secrets. `room` is None where what was said is not told.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        *,
        writer: str,
        scrub: Callable[[str], str],
        credentials: Callable[[], tuple[str, ...]],
        timer: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = time.time_ns,
        every: float = EVERY,
    ) -> None:
        self._settings = settings
        self._scrub = scrub
        self._timer = timer
        self._clock = clock
        self._every = every
        self._random = random.Random()  # noqa: S311 - ids, no secrets
        self._resource = _resource(settings, writer)
        self._scope = InstrumentationScope(SCOPE, __version__, SCHEMA_URL)
        self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        self._lock = threading.Lock()
        self._models = Models()
        self._dialects: Mapping[str, str | None] = {}
        self.adopt(rules)
        self._outboxes: list[Outbox] = []
        self._traces = self._outbox(settings.traces, "spans", _refused_spans)
        self._events = self._outbox(settings.events, "events", logs.refused)
        self._metrics = self._outbox(
            settings.metrics, "metrics", _refused_points, only_last=settings.temporality == "cumulative"
        )
        self._reader, self._measures = self._meters()
        self.room = Room(ROOM) if settings.content and settings.events is not None else None
        self._queue: deque[Ended] = deque()
        # Their clients have not had the last of them.
        self._late: deque[Ended] = deque()
        self._content = Reader(credentials, timer)
        self._reading_until = float("inf")
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = False
        self._deadline = float("inf")
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def _outbox(
        self, endpoint: object, what: str, refused: Callable[[bytes], tuple[int, str]], *, only_last: bool = False
    ) -> Outbox | None:
        if endpoint is None:
            return None
        outbox = Outbox(Post(endpoint), what, refused, timer=self._timer, only_last=only_last)  # type: ignore[arg-type]
        self._outboxes.append(outbox)
        return outbox

    def _meters(self) -> tuple[InMemoryMetricReader | None, Measures | None]:
        if self._metrics is None:
            return None, None
        delta = self._settings.temporality == "delta"
        wanted = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        reader = InMemoryMetricReader(preferred_temporality={Counter: wanted, Histogram: wanted})
        provider = MeterProvider(
            [reader], self._resource, exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        return reader, Measures(provider.get_meter(SCOPE, __version__, SCHEMA_URL), self._models)

    # --- on a call's way ----------------------------------------------------------------------------------------

    def adopt(self, rules: Rules) -> None:
        """These rules are in force."""
        with self._lock:
            self._models.name(named_in(rules))
            self._dialects = {name: provider.dialect for name, provider in rules.providers.items()}

    def begin(self, call: Call, *, alters: bool) -> Traced | None:
        try:
            return self._begun(call, alters=alters)
        except Exception as error:  # noqa: BLE001 - a sampler of somebody's own, say: no call is to fail by it
            self._complain("a call has no place in a trace", error)
            return None

    def _begun(self, call: Call, *, alters: bool) -> Traced:
        place = self._placed(call) if self._traces is not None or self._events is not None else None
        return Traced(self, place, call, alters and self._traces is not None)

    def _placed(self, call: Call) -> Place:
        parent = parent_of(call.headers)
        trace_id = parent.trace_id if parent is not None else self._random.getrandbits(128) or 1
        # What we make up is random; what we are given we pass on.
        flags = parent.flags & RANDOM if parent is not None else RANDOM
        if self._sampled(parent, trace_id):
            flags |= SAMPLED
        return Place(trace_id, self.span_id(), flags, parent, {})

    def _sampled(self, parent: Parent | None, trace_id: int) -> bool:
        if self._sampler is DEFAULT_ON:
            # What it would say in 20 µs.
            return parent is None or bool(parent.flags & SAMPLED)
        above = Context()
        if parent is not None:
            span = SpanContext(parent.trace_id, parent.span_id, True, TraceFlags(parent.flags), TraceState())
            above = set_span_in_context(NonRecordingSpan(span), above)
        return self._sampler.should_sample(above, trace_id, SCOPE).decision is Decision.RECORD_AND_SAMPLE

    def span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def take(self, ended: Ended) -> None:
        """Never waits. What finds no room is counted."""
        if len(self._queue) >= MOST_CALLS:
            self._dropped += 1
            if ended.heard is not None:
                ended.heard.let_go()
            return
        self._queue.append(ended)
        if len(self._queue) in (1, BATCH):
            self._wake.set()

    def close(self, timeout: float = LAST) -> None:
        """Tells what is left to be told, for at most so many seconds."""
        if self._closing:
            return
        self._deadline = self._timer() + timeout
        # The rest of the time is for sending it.
        self._reading_until = self._timer() + timeout / 2
        self._closing = True
        self._wake.set()
        self._thread.join(timeout + 0.5)
        if self._thread.is_alive():
            logger.warning("telemetry: a collector does not answer, and what was left to be told is lost")

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_metrics = self._timer() + self._settings.interval
        gathered_since: float | None = None
        while not self._closing:
            again = min((outbox.again for outbox in self._outboxes), default=float("inf"))
            until = min(next_metrics, again)
            if gathered_since is not None:
                until = min(until, gathered_since + self._every)
            if self._late:
                until = min(until, self._timer() + self._every)
            self._wake.wait(max(0.0, until - self._timer()))
            self._wake.clear()
            now = self._timer()
            self._revive(now)
            if self._queue and gathered_since is None:
                gathered_since = now
            full = len(self._queue) >= BATCH
            if gathered_since is not None and (full or now >= gathered_since + self._every):
                self._tell()
                # What is left is due, and what there is goes out in between.
                gathered_since = gathered_since if self._queue else None
            if now >= next_metrics:
                self._measure()
                next_metrics = now + self._settings.interval
            self._deliver(float("inf"))
        self._revive(float("inf"))
        for outbox in self._outboxes:
            outbox.hurry()
        while self._queue:
            self._tell()
            # It may be more than may wait.
            self._deliver(self._deadline)
        self._measure()
        for outbox in self._outboxes:
            outbox.hurry()
        self._deliver(self._deadline)
        for outbox in self._outboxes:
            outbox.close()

    def _deliver(self, until: float) -> None:
        for outbox in self._outboxes:
            try:
                outbox.deliver(until)
            except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it
                self._complain("telemetry could not be sent", error)

    def _tell(self) -> None:
        """Makes parcels of what has ended."""
        found: list[ReadableSpan] = []
        events_: list[LogRecord] = []
        batch = BATCH if self.room is None else BATCH_OF_CONTENT
        for _ in range(min(batch, len(self._queue))):
            ended = self._queue.popleft()
            if self._is_late(ended):
                continue
            try:
                self._one(ended, found, events_)
            except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it
                self._complain("a call is missing in the telemetry", error)
            finally:
                if ended.heard is not None:
                    ended.heard.let_go()
        if self._dropped and (dropped := self._dropped):
            self._dropped = 0
            for outbox in (self._traces, self._events):
                if outbox is not None:
                    outbox.lose(dropped, "there were too many at once")
        try:
            self._pack(found, events_)
        except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it
            self._complain("some calls are missing in the telemetry", error)

    def _pack(self, found: list[ReadableSpan], events_: list[LogRecord]) -> None:
        if found and self._traces is not None:
            self._traces.put(Parcel(encode_spans(found).SerializeToString(), len(found)))
        if events_ and self._events is not None:
            attributes = dict(self._resource.attributes)
            for records in logs.lots(events_):
                self._events.put(Parcel(logs.request(attributes, SCOPE, records), len(records)))  # type: ignore[arg-type]  # ours are plain

    def _one(self, ended: Ended, found: list[ReadableSpan], events_: list[LogRecord]) -> None:
        # As the ledger has it: no secret, nothing endless.
        record = from_row(storable(ended.record, self._scrub))
        with self._lock:
            call = told(
                record,
                json.loads(record.attempts),
                [Tried(each.sent, self._clean(each.model)) for each in ended.tried],
                json.loads(record.losses),
                ended.reason,
                ended.asked,
                self._dialects,
            )
            if self._measures is not None:
                arrivals = ended.arrivals
                gaps = [later - sooner for sooner, later in pairwise(arrivals)]
                self._measures.record(call, gaps)
        place = ended.place
        if place is not None:
            for sent in call.attempts:
                place.attempts.setdefault(sent.number, self.span_id())
        sampled = place is not None and place.flags & SAMPLED
        if self._traces is not None and place is not None and sampled:
            found += spans(call, place, self._resource, self._scope)
        if self._events is not None:
            # Without a span nobody looks for one.
            where = place if self._traces is not None and sampled else None
            said = None
            if ended.heard is not None and call.attempts:
                hurried = len(self._queue) > CROWD or self._timer() > self._reading_until
                said = self._content.read(ended.heard, record, hurried=hurried)
            events_ += events(call, where, self._clock(), said)

    def _is_late(self, ended: Ended) -> bool:
        """Whether something of what is said is still to come: then it waits for that."""
        if ended.heard is None or ended.heard.over or self._closing:
            return False
        if not ended.until:
            ended = replace(ended, until=self._timer() + PATIENCE)
        elif ended.until <= self._timer():
            return False
        self._late.append(ended)
        return True

    def _revive(self, now: float) -> None:
        """Those are told for which nothing more is to come, or whose time is over."""
        for _ in range(len(self._late)):
            ended = self._late.popleft()
            assert ended.heard is not None
            (self._queue if ended.heard.over or ended.until <= now else self._late).append(ended)

    def _clean(self, model: str | None) -> str | None:
        return None if model is None else self._scrub(model.encode("utf-8", "backslashreplace").decode())

    def _measure(self) -> None:
        if self._reader is None or self._metrics is None:
            return
        try:
            data = self._reader.get_metrics_data()
            if data is not None and data.resource_metrics:
                self._metrics.put(Parcel(encode_metrics(data).SerializeToString(), 1))
        except Exception as error:  # noqa: BLE001 - whatever it is: this thread must outlive it
            self._complain("metrics could not be made", error)

    def _complain(self, what: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.error("%s; this is said once", what, exc_info=error)


def _resource(settings: Settings, writer: str) -> Resource:
    """Who tells: what the environment says stands above the defaults and below the rules."""
    ours = {SERVICE_NAME: _SERVICE, SERVICE_VERSION: __version__, SERVICE_INSTANCE_ID: writer}
    sdk = {name: value for name, value in Resource.create().attributes.items() if name.startswith("telemetry.sdk.")}
    named = {SERVICE_NAME: settings.service_name} if settings.service_name else {}
    return Resource({**ours, **sdk, **OTELResourceDetector().detect().attributes, **settings.resource, **named})


def _refused_spans(answer: bytes) -> tuple[int, str]:
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    return partial.rejected_spans, partial.error_message


def _refused_points(answer: bytes) -> tuple[int, str]:
    partial = ExportMetricsServiceResponse.FromString(answer).partial_success
    return partial.rejected_data_points, partial.error_message
