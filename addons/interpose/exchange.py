"""What has become of one call so far: its plan, its upstream, its reply, and in the end its one record.

The engine moves a call along; an `Exchange` remembers, and settles exactly once, whoever comes first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Protocol

from .bodies import Flowing, Local, Translated
from .call import Call, Headers, Reply, without
from .errors import Outcome, Refusal
from .formats import FORMATS
from .formats.codecs import Client
from .formats.endpoints import classify
from .gate import Gate
from .gate import headers as limit_headers
from .held import Answer, Held
from .inforce import InForce
from .ir import Reading, Usage, UsageSource
from .ledger.record import Record, utc_text
from .limits.store import Granted
from .stages import STAGES
from .stages.draft import Attempt, Head, Plan, Trip
from .stages.gauge import Gauge
from .stages.metering import measure
from .stages.session import SessionGauge
from .stages.translation import WHOLE_LIMIT, Return, Translation, summary

logger = logging.getLogger(__name__)

# So many losses of a call are recorded; they repeat each other beyond.
MOST_LOSSES = 100


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` is Unix time in seconds, for the ledger and for dates; `monotonic` measures durations."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Books(Protocol):
    """What an exchange needs of the engine that it belongs to."""

    inforce: InForce
    clock: Clock
    record: Callable[[Record], None]
    gate: Gate
    new_id: Callable[[], str]

    def forget(self, exchange: Exchange) -> None: ...


class Exchange:
    """One call and what has become of it so far, by the rules that it began with. Settled once, whoever comes first."""

    def __init__(self, engine: Books, call: Call) -> None:
        self.id = call.id or engine.new_id()
        self.call = call
        self.inforce = engine.inforce
        self.plan: Plan | None = None
        self.trip: Trip | None = None
        self._engine = engine
        self._upstream: Answer | None = None
        # The attempts that have failed, and whether the one of `trip` is among them.
        self._tried: list[dict[str, object]] = []
        self._told = False
        self._settled = False
        self._status: int | None = None
        self._reason: str | None = None
        self._started = engine.clock.now()
        self._began = engine.clock.monotonic()
        self._first: float | None = None
        self._uploaded = 0
        self._held: list[Granted] = []
        self._held_by_attempt: list[Granted] = []

    def hold(self, granted: Granted | None, *, of_attempt: bool = False) -> None:
        """What the limits have granted: to the call, or to the attempt that begins."""
        if granted is None:
            return
        (self._held_by_attempt if of_attempt else self._held).append(granted)

    @property
    def gate(self) -> Gate:
        return self._engine.gate

    @property
    def attached(self) -> bool:
        """Whether a reply has begun to come."""
        return self._upstream is not None

    def embark(self, trip: Trip) -> None:
        """An attempt begins."""
        self.trip, self._told = trip, False

    def attach(self, upstream: Answer) -> None:
        self._upstream = upstream
        self._status = upstream.status
        if self.trip is not None and self.trip.lap is not None:
            self.trip.lap.answered(upstream.status)

    def lose(self, reason: str) -> None:
        """The attempt under way has failed, and nothing of it has gone to the client."""
        assert self.trip is not None
        gauge, self.trip.gauge = self.trip.gauge, None
        self._tried.append(self._attempt(self.trip, reason, gauge.finish().usage if gauge is not None else Usage()))
        self._told = True
        if self.trip.lap is not None:
            self.trip.lap.failed()
            self.trip.lap.end()
        for granted in self._held_by_attempt:
            self._engine.gate.give_back(granted.reservation)
        self._held_by_attempt.clear()
        if self._upstream is not None:
            self._upstream.cut()
        self._upstream = self._status = self._first = None

    def recall(self, trip: Trip, held: Held | None = None) -> None:
        """Of the attempts that have failed, this one is what the client is told of."""
        self.trip = trip
        if held is not None:
            self.attach(held)

    def _attempt(
        self, trip: Trip, reason: str | None, usage: Usage, told: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """What the ledger says of one attempt."""
        attempt = trip.attempt
        used = {name: count for name, count in asdict(usage).items() if count is not None}
        return {
            "provider": attempt.provider.name if attempt.provider else None,
            "origin": str(attempt.url.origin),
            "model": attempt.model,
            "credential": attempt.injection.source.name if attempt.injection else None,
            "status": self._status if self._upstream is not None else None,
            "reason": reason,
            "usage": used or None,
            **(told or {}),
        }

    def body(self) -> bytes | AsyncIterator[bytes]:
        """The request's body; one that streams through is counted on its way."""
        return self.call.body if isinstance(self.call.body, bytes) else self._counted(self.call.body)

    async def _counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            self._uploaded += len(piece)
            yield piece

    async def _spoken(self, gauge: Gauge | SessionGauge | None) -> AsyncIterator[bytes]:
        """What the client of a WebSocket sends, read along."""
        assert not isinstance(self.call.body, bytes)
        assert isinstance(gauge, SessionGauge)
        async for piece in self.call.body:
            gauge.sent(piece)
            yield piece
        if gauge.closed is None:
            # It has hung up without a word.
            self.abort()

    async def begin(self, upstream: Answer) -> Reply:
        """The upstream's head has come: its reply, with our headers where the rules had a hand in the call."""
        assert self.plan is not None
        assert self.trip is not None
        head = Head(upstream.status, upstream.reason, upstream.headers)
        for stage in reversed(STAGES):
            head = stage.receive(head, self.trip)
        gauge = self.trip.gauge
        if upstream.session is not None:
            upstream.session.carry(self._spoken(gauge))
        if self.trip.attempt.translation is not None:
            return await self._converted(upstream, head, self.trip.attempt.translation)
        headers = self._limited(head.headers)
        if self.plan.acts:
            headers = (*headers, *self._marks(self.plan, self.trip.attempt))
        streams = gauge is not None and gauge.streaming
        return Reply(head.status, head.reason, headers, Flowing(self, upstream), streams)

    async def _converted(self, upstream: Answer, head: Head, translation: Translation) -> Reply:
        """The reply in the client's format: as it comes if it streams, else whole.

        Raises UpstreamFailure and Refusal while the client has had nothing of it.
        """
        assert self.plan is not None
        assert self.trip is not None
        assert self.plan.facts is not None
        client = Client(
            translation.request, self.plan.facts.model or translation.model, self.id, int(self._engine.clock.now())
        )
        back = Return(translation, head.status, head.headers, client=client)
        if back.streams:
            headers = (*self._limited(back.headers()), *self._marks(self.plan, self.trip.attempt))
            secret = self.trip.secret
            masked = secret.masked_bytes if secret is not None else bytes
            body = Translated(Flowing(self, upstream), back, masked)
            return Reply(back.status, phrase(back.status), headers, body, stream=True)
        pieces, size = [], 0
        async for chunk in upstream:
            self.arrived(chunk)
            pieces.append(chunk)
            size += len(chunk)
            if size > WHOLE_LIMIT:
                raise Refusal(502, "upstream_reply_too_large", "The reply is too large to convert.", outcome="error")
        data = back.whole(b"".join(pieces))
        if self.trip.secret is not None:
            # These bytes are ours, not the provider's: a key that it echoes goes no further.
            data = self.trip.secret.masked_bytes(data)
        headers = (
            *self._limited(back.headers()),
            (b"content-length", str(len(data)).encode()),
            *self._marks(self.plan, self.trip.attempt),
        )
        return Reply(back.status, phrase(back.status), headers, Local(self, data, "ok"))

    def _limited(self, headers: Headers) -> Headers:
        """With our limits in the place of the provider's, where there are any: they are the client's to mind."""
        standings = [standing for granted in (*self._held, *self._held_by_attempt) for standing in granted.standings]
        if not standings or self.plan is None or self.plan.facts is None:
            return headers
        ours = limit_headers(standings, self.plan.facts.format, self._engine.clock.now())
        return (*without(headers, frozenset(name for name, _ in ours)), *ours)

    def refuse(self, refusal: Refusal) -> Reply:
        """Our own answer, in the client's format; an upstream that has answered already is hung up on."""
        if self._upstream is not None:
            self._upstream.cut()
        self._status = refusal.status
        self._reason = refusal.code
        if self.trip is not None and self.trip.secret is not None:
            # No text of ours quotes an upstream; this is the second lock on an echoed credential.
            refusal.message = self.trip.secret.masked(refusal.message)
        error = FORMATS[self._format()].error(refusal)
        headers: Headers = (
            *error.headers,
            *refusal.headers,
            (b"content-length", str(len(error.body)).encode()),
            (b"x-interpose-id", self.id.encode()),
        )
        return Reply(
            refusal.status, HTTPStatus(refusal.status).phrase, headers, Local(self, error.body, refusal.outcome)
        )

    def _format(self) -> str:
        """The client's format: what the plan found, else what is spoken at that host and path, planned or not."""
        if self.plan is not None and self.plan.facts is not None:
            return self.plan.facts.format
        origin = self.call.url.origin
        row = self.inforce.territory.row(origin.host, origin.port)
        return classify(row, self.call.method, self.call.url.target).format if row is not None else "openai"

    def _marks(self, plan: Plan, attempt: Attempt) -> Headers:
        """The headers that say what was done: contract, "Headers we add to replies"."""
        said = {
            b"x-interpose-id": self.id,
            b"x-interpose-route": plan.route,
            b"x-interpose-provider": attempt.provider.name if attempt.provider else None,
            b"x-interpose-model": attempt.model,
            b"x-interpose-losses": summary(attempt.translation.all_losses()) if attempt.translation else None,
        }
        return tuple((name, printable(value)) for name, value in said.items() if value)

    def arrived(self, chunk: bytes) -> None:
        """A piece of the body is about to go to the client."""
        if self._first is None:
            self._first = self._engine.clock.monotonic()
            if self.trip is not None and self.trip.lap is not None:
                self.trip.lap.first()
        if self.trip is not None and self.trip.gauge is not None:
            self.trip.gauge.feed(chunk)

    def abort(self) -> None:
        """The client has gone, or we are going: the upstream is closed at once.

        Unless the client has had it all and did not wait for HTTP's own end, as SDKs do at [DONE]: the connection is
        then a moment away from being of use to the next call.
        """
        settled = self.settle("aborted")
        if self._upstream is None:
            return
        if settled == "ok":
            self._upstream.linger()
        else:
            self._upstream.cut()

    def settle(self, outcome: Outcome, reason: str | None = None) -> str | None:
        """Writes the record, and returns its outcome. Only the first call counts; nothing that goes wrong in here
        reaches the client.
        """
        if self._settled:
            return None
        self._settled = True
        self._engine.forget(self)
        if self.trip is not None and self.trip.lap is not None:
            if outcome in ("error", "truncated"):
                self.trip.lap.failed()
            self.trip.lap.end()
        try:
            record = self._record(outcome, reason or self._reason)
        except Exception:
            # One record per call, come what may (law 7).
            logger.exception("the record of the call %s is incomplete", self.id)
            record = self._least(outcome)
        self._engine.record(record)
        try:
            self._leave(record)
        except Exception:
            logger.exception("the limits of the call %s are not settled", self.id)
        return record.outcome

    def _leave(self, record: Record) -> None:
        """Tells the limits what was used."""
        told = (record.input_tokens, record.output_tokens)
        sent = any(count is not None for count in told)
        tokens = sum(count or 0 for count in told) if sent else 0 if record.outcome != "ok" else None
        for granted in (*self._held, *self._held_by_attempt):
            self._engine.gate.leave(granted.reservation, tokens)
        if record.output_tokens is not None and record.outcome == "ok":
            self._engine.gate.learn(record.asked_model, record.output_tokens)

    def _left_out(self) -> list[dict[str, object]]:
        """What the ledger says of targets that could not take the call."""
        assert self.plan is not None
        return [
            {"provider": each.provider, "model": each.model, "status": None, "reason": f"left out: {each.reason}"}
            for each in self.plan.left_out
        ]

    def _least(self, outcome: Outcome) -> Record:
        """What can be said of any call."""
        call = self.call
        return Record(
            id=self.id,
            started_at=utc_text(self._started),
            finished_at=utc_text(self._engine.clock.now()),
            entrance=call.entrance,
            ip=call.peer.ip,
            method=call.method,
            host=call.url.origin.host,
            path=call.url.path,
            endpoint="other",
            status=self._status,
            outcome=outcome,
            rules_version=self.inforce.rules.version,
        )

    def _record(self, outcome: Outcome, reason: str | None) -> Record:
        clock = self._engine.clock
        call, facts = self.call, self.plan.facts if self.plan else None
        attempt = self.trip.attempt if self.trip else None
        gauge = self.trip.gauge if self.trip else None
        endpoint = facts.endpoint if facts is not None else "other"
        usage, source = Usage(), UsageSource.NONE
        if gauge is not None:
            reading = gauge.finish()
            outcome, reason = verdict(outcome, reason, self._status or 0, gauge, reading)
            measured = measure(
                reading,
                endpoint=endpoint,
                status=self._status or 0,
                request=call.body if isinstance(call.body, bytes) else self._uploaded,
                cut=outcome in ("aborted", "truncated"),
            )
            usage, source = measured.usage, measured.source
        ended = clock.monotonic()
        provider = attempt.provider if attempt is not None else None
        tried = [*(self._left_out() if self.plan else ()), *self._tried]
        lost = attempt.translation.all_losses() if attempt is not None and attempt.translation is not None else []
        if self.trip is not None and not self._told:
            session = gauge.told() if isinstance(gauge, SessionGauge) else None
            tried.append(self._attempt(self.trip, reason, usage, session))
        return Record(
            id=self.id,
            started_at=utc_text(self._started),
            finished_at=utc_text(self._started + (ended - self._began)),
            entrance=call.entrance,
            client=self.plan.client if self.plan else None,
            ip=call.peer.ip,
            app=call.peer.app,
            method=call.method,
            host=call.url.origin.host,
            path=call.url.path,
            endpoint=endpoint,
            client_format=facts.format if facts is not None else None,
            asked_model=facts.model if facts is not None else None,
            route=self.plan.route if self.plan else None,
            provider=provider.name if provider else None,
            provider_format=provider.format if provider else None,
            sent_model=attempt.model if attempt is not None and provider is not None else None,
            credential=attempt.injection.source.name if attempt is not None and attempt.injection else None,
            attempts=json.dumps(tried),
            status=self._status,
            outcome=outcome,
            stream=(gauge is not None and gauge.streaming) or (facts is not None and facts.stream is True),
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            usage_source=source,
            ttft_ms=None if self._first is None else round((self._first - self._began) * 1000, 3),
            duration_ms=round((ended - self._began) * 1000, 3),
            losses=json.dumps([asdict(loss) for loss in lost[:MOST_LOSSES]]),
            rules_version=self.inforce.rules.version,
        )


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


def phrase(status: int) -> str:
    """The reason phrase of a status; Anthropic's 529 is in no register."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def printable(text: str) -> bytes:
    """A header value of visible ASCII: a model name comes from the client and must not be able to end the line."""
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode("ascii")[:256]
