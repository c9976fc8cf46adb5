"""From a call's record to its events: what happened. What was said is told where the rules want it. Pure.

`gen_ai.client.inference.operation.details` and `gen_ai.client.operation.exception` are the conventions'; what we do
ourselves (refuse, limit, convert) has names of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from . import conventions as names
from .logs import INFO, WARN, Value, log_record
from .spans import Place, Told, attempt_attributes, call_attributes, loss_attributes

# What is a GenAI operation by the conventions: others have no details.
_INFERENCE = frozenset(("chat", "generate_content", "text_completion"))
# The endpoints of these.
CONVERSATIONS = frozenset(("chat", "completions"))
# What the conventions call an exception.
_FAILED = frozenset(("error", "truncated"))


def events(
    call: Told, place: Place | None, observed: int, said: Mapping[str, Value | None] | None = None
) -> Iterator[LogRecord]:
    """`said` are the attributes of what was asked and answered."""
    record = call.record
    ended = call.started + round((record.duration_ms or 0.0) * 1_000_000)
    trace = (place.trace_id.to_bytes(16), place.span_id.to_bytes(8), place.flags) if place is not None else None
    told = call_attributes(call)
    if call.operation in _INFERENCE and call.attempts:
        # Of what has answered: the provider's own model and tokens.
        last = call.attempts[-1]
        details = {**told, **attempt_attributes(call, last), **(said or {})}
        yield log_record(names.DETAILS, ended, observed, details, trace=_at(place, last.number))
    if record.outcome in _FAILED:
        reason = call.attempts[-1].reason if call.attempts else None
        failed = {names.EXCEPTION_TYPE: call.error, names.EXCEPTION_MESSAGE: reason or call.reason}
        yield log_record(names.EXCEPTION, ended, observed, {**told, **failed}, severity=WARN, trace=trace)
    if record.outcome in ("refused", "limited"):
        why = {"interpose.reason": call.reason}
        yield log_record(
            f"interpose.call.{record.outcome}", ended, observed, {**told, **why}, severity=WARN, trace=trace
        )
    if call.converted:
        severity = WARN if call.losses else INFO
        yield log_record(
            "interpose.call.converted",
            ended,
            observed,
            {**told, **loss_attributes(call)},
            severity=severity,
            trace=trace,
        )


def _at(place: Place | None, attempt: int) -> tuple[bytes, bytes, int] | None:
    if place is None:
        return None
    span = place.attempts.get(attempt, place.span_id)
    return place.trace_id.to_bytes(16), span.to_bytes(8), place.flags
