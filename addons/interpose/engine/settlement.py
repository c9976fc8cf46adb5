"""What is written down of a call that has ended: its record, what it cost, what the limits are told of it.

Nothing here happens by itself, and nothing twice: `Exchange.settle` sees to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from interpose.errors import Outcome
from interpose.formats.keys import client_keys
from interpose.ir import Reading, Usage, UsageSource
from interpose.ledger.record import Record, utc_text
from interpose.masking.whole import Known, reveals
from interpose.stages.gauge import Gauge
from interpose.stages.metering import measure
from interpose.stages.session import SessionGauge

from .gate import Gate
from .journey import Journey

# So many losses of a call are recorded; they repeat each other beyond.
MOST_LOSSES = 100

Tried = Sequence[Mapping[str, object]]


def recorded(journey: Journey, outcome: Outcome, reason: str | None) -> tuple[Record, Tried]:
    """The record, but for its cost and its attempts, which stand beside it."""
    call, facts = journey.call, journey.plan.facts if journey.plan else None
    attempt = journey.trip.attempt if journey.trip else None
    gauge = journey.trip.gauge if journey.trip else None
    leg = journey.leg
    status = journey.status or (leg.reply.status if leg is not None and leg.reply is not None else 0)
    endpoint = facts.endpoint if facts is not None else "other"
    usage, source = Usage(), UsageSource.NONE
    if gauge is not None:
        reading = gauge.finish()
        if leg is not None:
            leg.reading = reading
        outcome, reason = verdict(outcome, reason, status, gauge, reading)
        measured = measure(
            reading,
            endpoint=endpoint,
            status=status,
            request=call.body if isinstance(call.body, bytes) else journey.uploaded,
            cut=outcome in ("aborted", "truncated"),
        )
        usage, source = measured.usage, measured.source
    elif leg is not None and not leg.over and leg.reading is not None and leg.reading.usage:
        usage, source = leg.reading.usage, UsageSource.PROVIDER
    ended = journey.clock.monotonic()
    provider = attempt.provider if attempt is not None else None
    lost = attempt.translation.all_losses() if attempt is not None and attempt.translation is not None else []
    if leg is not None and not leg.over:
        session = gauge.told() if isinstance(gauge, SessionGauge) else None
        leg.entry = leg.told(ended - journey.began, reason, usage, session)
    entries = (leg.entry for leg in journey.legs if leg.entry is not None)
    tried = [*left_out(journey), *entries]
    record = Record(
        id=journey.id,
        started_at=utc_text(journey.started),
        finished_at=utc_text(journey.started + (ended - journey.began)),
        entrance=call.entrance,
        client=journey.plan.client if journey.plan else None,
        ip=call.peer.ip,
        app=call.peer.app,
        method=call.method,
        host=call.url.origin.host,
        path=call.url.path,
        endpoint=endpoint,
        client_format=facts.format if facts is not None else None,
        asked_model=facts.model if facts is not None else None,
        route=journey.plan.route if journey.plan else None,
        provider=provider.name if provider else None,
        provider_format=provider.format if provider else None,
        sent_model=attempt.model if attempt is not None and provider is not None else None,
        credential=attempt.injection.source.name if attempt is not None and attempt.injection else None,
        status=journey.status,
        outcome=outcome,
        stream=(gauge is not None and gauge.streaming) or (facts is not None and facts.stream is True),
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=source,
        ttft_ms=None if journey.first is None else round((journey.first - journey.began) * 1000, 3),
        duration_ms=round((ended - journey.began) * 1000, 3),
        losses=json.dumps([asdict(loss) for loss in lost[:MOST_LOSSES]]),
        rules_version=journey.inforce.rules.version,
    )
    return record, tried


def least(journey: Journey, outcome: Outcome) -> Record:
    """What can be said of any call."""
    call = journey.call
    return Record(
        id=journey.id,
        started_at=utc_text(journey.started),
        finished_at=utc_text(journey.clock.now()),
        entrance=call.entrance,
        ip=call.peer.ip,
        method=call.method,
        host=call.url.origin.host,
        path=call.url.path,
        endpoint="other",
        status=journey.status,
        outcome=outcome,
        rules_version=journey.inforce.rules.version,
    )


def left_out(journey: Journey) -> list[dict[str, object]]:
    """What the ledger says of targets that could not take the call."""
    return [
        {"provider": each.provider, "model": each.model, "status": None, "reason": f"left out: {each.reason}"}
        for each in (journey.plan.left_out if journey.plan is not None else ())
    ]


def priced(journey: Journey, record: Record) -> None:
    """Adds what the call cost, and what each of its attempts did."""
    bill = journey.bill
    for leg in journey.legs:
        if leg.entry is not None and (cost := bill.cost(leg)) is not None:
            leg.entry["cost_usd"] = float(cost)
    if any(leg.usage for leg in journey.legs):
        total = bill.total(journey.legs)
        record.cost_usd = None if total is None else float(total)
        record.price_version = bill.version


def mask(journey: Journey, record: Record) -> None:
    """A client may have its key where a model's name belongs, or in a path (law 6)."""
    names = f"{record.path}\n{record.app}\n{record.asked_model}\n{record.sent_model}"
    said = f"{names}\n{record.losses}\n{record.attempts}"
    if _reveals(journey, said):
        known = Known(journey.call)
        for name in ("path", "app", "asked_model", "sent_model", "losses", "attempts"):
            if text := getattr(record, name):
                setattr(record, name, known.text(text))


def masked(journey: Journey, text: str | None) -> str | None:
    """What a client or a provider calls something, without a key that the client has put there."""
    return text if text is None or not _reveals(journey, text) else Known(journey.call).text(text)


def _reveals(journey: Journey, text: str) -> bool:
    keys = journey.plan.keys if journey.plan is not None else None
    if keys is None:
        keys = tuple(key.value for key in client_keys(journey.call.headers, journey.call.url))
    login = journey.call.peer.login
    return reveals(text, keys if login is None else (*keys, login.key))


def pay(journey: Journey, record: Record, gate: Gate) -> None:
    """Tells the limits what was used."""
    told = (record.input_tokens, record.output_tokens)
    sent = any(count is not None for count in told)
    # Of a call that was sent and given up before a word of its use, what was reserved counts: it may be billed.
    given_up = record.outcome == "aborted" and any(leg.sent for leg in journey.legs)
    unknown = None if record.outcome == "ok" or given_up else 0
    tokens = sum(count or 0 for count in told) if sent else unknown
    cost = journey.bill.charged(journey.legs)
    for granted in journey.held:
        # A call pays for its hedges, too, and for what has failed.
        gate.leave(
            granted.reservation,
            None if tokens is None else tokens + journey.used_beside,
            unknown if cost is None else cost,
        )
    for leg in journey.legs:
        if leg.granted is not None:
            cost = journey.bill.charged([leg])
            mine = leg is journey.leg
            gate.leave(
                leg.granted.reservation,
                tokens if mine else 0,
                (unknown if mine else 0) if cost is None else cost,
            )
    if record.output_tokens is not None and record.outcome == "ok":
        gate.learn(record.asked_model, record.output_tokens)


def verdict(
    outcome: Outcome, reason: str | None, status: int, gauge: Gauge | SessionGauge, reading: Reading
) -> tuple[Outcome, str | None]:
    """How a call really ended whose transport ended well: success is never invented (law 4)."""
    if outcome == "aborted" and gauge.streaming and reading.complete and status < 400:
        # The client has had it all: SDKs hang up on the format's end and do not wait for HTTP's.
        outcome, reason = "ok", None
    if outcome != "ok":
        return outcome, reason
    if status >= 400:
        return "error", reason
    if reading.error is not None:
        return "error", reason or "an error in the reply's body"
    if gauge.streaming and not reading.complete:
        return "truncated", reason or reading.flaw or "the stream ended without the end of its format"
    return outcome, reason
