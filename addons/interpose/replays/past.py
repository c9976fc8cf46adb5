"""What became of a recorded call: by its ledger record, by the headers that we put on its reply, else by its bodies.

A recording of another tool's tells neither route nor credential, and its cost is computed from what its reply says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from interpose.call import header
from interpose.engine.settlement import MOST_LOSSES, verdict
from interpose.errors import Outcome
from interpose.formats.endpoints import Match
from interpose.formats.makers import makers
from interpose.ir import Reading, Usage
from interpose.ledger.record import Record
from interpose.prices import vendor
from interpose.recordings import Answered, Recorded
from interpose.stages.gauge import Gauge
from interpose.stages.metering import measure
from interpose.wire.error import WireError

from .fates import Ending, Fate, Known
from .pricing import NOTHING_READ, Pricing

OURS = b"x-interpose-id"
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one place answered to the call. `won` says that this is what the client got."""

    provider: str | None
    origin: str | None
    model: str | None
    key: str
    status: int | None
    reason: str | None
    won: bool


@dataclass(frozen=True, slots=True)
class Past:
    """A call's fate, and what is known beside it: how long its answer took (seconds), what a meter read of that, what
    each place answered in turn, where it was to go in turn (a limit may have kept it from that), and the version of the
    prices behind its cost.
    """

    fate: Fate
    duration: float | None = None
    reading: Reading = NOTHING_READ
    answers: tuple[Answer, ...] = ()
    price_version: str | None = None
    tried: tuple[Answer, ...] = ()

    @property
    def first(self) -> Answer | None:
        """Where it was to go first."""
        return self.tried[0] if self.tried else None


def past_of(call: Recorded, match: Match | None, model: str | None, pricing: Pricing) -> Past:
    """What became of it. `match` and `model` are what its path and its body ask for."""
    if call.record is not None:
        return _of_record(call.record)
    return _of_bodies(call, match, model, pricing)


def _of_record(record: Record) -> Past:
    tried = tuple(_answers(record))
    answers = tuple(each for each in tried if each.reason != "limit")
    won = next((each for each in answers if each.won), answers[-1] if answers else None)
    knows: set[Known] = {"client", "route", "key"}
    losses = loss_set(parsed(record.losses))
    if len(parsed(record.losses)) < MOST_LOSSES:
        knows.add("losses")
    usage = Usage(
        record.input_tokens,
        record.cache_read_tokens,
        record.cache_write_tokens,
        record.output_tokens,
        record.reasoning_tokens,
    )
    fate = Fate(
        outcome=_ending(record.outcome),
        status=record.status,
        client=record.client,
        route=record.route,
        provider=record.provider,
        origin=won.origin if won is not None else None,
        model=record.sent_model or record.asked_model,
        key=record.credential or "",
        sends=len(answers),
        usage=usage,
        cost=Decimal(repr(record.cost_usd)) if record.cost_usd is not None else None,
        losses=losses,
        knows=frozenset(knows),
    )
    duration = record.duration_ms / 1000 if record.duration_ms is not None else None
    return Past(fate, duration, NOTHING_READ, answers, record.price_version, tried)


def _ending(outcome: str) -> Ending:
    for known in ("ok", "refused", "limited", "aborted", "truncated"):
        if outcome == known:
            return known
    return "error"


def parsed(text: str) -> list[Mapping[str, Any]]:
    """A JSON list of objects as a record has it; what is none holds nothing."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def loss_set(losses: list[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """The request's losses of a record, each kind once."""
    return frozenset(
        (str(each.get("severity")), generic(str(each.get("path"))))
        for each in losses
        if each.get("direction") == "request"
    )


def generic(path: str) -> str:
    """A JSON path without the places in its lists: the tenth message loses what the first one does."""
    return _INDEX.sub("[]", path)


def _answers(record: Record) -> Iterator[Answer]:
    """Every attempt in order, those for which there was no room included."""
    entries = [each for each in parsed(record.attempts) if not _reason(each).startswith("left out")]
    winner = max((place for place, each in enumerate(entries) if _is_winner(each, record)), default=None)
    for place, each in enumerate(entries):
        model = each.get("model")
        yield Answer(
            provider=each.get("provider"),
            origin=each.get("origin"),
            model=model if model is not None else record.asked_model,
            key=each.get("credential") or "",
            status=each.get("status"),
            reason=each.get("reason"),
            won=place == winner,
        )


def _reason(entry: Mapping[str, Any]) -> str:
    return str(entry.get("reason") or "")


def _is_winner(entry: Mapping[str, Any], record: Record) -> bool:
    """Whether the client was told of that attempt."""
    return (
        entry.get("provider") == record.provider
        and (record.provider is None or entry.get("model") == record.sent_model)
        and entry.get("credential") == record.credential
        and _reason(entry) != "limit"
        and not _reason(entry).startswith("hedged")
    )


def _of_bodies(call: Recorded, match: Match | None, model: str | None, pricing: Pricing) -> Past:
    answered = call.answered
    if answered is None:
        fate = Fate("aborted" if call.error else "error", code=call.error, model=model, knows=frozenset())
        return Past(fate)
    marks = _marks(answered)
    ours = header(answered.headers, OURS) is not None and "provider" not in marks and answered.status >= 400
    duration = answered.ended
    if ours:
        outcome: Ending = "limited" if answered.status == 429 else "refused"
        return Past(Fate(outcome, answered.status, model=model, knows=frozenset()), duration)
    outcome, reading, usage = _read(call, answered, match)
    provider = marks.get("provider")
    sent = marks.get("model") or model
    origin = str(call.asked.url.origin)
    seller = vendor(call.asked.url.origin.host)
    models: tuple[str | None, ...] = (sent, reading.model)
    if sent and sent != model and "model" in marks:
        # Another one has answered, under the name that the client had asked for.
        seller, models = next((maker.vendor for maker in makers(sent)), None), (sent,)
    cost = pricing.cost(seller, models, usage, call.started_at, reading)
    fate = Fate(
        outcome=outcome,
        status=answered.status,
        route=marks.get("route"),
        provider=provider,
        # Where a provider stands is for the rules of that time to say.
        origin=None if provider is not None else origin,
        model=sent,
        sends=1,
        usage=usage,
        cost=cost,
        knows=frozenset(("route",)) if marks else frozenset(),
    )
    answer = Answer(provider, fate.origin, sent, "", answered.status, answered.error, won=True)
    return Past(fate, duration, reading, (answer,), pricing.version, (answer,))


def _marks(answered: Answered) -> dict[str, str]:
    """What our headers on the reply say."""
    found = {}
    for name in ("route", "provider", "model"):
        if (value := header(answered.headers, f"x-interpose-{name}".encode())) is not None:
            found[name] = value.decode("latin-1")
    return found


def _read(call: Recorded, answered: Answered, match: Match | None) -> tuple[Ending, Reading, Usage]:
    """How it ended, what a meter reads of it, and what it used."""
    wire = match.wire if match is not None else "none"
    gauge = Gauge(wire, answered.headers)
    if answered.body is None:
        return ("ok" if answered.status < 400 else "error"), NOTHING_READ, Usage()
    gauge.feed(answered.body)
    reading = gauge.finish()
    whole = answered.size is None
    broke_off: Outcome = "aborted" if answered.error else "ok"
    outcome, _ = verdict(broke_off, None, answered.status, gauge, reading)
    if not whole:
        # What is missing was not kept; that says nothing of how it ended.
        outcome = "ok" if answered.status < 400 else "error"
    body = b""
    try:
        body = call.asked.content() or b""
    except WireError:
        pass  # its size is that of what was sent
    measured = measure(
        reading,
        endpoint=match.endpoint if match is not None else "other",
        status=answered.status,
        request=body,
        cut=outcome in ("aborted", "truncated") or not whole,
    )
    return _ending(outcome), reading, measured.usage
