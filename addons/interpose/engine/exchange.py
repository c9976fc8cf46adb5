"""One call as the engine moves it along: attempts begin and fail, bytes pass; settled once, whoever comes first.

What is answered is made in `replying`, what is written down in `settlement`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Protocol

from interpose.call import Call, Headers
from interpose.errors import Outcome, Refusal
from interpose.ledger.record import Record
from interpose.limits.store import Granted, Standing
from interpose.prices import Catalogue
from interpose.stages.draft import Trip
from interpose.stages.gauge import Gauge
from interpose.stages.session import SessionGauge

from . import settlement
from .gate import Gate
from .held import Held
from .inforce import InForce
from .journey import Clock, Journey
from .legs import Leg
from .observer import Observer
from .tracing import Tracer, Tried
from .witness import Watch, Witness

logger = logging.getLogger(__name__)


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


class Exchange(Journey):
    """A call's journey within an engine, which lends it what it needs, and whose limits and ledger learn of its end."""

    def __init__(self, engine: Books, call: Call, witnesses: Sequence[Witness] = ()) -> None:
        super().__init__(call.id or engine.new_id(), call, engine.inforce, engine.clock, engine.prices)
        self._engine = engine
        self._settled = False
        self._trace = (
            engine.tracer.begin(call, alters=not self.inforce.rules.audit_only) if engine.tracer is not None else None
        )
        # None where nobody looks.
        self.watch: Watch | None = None
        for witness in witnesses:
            self.witnessed_by(witness)

    def witnessed_by(self, witness: Witness) -> None:
        """From here on that one looks on, too."""
        if self.watch is None:
            self.watch = Watch(self.call, (), self.inforce.rules.intercept.placeholders)
        self.watch.join(witness)

    def traced_as(self, endpoint: str) -> None:
        """That kind of call it is: whoever traces it may want to look on."""
        if self._trace is not None:
            witness = self._trace.witness(endpoint, self.inforce.rules.ledger.scrub)
            if witness is not None:
                self.witnessed_by(witness)

    def hold(self, granted: Granted | None) -> None:
        """What the limits have granted to the call."""
        if granted is not None:
            self.held.append(granted)

    def remind(self, standings: tuple[Standing, ...]) -> None:
        """Where the limits stand of a call that is refused without being counted."""
        self.minded = standings

    @property
    def gate(self) -> Gate:
        return self._engine.gate

    def embark(self, trip: Trip, granted: Granted | None = None) -> Leg:
        """An attempt begins. It is the client's, unless another one is under way."""
        leg = Leg(trip, granted, len(self.legs), self.since())
        if self.leg is None or self.leg.over:
            self.leg = leg
        self.legs.append(leg)
        return leg

    def lose(self, leg: Leg, reason: str) -> None:
        """An attempt has failed, and nothing of it has gone to the client."""
        if leg.trip.lap is not None:
            leg.trip.lap.failed()
        self._end(leg, leg.told(self.since(), reason, leg.used()))
        if leg.granted is not None:
            self._engine.gate.give_back(leg.granted.reservation, self.bill.charged([leg]))
            leg.granted = None

    def beaten(self, leg: Leg) -> None:
        """Another attempt has answered first: this one is hung up on, and what it has cost stands in the record."""
        self._give_up(leg, "hedged: lost")

    def _give_up(self, leg: Leg, reason: str) -> None:
        assert self.plan is not None
        assert self.plan.facts is not None
        assert isinstance(self.call.body, bytes)
        usage = leg.estimated(self.plan.facts.endpoint, self.call.body)
        self._end(leg, leg.told(self.since(), reason, usage, {"usage_source": "estimated"} if usage else None))
        used = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        self.used_beside += used
        if leg.granted is not None:
            self._engine.gate.leave(leg.granted.reservation, used, self.bill.charged([leg]) or 0)
            leg.granted = None

    def _end(self, leg: Leg, entry: dict[str, object]) -> None:
        leg.entry = entry
        if leg.trip.lap is not None:
            leg.trip.lap.end()
        if leg.reply is not None:
            leg.reply.cut()
        if leg is self.leg:
            self.status = self.first = None
            self.leg = next(iter(self.under_way), leg)

    def recall(self, leg: Leg, held: Held | None = None) -> None:
        """Of the attempts that have failed, this one is what the client is told of."""
        self.leg = leg
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
            self.uploaded += len(piece)
            if self.watch is not None:
                self.watch.uploaded(piece)
            yield piece

    async def spoken(self, gauge: Gauge | SessionGauge | None) -> AsyncIterator[bytes]:
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

    def refused(self, refusal: Refusal) -> None:
        """The client is refused by us."""
        self.status = refusal.status
        self.reason = refusal.code
        self._engine.observer.refused(refusal.code, refusal.outcome)

    def hang_up(self) -> None:
        """On whoever has begun to answer."""
        for leg in self.legs:
            if leg.reply is not None:
                leg.reply.cut()

    def arrived(self, chunk: bytes) -> None:
        """A piece of the body is about to go to the client."""
        if self.first is None:
            self.first = self.clock.monotonic()
        if self._trace is not None:
            self._trace.arrived(self.since())
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
        if settled == "ok" and self.leg is not None and self.leg.reply is not None:
            self.leg.reply.linger()
        else:
            self.hang_up()

    def settle(self, outcome: Outcome, reason: str | None = None) -> str | None:
        """Writes the record, and returns its outcome. Only the first call counts; nothing that goes wrong in here
        reaches the client.
        """
        if self._settled:
            return None
        self._settled = True
        self._engine.forget(self)
        try:
            record, tried = self._recorded(outcome, reason or self.reason)
        except Exception:
            # One record per call, come what may (law 7).
            logger.exception("the record of the call %s is incomplete", self.id)
            record, tried = settlement.least(self, outcome), []
        for leg in self.legs:
            if leg.trip.lap is not None:
                if leg is self.leg and record.outcome in ("error", "truncated"):
                    leg.trip.lap.failed()
                leg.trip.lap.end()
        self._engine.prices.then(partial(self._write, record, tried))
        try:
            settlement.pay(self, record, self._engine.gate)
        except Exception:
            logger.exception("the limits of the call %s are not settled", self.id)
        return record.outcome

    def _recorded(self, outcome: Outcome, reason: str | None) -> tuple[Record, settlement.Tried]:
        for other in self.under_way:
            if other is not self.leg:
                self._give_up(other, "hedged: given up")
        return settlement.recorded(self, outcome, reason)

    def _write(self, record: Record, tried: settlement.Tried) -> None:
        """Hands the record over, with what the call cost; in the thread of the prices where these are not there yet."""
        try:
            settlement.priced(self, record)
        except Exception:
            logger.exception("the record of the call %s has no cost", self.id)
        record.attempts = json.dumps(tried)
        settlement.mask(self, record)
        if self.watch is not None:
            translation = self.trip.attempt.translation if self.trip is not None else None
            self.watch.settled(record, translation.all_losses() if translation is not None else ())
        self._engine.record(record)
        if self._trace is not None:
            self._trace.settled(record, self._tried(), self.reason)

    def _tried(self) -> list[Tried]:
        return [
            Tried(leg.sent, settlement.masked(self, leg.reading.model) if leg.reading is not None else None)
            for leg in self.legs
        ]
