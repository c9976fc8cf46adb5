"""OTLP log records, as protobuf: what events and the ledger's records travel in. Pure.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from interpose import __version__

from .conventions import SCHEMA_URL, SCOPE

type Value = str | bool | int | float | Sequence[Value | None] | Mapping[str, Value | None]
# What a whole number may be: beyond, it is told in words.
_LEAST, _MOST = -(2**63), 2**63 - 1

# With what was said, an event may be large; a post of them is about so large at most.
LOT = 1 << 20

INFO = SeverityNumber.SEVERITY_NUMBER_INFO
WARN = SeverityNumber.SEVERITY_NUMBER_WARN
_TEXTS = {INFO: "INFO", WARN: "WARN"}


def any_value(value: Value | None) -> AnyValue:
    """None is a value without one."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value) if _LEAST <= value <= _MOST else AnyValue(string_value=str(value))
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case Mapping():
            pairs = [KeyValue(key=name, value=any_value(each)) for name, each in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
    return AnyValue(array_value=ArrayValue(values=[any_value(each) for each in value]))


def key_values(attributes: Mapping[str, Value | None]) -> list[KeyValue]:
    """What is None is left out."""
    return [KeyValue(key=name, value=any_value(value)) for name, value in attributes.items() if value is not None]


def log_record(
    event: str,
    at: int,
    observed: int,
    attributes: Mapping[str, Value | None],
    *,
    severity: SeverityNumber.ValueType = INFO,
    body: str | None = None,
    trace: tuple[bytes, bytes, int] | None = None,
) -> LogRecord:
    """An event. Times are Unix time in nanoseconds; `trace` the ids of a trace and of a span, and the flags."""
    record = LogRecord(
        event_name=event,
        time_unix_nano=at,
        observed_time_unix_nano=observed,
        severity_number=severity,
        severity_text=_TEXTS[severity],
        attributes=key_values(attributes),
    )
    if body is not None:
        record.body.string_value = body
    if trace is not None:
        record.trace_id, record.span_id, record.flags = trace
    return record


def request(
    resource: Mapping[str, Value], scope: str, records: Iterable[LogRecord], schema_url: str = SCHEMA_URL
) -> bytes:
    data: bytes = ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=key_values(resource)),
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope(name=scope, version=__version__),
                        log_records=records,
                        schema_url=schema_url,
                    )
                ],
            )
        ]
    ).SerializeToString()
    return data


def lots(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    """So many at a time as a collector takes at once."""
    lot: list[LogRecord] = []
    size = 0
    for record in records:
        more = record.ByteSize()
        if lot and size + more > LOT:
            yield lot
            lot, size = [], 0
        lot.append(record)
        size += more
    if lot:
        yield lot


def refused(answer: bytes) -> tuple[int, str]:
    """How many records the collector has not taken, and why. Raises what protobuf raises."""
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    return partial.rejected_log_records, partial.error_message


__all__ = ["INFO", "SCOPE", "WARN", "any_value", "key_values", "log_record", "refused", "request"]
