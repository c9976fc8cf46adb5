"""What is told of a call beside what was said in it: when, by whom, to whom, how much, for how much."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from interpose.recordings import Recorded
from interpose.transcripts import Transcript


@dataclass(frozen=True, slots=True)
class Figures:
    """What can be added up. None is not told; `estimated` says that no provider has told the tokens, or not of all."""

    input_tokens: int | None = None
    cached: int | None = None
    output_tokens: int | None = None
    reasoning: int | None = None
    cost: float | None = None
    estimated: bool = False


def figures(call: Recorded, transcript: Transcript) -> Figures:
    """As the ledger has them, else as the reply tells them."""
    record, usage = call.record, transcript.usage
    if record is not None and record.usage_source != "none":
        return Figures(
            record.input_tokens,
            record.cache_read_tokens,
            record.output_tokens,
            record.reasoning_tokens,
            record.cost_usd,
            record.usage_source == "estimated",
        )
    return Figures(
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        record.cost_usd if record is not None else None,
    )


def total(each: Iterable[Figures]) -> Figures:
    """The sum of what is told."""
    every = list(each)

    def summed(name: str) -> Any:
        told = [value for one in every if (value := getattr(one, name)) is not None]
        return sum(told) if told else None

    told = ("input_tokens", "cached", "output_tokens", "reasoning", "cost")
    return Figures(**{name: summed(name) for name in told}, estimated=any(one.estimated for one in every))


def status_of(call: Recorded) -> int | None:
    return call.answered.status if call.answered is not None else call.record.status if call.record else None


def outcome(call: Recorded, transcript: Transcript) -> str:
    """In the ledger's words."""
    if call.record is not None:
        return call.record.outcome
    if call.answered is None or transcript.failure is not None or call.error is not None:
        return "error"
    return "error" if call.answered.status >= 400 else "ok"


def models(call: Recorded, transcript: Transcript) -> str:
    """What was asked for, and what answered where that is another one."""
    record = call.record
    asked = (record.asked_model if record is not None else None) or transcript.model
    sent = (record.sent_model if record is not None else None) or transcript.answered
    if not asked or not sent or sent == asked or sent.startswith(f"{asked}-"):
        return asked or sent
    return f"{asked} → {sent}"


def clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def hour(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def span(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def money(dollars: float | None) -> str:
    if dollars is None:
        return ""
    return f"${dollars:.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.6f}".rstrip("0")


def count(tokens: int | None, *, estimated: bool = False) -> str:
    return "" if tokens is None else f"{'~' if estimated else ''}{tokens:,}"


def tokens(told: Figures) -> str:
    """`1,234 in (900 cached) · 56 out (20 reasoning)`, `~22 in · ~19 out` where they are estimated."""
    inside = f" ({told.cached:,} cached)" if told.cached else ""
    thought = f" ({told.reasoning:,} reasoning)" if told.reasoning else ""
    parts = [
        f"{count(told.input_tokens, estimated=told.estimated)} in{inside}" if told.input_tokens is not None else "",
        f"{count(told.output_tokens, estimated=told.estimated)} out{thought}" if told.output_tokens is not None else "",
    ]
    return " · ".join(part for part in parts if part)


def first_token(call: Recorded) -> str:
    if call.record is not None:
        return span(call.record.ttft_ms)
    began = call.answered.began if call.answered is not None else None
    return span(None if began is None else began * 1000)


def took(call: Recorded) -> str:
    if call.record is not None and call.record.duration_ms is not None:
        return span(call.record.duration_ms)
    ended = call.answered.ended if call.answered is not None else None
    return span(None if ended is None else ended * 1000)


def rows(call: Recorded, transcript: Transcript) -> Iterator[tuple[str, str]]:
    """All that is known of a call, by name; what is not known is left out."""
    for name, value in _rows(call, transcript):
        if value not in (None, ""):
            yield name, str(value)


def _rows(call: Recorded, transcript: Transcript) -> Iterator[tuple[str, object]]:
    record = call.record
    told = figures(call, transcript)
    yield "id", call.id
    yield "began", clock(call.started_at)
    yield "app", call.app
    yield "client", call.client
    yield "address", call.ip
    yield "asked", f"{call.asked.method} {call.asked.url}"
    yield "format", " · ".join(part for part in (transcript.format, transcript.endpoint) if part)
    yield "model asked for", (record.asked_model if record else None) or transcript.model
    yield "model that answered", transcript.answered
    if record is not None:
        yield "model sent", record.sent_model
        yield "route", record.route
        yield "provider", record.provider
        yield "provider's format", record.provider_format
        yield "credential", record.credential
    yield "status", status_of(call)
    yield "outcome", outcome(call, transcript)
    yield "error", call.error or (call.answered.error if call.answered is not None else None)
    yield "tokens", tokens(told)
    if record is not None:
        yield "usage by", record.usage_source
        yield "cost", money(record.cost_usd) or "not known"
        yield "prices", record.price_version
    yield "first token", first_token(call)
    yield "took", took(call)
    if record is not None:
        yield "attempts", "; ".join(_attempts(record.attempts))
        yield "losses", "; ".join(losses(call))
        yield "rules", record.rules_version
        yield "ledger", f"{record.writer} {record.seq}" if record.writer else None
        yield "hash", record.hash
    else:
        yield "found in", call.place


def losses(call: Recorded) -> list[str]:
    """What its conversion could not keep, a line each."""
    if call.record is None:
        return []
    return [
        f"{each.get('severity') or each.get('class', '')} {each.get('path', '')}: {each.get('reason', '')}".strip()
        for each in _list(call.record.losses)
        if isinstance(each, dict)
    ]


def _attempts(text: str) -> Iterator[str]:
    found = _list(text)
    for number, each in enumerate(found if len(found) > 1 else [], 1):
        if isinstance(each, dict):
            told = [each.get(name) for name in ("provider", "model", "status", "reason")]
            yield f"{number}. " + " ".join(str(value) for value in told if value not in (None, ""))


def _list(text: str) -> list[object]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []
