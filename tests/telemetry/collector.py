"""A collector as OpenTelemetry's is: it takes OTLP over HTTP, decodes it, and answers what a test wants answered.

Whatever comes is held against the protocol: path, content type, resource, scope, ids, times.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as PbSpan

WAIT = 30.0
REQUESTS = {
    "/v1/traces": traces.ExportTraceServiceRequest,
    "/v1/metrics": metrics.ExportMetricsServiceRequest,
    "/v1/logs": logs.ExportLogsServiceRequest,
}


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def attributes(pairs: Any) -> dict[str, Any]:
    """Each once, as the protocol demands."""
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        assert pair.key
        assert pair.key not in found, pair.key
        found[pair.key] = plain(pair.value)
    return found


@dataclass(slots=True)
class Span:
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    start: int
    end: int
    status: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    resource: dict[str, Any]
    flags: int


@dataclass(slots=True)
class Log:
    event: str
    severity: str
    at: int
    trace: str
    span: str
    body: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str


@dataclass(slots=True)
class Point:
    """A data point; of a histogram `value` is its sum, of a counter the counter."""

    metric: str
    kind: str
    unit: str
    value: float
    count: int
    bounds: tuple[float, ...]
    attributes: dict[str, Any]
    temporality: int


@dataclass(slots=True)
class Seen:
    """One post."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass
class Collector:
    """`answer` says what each post is answered: a status, headers and a body; None for a 200."""

    port: int = 0
    answer: Callable[[str, int], tuple[int, dict[str, str], bytes] | None] = lambda _path, _number: None
    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None
    _connections: list[Any] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> Collector:
        """Listens, at the port of before if it had one."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, said = collector.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in {"content-type": "application/x-protobuf", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def process_request(self, request: Any, client_address: Any) -> None:
                collector._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, *_: object) -> None:
                """Whoever hangs up may do so."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listens no more, and hangs up on everybody."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.changed:
            number = len(self.seen)
        # Outside of the lock: a test may have it wait.
        told = self.answer(path, number)
        with self.changed:
            status = told[0] if told is not None else 200
            self.seen.append(Seen(path, {name.lower(): value for name, value in headers.items()}, body, status))
            if status == 200:
                try:
                    self._read(path, self.seen[-1])
                except Exception as error:  # noqa: BLE001 - told by the test that looks
                    self.problems.append(f"{path}: {type(error).__name__}: {error}")
            self.changed.notify_all()
        return told if told is not None else (200, {}, b"")

    def _read(self, path: str, seen: Seen) -> None:
        assert seen.headers["content-type"] == "application/x-protobuf"
        assert "interpose" in seen.headers["user-agent"]
        body = gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
        message: Any = REQUESTS[path].FromString(body)
        {"/v1/traces": self._traces, "/v1/metrics": self._metrics, "/v1/logs": self._logs}[path](message)

    def _traces(self, message: traces.ExportTraceServiceRequest) -> None:
        for of_resource in message.resource_spans:
            resource = _resource(of_resource)
            for of_scope in of_resource.scope_spans:
                _scope(of_scope)
                for span in of_scope.spans:
                    assert len(span.trace_id) == 16
                    assert any(span.trace_id)
                    assert len(span.span_id) == 8
                    assert any(span.span_id)
                    assert len(span.parent_span_id) in (0, 8)
                    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
                    self.spans.append(
                        Span(
                            span.name,
                            PbSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.trace_state,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            ("UNSET", "OK", "ERROR")[span.status.code],
                            attributes(span.attributes),
                            [(event.name, attributes(event.attributes)) for event in span.events],
                            resource,
                            span.flags,
                        )
                    )

    def _logs(self, message: logs.ExportLogsServiceRequest) -> None:
        for of_resource in message.resource_logs:
            resource = _resource(of_resource)
            for of_scope in of_resource.scope_logs:
                _scope(of_scope)
                for record in of_scope.log_records:
                    assert record.event_name
                    assert record.time_unix_nano > 0
                    assert record.observed_time_unix_nano > 0
                    self.logs.append(
                        Log(
                            record.event_name,
                            record.severity_text,
                            record.time_unix_nano,
                            record.trace_id.hex(),
                            record.span_id.hex(),
                            record.body.string_value,
                            attributes(record.attributes),
                            resource,
                            of_scope.scope.name,
                        )
                    )

    def _metrics(self, message: metrics.ExportMetricsServiceRequest) -> None:
        found: list[Point] = []
        for of_resource in message.resource_metrics:
            _resource(of_resource)
            for of_scope in of_resource.scope_metrics:
                _scope(of_scope)
                for metric in of_scope.metrics:
                    found += _points(metric)
        # What is cumulative replaces what came before.
        self.points = found

    # --- what tests ask ---------------------------------------------------------------------------------------

    def until(self, holds: Callable[[Collector], object]) -> Collector:
        """Waits until that holds. Fails if it does not, or if anything that came was not as it should be."""
        end = time.monotonic() + WAIT
        with self.changed:
            while not holds(self):
                left = end - time.monotonic()
                assert left > 0, (self.spans, self.logs, self.problems)
                self.changed.wait(left)
        assert not self.problems, self.problems
        return self

    def calls(self, **wanted: Any) -> list[Span]:
        """The spans of calls that have those attributes (`interpose.` is left out)."""
        return [
            span
            for span in list(self.spans)
            if span.kind == "SERVER"
            and all(span.attributes.get(f"interpose.{name}") == value for name, value in wanted.items())
        ]

    def call(self, id_: str) -> Span:
        """The span of that call, once it is there."""
        self.until(lambda here: here.calls(id=id_))
        (span,) = self.calls(id=id_)
        return span

    def attempts(self, call: Span) -> list[Span]:
        return sorted((span for span in self.spans if span.parent == call.id), key=lambda span: span.start)

    def events(self, call: Span) -> dict[str, Log]:
        id_ = call.attributes["interpose.id"]
        return {log.event: log for log in self.logs if log.attributes.get("interpose.id") == id_}

    def value(self, metric: str, **wanted: Any) -> float:
        """The sum over the points of a metric that have those attributes; dots are written as `__`."""
        named = {name.replace("__", "."): value for name, value in wanted.items()}
        return sum(
            point.value
            for point in self.points
            if point.metric == metric and all(point.attributes.get(name) == value for name, value in named.items())
        )


def _resource(of_resource: Any) -> dict[str, Any]:
    resource = attributes(of_resource.resource.attributes)
    assert resource["service.name"], resource
    assert resource["service.instance.id"], resource
    return resource


def _scope(of_scope: Any) -> None:
    assert of_scope.scope.name.startswith("interpose"), of_scope.scope
    assert of_scope.scope.version


def _points(metric: Any) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    for point in data.data_points:
        assert not point.exemplars
        if kind == "histogram":
            assert sum(point.bucket_counts) == point.count
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
            value, count, bounds = point.sum, point.count, tuple(point.explicit_bounds)
        else:
            assert kind == "sum"
            assert data.is_monotonic
            value, count, bounds = getattr(point, point.WhichOneof("value")), 1, ()
        yield Point(
            metric.name, kind, metric.unit, value, count, bounds, attributes(point.attributes),
            data.aggregation_temporality,
        )  # fmt: skip


@contextmanager
def collecting(**given: Any) -> Iterator[Collector]:
    collector = Collector(**given).start()
    try:
        yield collector
    finally:
        collector.stop()
