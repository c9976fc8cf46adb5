"""From a call's record to its spans: one for the call, one for each attempt that was sent. Pure.

The call is a SERVER span, since we serve it, and a child of the client's; each attempt is a CLIENT span, the operation
of the GenAI conventions: its provider, its model, its tokens. So that what is summed over spans is right, tokens stand
on attempts alone; the whole call's are `interpose.*` attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from interpose.call import Origin
from interpose.engine.tracing import Tried
from interpose.ledger.record import Record

from . import conventions as names
from .context import Parent

Value = str | bool | int | float | Sequence[str]

# A model's name is its client's to choose.
LONGEST = 100
# What the ledger says of attempts that never were.
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_GIVEN_UP = "hedged:"
# Of a call: what is on its span under our own prefix, where the record has it.
_OURS = (
    "id",
    "entrance",
    "endpoint",
    "client",
    "app",
    "client_format",
    "route",
    "provider",
    "provider_format",
    "sent_model",
    "credential",
    "outcome",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost_usd",
    "price_version",
    "rules_version",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands in its trace: its own span, those of its attempts by number, and the client's."""

    trace_id: int
    span_id: int
    flags: int
    parent: Parent | None = None
    attempts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was sent, read from the record's `attempts`. Times are in seconds from the call's arrival."""

    number: int
    provider: str
    route_provider: str | None
    host: str
    port: int | None
    model: str | None
    answered_model: str | None
    status: int | None
    reason: str | None
    began: float
    took: float
    usage: Mapping[str, int]
    usage_source: str
    cost: float | None
    credential: str | None
    error: str | None
    last: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A call that has ended, as telemetry sees it. `reason` is the code of our own refusal."""

    record: Record
    operation: str
    model: str | None
    reason: str | None
    attempts: tuple[Sent, ...]
    unsent: tuple[Mapping[str, Any], ...]
    losses: tuple[Mapping[str, Any], ...]
    started: int
    error: str | None
    asked: Origin

    @property
    def converted(self) -> bool:
        """Whether the provider speaks another format than the client."""
        record = self.record
        return None not in (record.client_format, record.provider_format) and (
            bool(self.losses) or record.client_format != record.provider_format
        )


def told(
    record: Record,
    attempts: Sequence[Mapping[str, Any]],
    tried: Sequence[Tried],
    losses: Sequence[Mapping[str, Any]],
    reason: str | None,
    asked: Origin,
    dialects: Mapping[str, str | None],
) -> Told:
    """`asked` is where the client has sent it, `dialects` are those of the rules' providers."""
    began = [entry for entry in attempts if "at_ms" in entry]
    sent: list[Sent] = []
    unsent = [entry for entry in attempts if "at_ms" not in entry]
    final = max((place for place, each in enumerate(tried) if each.sent), default=None)
    for number, (entry, known) in enumerate(zip(began, tried, strict=False)):
        if known.sent:
            sent.append(_sent(number, entry, known, record, dialects, last=number == final))
        else:
            unsent.append(entry)
    return Told(
        record,
        names.operation(record.endpoint, record.client_format, record.path),
        short(record.asked_model),
        reason,
        tuple(sent),
        tuple(unsent),
        tuple(losses),
        nanoseconds(record.started_at),
        error_of(record, reason),
        asked,
    )


def _sent(
    number: int,
    entry: Mapping[str, Any],
    known: Tried,
    record: Record,
    dialects: Mapping[str, str | None],
    *,
    last: bool,
) -> Sent:
    origin = urlsplit(str(entry.get("origin") or ""))
    host = origin.hostname or record.host
    name = entry.get("provider")
    used = entry.get("usage")
    chosen = name is not None and name == record.provider
    reason, status = entry.get("reason"), entry.get("status")
    return Sent(
        number,
        names.provider(
            host, record.provider_format if chosen else None, dialects.get(name) if name is not None else None
        ),
        name,
        host,
        origin.port or {"https": 443, "http": 80}.get(origin.scheme),
        short(entry.get("model")) or short(record.asked_model),
        short(known.model),
        status,
        reason,
        float(entry.get("at_ms") or 0) / 1000,
        max(0.0, float(entry.get("took_ms") or 0) / 1000),
        used if isinstance(used, dict) else {},
        str(entry.get("usage_source") or (record.usage_source if last else "provider")),
        entry.get("cost_usd"),
        entry.get("credential"),
        _error_of_attempt(status, reason, record, last=last),
        last,
    )


def _error_of_attempt(status: object, reason: object, record: Record, *, last: bool) -> str | None:
    """`error.type`: a status, or a word of ours."""
    if isinstance(status, int) and status >= 400:
        return str(status)
    if isinstance(reason, str) and not reason.startswith(_GIVEN_UP):
        if _CODE.fullmatch(reason):
            return reason
        return record.outcome if last and record.outcome not in ("ok", "aborted") else "_OTHER"
    if last and record.outcome in ("error", "truncated"):
        return record.outcome
    return None


def error_of(record: Record, reason: str | None) -> str | None:
    """`error.type` of a call: the code of our refusal, the provider's status, or how it ended. What its client has
    ended itself is no error.
    """
    if record.outcome in ("ok", "aborted"):
        return None
    if reason is not None:
        return reason if _CODE.fullmatch(reason) else record.outcome
    return str(record.status) if record.status is not None and record.status >= 400 else record.outcome


def nanoseconds(text: str) -> int:
    """A record's time as Unix time."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def short(model: object) -> str | None:
    if model is None:
        return None
    text = str(model)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def named(operation: str, model: str | None) -> str:
    """A span's name: `{operation} {model}`."""
    return f"{operation} {model}" if model else operation


def given(**values: Value | None) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}


def call_attributes(call: Told) -> dict[str, Value]:
    """What is known of a whole call."""
    record = call.record
    found: dict[str, Value | None] = {
        names.OPERATION: call.operation,
        names.PROVIDER: call.attempts[-1].provider
        if call.attempts
        else names.provider(record.host, record.client_format, None),
        names.REQUEST_MODEL: call.model,
        names.RESPONSE_MODEL: call.attempts[-1].answered_model if call.attempts else None,
        names.REQUEST_STREAM: True if record.stream else None,
        names.FIRST_CHUNK: record.ttft_ms / 1000 if record.stream and record.ttft_ms is not None else None,
        names.METHOD: record.method,
        names.PATH: record.path,
        names.STATUS: record.status,
        names.CLIENT_ADDRESS: record.ip,
        names.SCHEME: call.asked.scheme,
        names.SERVER_ADDRESS: call.asked.host,
        names.SERVER_PORT: call.asked.port,
        names.ERROR_TYPE: call.error,
    }
    for name in _OURS:
        found[f"interpose.{name}"] = getattr(record, name)
    found["interpose.attempts"] = len(call.attempts)
    found["interpose.losses"] = len(call.losses) or None
    return {name: value for name, value in found.items() if value is not None}


def attempt_attributes(call: Told, sent: Sent) -> dict[str, Value]:
    record = call.record
    streams = sent.last and record.stream
    first = record.ttft_ms / 1000 - sent.began if streams and record.ttft_ms is not None else None
    found: dict[str, Value | None] = {
        names.OPERATION: call.operation,
        names.PROVIDER: sent.provider,
        names.REQUEST_MODEL: sent.model,
        names.RESPONSE_MODEL: sent.answered_model,
        names.REQUEST_STREAM: True if record.stream else None,
        names.FIRST_CHUNK: first if first is not None and first >= 0 else None,
        names.SERVER_ADDRESS: sent.host,
        names.SERVER_PORT: sent.port,
        names.METHOD: record.method,
        names.STATUS: sent.status,
        names.RESEND: sent.number or None,
        names.ERROR_TYPE: sent.error,
        "interpose.id": record.id,
        "interpose.provider": sent.route_provider,
        "interpose.credential": sent.credential,
        "interpose.attempt": sent.number,
        "interpose.reason": sent.reason,
        "interpose.usage_source": sent.usage_source,
        "interpose.cost_usd": sent.cost,
    }
    if sent.usage_source == "provider":
        # An estimate is no count: "otherwise it MUST NOT report usage".
        found |= {names.USAGE[name]: count for name, count in sent.usage.items() if name in names.USAGE}
    return {name: value for name, value in found.items() if value is not None}


def spans(call: Told, place: Place, resource: Resource, scope: InstrumentationScope) -> list[ReadableSpan]:
    """The call's span, and those of its attempts."""
    flags = TraceFlags(place.flags)
    parent = place.parent
    state = TraceState(list(parent.state)) if parent is not None and parent.state else TraceState()
    context = SpanContext(place.trace_id, place.span_id, False, flags, state)
    above = (
        SpanContext(parent.trace_id, parent.span_id, True, TraceFlags(parent.flags), state)
        if parent is not None
        else None
    )
    ended = call.started + round((call.record.duration_ms or 0.0) * 1_000_000)
    failed = Status(StatusCode.ERROR, _why(call)) if call.error is not None else Status()
    found = [
        ReadableSpan(
            named(call.operation, call.model),
            context,
            above,
            resource,
            call_attributes(call),
            _events(call, ended),
            (),
            SpanKind.SERVER,
            None,
            failed,
            call.started,
            ended,
            scope,
        )
    ]
    for sent in call.attempts:
        # Within the call, whatever was rounded.
        began = min(call.started + round(sent.began * 1e9), ended)
        found.append(
            ReadableSpan(
                named(call.operation, sent.model),
                SpanContext(place.trace_id, place.attempts[sent.number], False, flags, state),
                context,
                resource,
                attempt_attributes(call, sent),
                (),
                (),
                SpanKind.CLIENT,
                None,
                Status(StatusCode.ERROR, sent.reason) if sent.error is not None else Status(),
                began,
                min(began + round(sent.took * 1e9), ended),
                scope,
            )
        )
    return found


def _why(call: Told) -> str | None:
    if call.reason is not None:
        return call.reason
    return call.attempts[-1].reason if call.attempts else None


def _events(call: Told, ended: int) -> list[Event]:
    """On the call's span: what was not sent, and what a conversion has lost."""
    found = [
        Event(
            "interpose.attempt.unsent",
            given(
                **{
                    "interpose.provider": entry.get("provider"),
                    names.REQUEST_MODEL: short(entry.get("model")),
                    "interpose.reason": entry.get("reason"),
                }
            ),
            call.started + round(float(entry.get("at_ms") or 0) * 1e6),
        )
        for entry in call.unsent
    ]
    if call.converted:
        found.append(Event("interpose.call.converted", loss_attributes(call), ended))
    return found


def loss_attributes(call: Told) -> dict[str, Value]:
    """Which fields of a conversation a conversion could not keep, by how much of them was lost; no content."""
    kinds: dict[str, list[str]] = {}
    for loss in call.losses:
        kinds.setdefault(str(loss.get("severity") or loss.get("class") or "dropped"), []).append(str(loss.get("path")))
    return {f"interpose.losses.{kind}": sorted(set(paths))[:20] for kind, paths in kinds.items()}
