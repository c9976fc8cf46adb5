"""OTLP log records, as protobuf: what events and the ledger's records travel in. Pure.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from interpose import __version__

from .conventions import SCHEMA_URL, SCOPE

Value = str | bool | int | float | Sequence[str]

INFO = SeverityNumber.SEVERITY_NUMBER_INFO
WARN = SeverityNumber.SEVERITY_NUMBER_WARN
_TEXTS = {INFO: "INFO", WARN: "WARN"}


def any_value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
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


def refused(answer: bytes) -> tuple[int, str]:
    """How many records the collector has not taken, and why. Raises what protobuf raises."""
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    return partial.rejected_log_records, partial.error_message


__all__ = ["INFO", "SCOPE", "WARN", "any_value", "key_values", "log_record", "refused", "request"]
