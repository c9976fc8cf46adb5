"""What has become of one call so far: its plan, its upstream, its reply, and in the end its one record.

The engine moves a call along; an `Exchange` remembers, and settles exactly once, whoever comes first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from typing import Protocol

from interpose.call import Call, Headers, Reply, without
from interpose.errors import Outcome, Refusal
from interpose.formats import FORMATS
from interpose.formats.codecs import Client
from interpose.formats.keys import client_keys
from interpose.ir import Reading, Usage, UsageSource
from interpose.ledger.record import Record, utc_text
from interpose.limits.store import Granted, Standing
from interpose.masking.whole import Known, reveals
from interpose.prices import Catalogue
from interpose.stages import STAGES
from interpose.stages.claim import matched
from interpose.stages.draft import Attempt, Head, Plan, Trip
from interpose.stages.gauge import Gauge
from interpose.stages.metering import measure
from interpose.stages.session import SessionGauge
from interpose.stages.translation import WHOLE_LIMIT, Return, Translation, summary
from interpose.upstream.hops import homeward

from .bill import Bill
from .bodies import Flowing, Local, Translated, WithoutUsage
from .gate import Gate
from .gate import headers as limit_headers
from .held import Answer, Held
from .inforce import InForce
from .legs import Leg
from .observer import Observer
from .tracing import Tracer, Tried
from .witness import Watch, Witness

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
    prices: Catalogue
    observer: Observer
    new_id: Callable[[], str]
    tracer: Tracer | None

    def forget(self, exchange: Exchange) -> None: ...


class Exchange:
    """One call and what has become of it so far, by the rules that it began with. Settled once, whoever comes first."""

    def __init__(self, engine: Books, call: Call, witnesses: Sequence[Witness] = ()) -> None:
        self.id = call.id or engine.new_id()
        self.call = call
        self.inforce = engine.inforce
        self.plan: Plan | None = None
        self._engine = engine
        # Every attempt, in the order in which they began, and the one of which the client is told.
        self._legs: list[Leg] = []
        self._leg: Leg | None = None
        # What hedges have used that were given up, in tokens.
        self._used_beside = 0
        self._settled = False
        self._status: int | None = None
        self._reason: str | None = None
        self._started = engine.clock.now()
        self._began = engine.clock.monotonic()
        self._bill = Bill(engine.prices, self.inforce.rules.prices, self._started)
        self._first: float | None = None
        self._uploaded = 0
        self._trace = (
            engine.tracer.begin(call, alters=not self.inforce.rules.audit_only) if engine.tracer is not None else None
        )
        self._held: list[Granted] = []
        self._minded: tuple[Standing, ...] = ()
        # None where nobody looks.
        self.watch: Watch | None = None
        for witness in witnesses:
            self.witnessed_by(witness)

    def witnessed_by(self, witness: Witness) -> None:
        """From here on that one looks on, too."""
        if self.watch is None:
            self.watch = Watch(self.call, (), self.inforce.rules.intercept.placeholders)
        self.watch.join(witness)

    def number(self, leg: Leg) -> int:
        """Its place among what the record tells of attempts, from 1."""
        return (len(self.plan.left_out) if self.plan is not None else 0) + self._legs.index(leg) + 1

    def hold(self, granted: Granted | None) -> None:
        """What the limits have granted to the call."""
        if granted is not None:
            self._held.append(granted)

    def remind(self, standings: tuple[Standing, ...]) -> None:
        """Where the limits stand of a call that is refused without being counted."""
        self._minded = standings

    @property
    def gate(self) -> Gate:
        return self._engine.gate

    @property
    def started(self) -> float:
        """When the call began, in Unix seconds."""
        return self._started

    @property
    def flows(self) -> bool:
        """Whether the reply's body has begun to come."""
        return self._first is not None

    @property
    def began(self) -> float:
        """When it did, by the engine's monotonic clock."""
        return self._began

    @property
    def trip(self) -> Trip | None:
        """The attempt of which the client is told."""
        return self._leg.trip if self._leg is not None else None

    @property
    def sends(self) -> int:
        """How many attempts have been sent."""
        return sum(leg.sent for leg in self._legs)

    def _since(self) -> float:
        """How long ago the call came, in seconds."""
        return self._engine.clock.monotonic() - self._began

    @property
    def under_way(self) -> list[Leg]:
        """The attempts that have not come to an end."""
        return [leg for leg in self._legs if not leg.over]

    def embark(self, trip: Trip, granted: Granted | None = None) -> Leg:
        """An attempt begins. It is the client's, unless another one is under way."""
        leg = Leg(trip, granted, len(self._legs), self._since())
        if self._leg is None or self._leg.over:
            self._leg = leg
        self._legs.append(leg)
        return leg

    def lose(self, leg: Leg, reason: str) -> None:
        """An attempt has failed, and nothing of it has gone to the client."""
        if leg.trip.lap is not None:
            leg.trip.lap.failed()
        self._end(leg, leg.told(self._since(), reason, leg.used()))
        if leg.granted is not None:
            self._engine.gate.give_back(leg.granted.reservation, self._bill.charged([leg]))
            leg.granted = None

    def beaten(self, leg: Leg) -> None:
        """Another attempt has answered first: this one is hung up on, and what it has cost stands in the record."""
        self._give_up(leg, "hedged: lost")

    def _give_up(self, leg: Leg, reason: str) -> None:
        assert self.plan is not None
        assert self.plan.facts is not None
        assert isinstance(self.call.body, bytes)
        usage = leg.estimated(self.plan.facts.endpoint, self.call.body)
        self._end(leg, leg.told(self._since(), reason, usage, {"usage_source": "estimated"} if usage else None))
        used = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        self._used_beside += used
        if leg.granted is not None:
            self._engine.gate.leave(leg.granted.reservation, used, self._bill.charged([leg]) or 0)
            leg.granted = None

    def _end(self, leg: Leg, entry: dict[str, object]) -> None:
        leg.entry = entry
        if leg.trip.lap is not None:
            leg.trip.lap.end()
        if leg.reply is not None:
            leg.reply.cut()
        if leg is self._leg:
            self._status = self._first = None
            self._leg = next(iter(self.under_way), leg)

    def recall(self, leg: Leg, held: Held | None = None) -> None:
        """Of the attempts that have failed, this one is what the client is told of."""
        self._leg = leg
        if held is not None:
            leg.reply = held

    def traced(self, headers: Headers, leg: Leg) -> Headers:
        """The headers of an attempt, with which it continues the client's trace."""
        return headers if self._trace is None else self._trace.onward(headers, leg.number)

    def body(self) -> bytes | AsyncIterator[bytes]:
        """The request's body; one that streams through is counted on its way."""
        return self.call.body if isinstance(self.call.body, bytes) else self._counted(self.call.body)

    async def _counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            self._uploaded += len(piece)
            if self.watch is not None:
                self.watch.uploaded(piece)
            yield piece

    async def _spoken(self, gauge: Gauge | SessionGauge | None) -> AsyncIterator[bytes]:
        """What the client of a WebSocket sends, read along."""
        assert not isinstance(self.call.body, bytes)
        assert isinstance(gauge, SessionGauge)
        async for piece in self.call.body:
            gauge.sent(piece)
            if self.watch is not None:
                self.watch.uploaded(piece)
            yield piece
        if gauge.closed is None:
            # It has hung up without a word.
            self.abort()

    async def begin(self, leg: Leg) -> Reply:
        """The upstream's head has come: its reply, with our headers where the rules had a hand in the call."""
        assert self.plan is not None
        assert leg.reply is not None
        self._leg, upstream, trip = leg, leg.reply, leg.trip
        self._status = upstream.status
        head = Head(upstream.status, upstream.reason, homeward(self.call, upstream.headers))
        for stage in reversed(STAGES):
            head = stage.receive(head, trip)
        gauge = trip.gauge
        if upstream.session is not None:
            upstream.session.carry(self._spoken(gauge))
        if trip.attempt.translation is not None:
            return await self._converted(upstream, head, trip.attempt.translation)
        headers = self._limited(head.headers)
        if self.plan.acts:
            headers = (*headers, *self._marks(self.plan, trip.attempt))
        streams = gauge is not None and gauge.streaming
        body = Flowing(self, upstream)
        if streams and trip.attempt.asks_usage:
            # Its length is no longer what it was.
            headers = without(headers, frozenset((b"content-length",)))
            return Reply(head.status, head.reason, headers, WithoutUsage(body), streams)
        return Reply(head.status, head.reason, headers, body, streams)

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
        standings = [*self._minded, *(standing for granted in self._granted() for standing in granted.standings)]
        if not standings or self.plan is None or self.plan.facts is None:
            return headers
        ours = limit_headers(standings, self.plan.facts.format, self._engine.clock.now())
        return (*without(headers, frozenset(name for name, _ in ours)), *ours)

    def _granted(self) -> list[Granted]:
        """What the limits have reserved for the call and for the attempt that is the client's."""
        of_attempt = self._leg.granted if self._leg is not None else None
        return self._held if of_attempt is None else [*self._held, of_attempt]

    def _hang_up(self) -> None:
        for leg in self._legs:
            if leg.reply is not None:
                leg.reply.cut()

    def refuse(self, refusal: Refusal) -> Reply:
        """Our own answer, in the client's format; an upstream that has answered already is hung up on."""
        self._hang_up()
        self._status = refusal.status
        self._reason = refusal.code
        self._engine.observer.refused(refusal.code, refusal.outcome)
        if self.trip is not None and self.trip.secret is not None:
            # No text of ours quotes an upstream; this is the second lock on an echoed credential.
            refusal.message = self.trip.secret.masked(refusal.message)
        error = FORMATS[self._format()].error(refusal)
        headers: Headers = (
            *error.headers,
            *refusal.headers,
            *without(self._limited(()), frozenset(name for name, _ in refusal.headers)),
            (b"content-length", str(len(error.body)).encode()),
            (b"x-interpose-id", self.id.encode()),
        )
        # To a HEAD, whose length alone is told: its connection goes on.
        body = b"" if self.call.method == "HEAD" else error.body
        return Reply(refusal.status, HTTPStatus(refusal.status).phrase, headers, Local(self, body, refusal.outcome))

    def answer(self, data: bytes, headers: Headers) -> Reply:
        """An answer of our own that is no refusal: JSON. A HEAD is told its length alone."""
        self._status = 200
        told: Headers = (
            *self._limited(((b"content-type", b"application/json"),)),
            (b"content-length", str(len(data)).encode()),
            (b"x-interpose-id", self.id.encode()),
            *headers,
        )
        return Reply(200, phrase(200), told, Local(self, b"" if self.call.method == "HEAD" else data, "ok"))

    def _format(self) -> str:
        """The client's format: what the plan found, else what is spoken at that host and path, planned or not."""
        if self.plan is not None and self.plan.facts is not None:
            return self.plan.facts.format
        row = self.inforce.territory.row_of(self.call)
        return matched(self.call, row).format if row is not None else "openai"

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
        if self._trace is not None:
            self._trace.arrived(self._since())
        if self.trip is not None and self.trip.gauge is not None:
            self.trip.gauge.feed(chunk)
        if self.trip is not None and self.trip.lap is not None and self.trip.lap.waits and self.trip.says_something:
            self.trip.lap.first()

    def abort(self) -> None:
        """The client has gone, or we are going: the upstream is closed at once.

        Unless the client has had it all and did not wait for HTTP's own end, as SDKs do at [DONE]: the connection is
        then a moment away from being of use to the next call.
        """
        settled = self.settle("aborted")
        if settled == "ok" and self._leg is not None and self._leg.reply is not None:
            self._leg.reply.linger()
        else:
            self._hang_up()

    def settle(self, outcome: Outcome, reason: str | None = None) -> str | None:
        """Writes the record, and returns its outcome. Only the first call counts; nothing that goes wrong in here
        reaches the client.
        """
        if self._settled:
            return None
        self._settled = True
        self._engine.forget(self)
        try:
            record, tried = self._record(outcome, reason or self._reason)
        except Exception:
            # One record per call, come what may (law 7).
            logger.exception("the record of the call %s is incomplete", self.id)
            record, tried = self._least(outcome), []
        for leg in self._legs:
            if leg.trip.lap is not None:
                if leg is self._leg and record.outcome in ("error", "truncated"):
                    leg.trip.lap.failed()
                leg.trip.lap.end()
        self._engine.prices.then(partial(self._write, record, tried))
        try:
            self._leave(record)
        except Exception:
            logger.exception("the limits of the call %s are not settled", self.id)
        return record.outcome

    def _write(self, record: Record, tried: Sequence[Mapping[str, object]]) -> None:
        """Hands the record over, with what the call cost; in the thread of the prices where these are not there yet."""
        bill = self._bill
        try:
            for leg in self._legs:
                if leg.entry is not None and (cost := bill.cost(leg)) is not None:
                    leg.entry["cost_usd"] = float(cost)
            if any(leg.usage for leg in self._legs):
                total = bill.total(self._legs)
                record.cost_usd = None if total is None else float(total)
                record.price_version = bill.version
        except Exception:
            logger.exception("the record of the call %s has no cost", self.id)
        record.attempts = json.dumps(tried)
        self._mask(record)
        if self.watch is not None:
            translation = self.trip.attempt.translation if self.trip is not None else None
            self.watch.settled(record, translation.all_losses() if translation is not None else ())
        self._engine.record(record)
        if self._trace is not None:
            self._trace.settled(
                record,
                [
                    Tried(leg.sent, self.masked(leg.reading.model) if leg.reading is not None else None)
                    for leg in self._legs
                ],
                self._reason,
            )

    def _mask(self, record: Record) -> None:
        """A client may have its key where a model's name belongs, or in a path (law 6)."""
        names = f"{record.path}\n{record.app}\n{record.asked_model}\n{record.sent_model}"
        said = f"{names}\n{record.losses}\n{record.attempts}"
        if self._reveals(said):
            known = Known(self.call)
            for name in ("path", "app", "asked_model", "sent_model", "losses", "attempts"):
                if text := getattr(record, name):
                    setattr(record, name, known.text(text))

    def masked(self, text: str | None) -> str | None:
        """What a client or a provider calls something, without a key that the client has put there."""
        return text if text is None or not self._reveals(text) else Known(self.call).text(text)

    def _reveals(self, text: str) -> bool:
        keys = self.plan.keys if self.plan is not None else None
        if keys is None:
            keys = tuple(key.value for key in client_keys(self.call.headers, self.call.url))
        login = self.call.peer.login
        return reveals(text, keys if login is None else (*keys, login.key))

    def _leave(self, record: Record) -> None:
        """Tells the limits what was used."""
        told = (record.input_tokens, record.output_tokens)
        sent = any(count is not None for count in told)
        # Of a call that was sent and given up before a word of its use, what was reserved counts: it may be billed.
        given_up = record.outcome == "aborted" and any(leg.sent for leg in self._legs)
        unknown = None if record.outcome == "ok" or given_up else 0
        tokens = sum(count or 0 for count in told) if sent else unknown
        cost = self._bill.charged(self._legs)
        for granted in self._held:
            # A call pays for its hedges, too, and for what has failed.
            self._engine.gate.leave(
                granted.reservation,
                None if tokens is None else tokens + self._used_beside,
                unknown if cost is None else cost,
            )
        for leg in self._legs:
            if leg.granted is not None:
                cost = self._bill.charged([leg])
                mine = leg is self._leg
                self._engine.gate.leave(
                    leg.granted.reservation,
                    tokens if mine else 0,
                    (unknown if mine else 0) if cost is None else cost,
                )
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

    def _record(self, outcome: Outcome, reason: str | None) -> tuple[Record, Sequence[Mapping[str, object]]]:
        """The record, but for its cost and its attempts, which stand beside it."""
        clock = self._engine.clock
        call, facts = self.call, self.plan.facts if self.plan else None
        attempt = self.trip.attempt if self.trip else None
        gauge = self.trip.gauge if self.trip else None
        leg = self._leg
        status = self._status or (leg.reply.status if leg is not None and leg.reply is not None else 0)
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
                request=call.body if isinstance(call.body, bytes) else self._uploaded,
                cut=outcome in ("aborted", "truncated"),
            )
            usage, source = measured.usage, measured.source
        elif leg is not None and not leg.over and leg.reading is not None and leg.reading.usage:
            usage, source = leg.reading.usage, UsageSource.PROVIDER
        ended = clock.monotonic()
        provider = attempt.provider if attempt is not None else None
        lost = attempt.translation.all_losses() if attempt is not None and attempt.translation is not None else []
        if leg is not None and not leg.over:
            session = gauge.told() if isinstance(gauge, SessionGauge) else None
            leg.entry = leg.told(ended - self._began, reason, usage, session)
        for other in self.under_way:
            self._give_up(other, "hedged: given up")
        entries = (leg.entry for leg in self._legs if leg.entry is not None)
        tried = [*(self._left_out() if self.plan else ()), *entries]
        record = Record(
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
        return record, tried


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
