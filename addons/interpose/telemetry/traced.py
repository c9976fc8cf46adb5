"""A call on its way, as telemetry has it: its place in a trace, when pieces of it came, and who hears what is said."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from interpose.call import Call, Headers, Origin
from interpose.capturing.pieces import Room
from interpose.engine.tracing import Tried
from interpose.engine.witness import Witness
from interpose.ledger.record import Record

from .context import SAMPLED, continued, traceparent
from .events import CONVERSATIONS
from .heard import Heard
from .spans import Place

# Of so many pieces of a stream the times are kept: the SDK takes 15 µs for each.
MOST_CHUNKS = 17


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is to be told; `until` is for how long what is still `heard` of it is waited for."""

    record: Record
    tried: Sequence[Tried]
    reason: str | None
    place: Place | None
    asked: Origin
    arrivals: array[float]
    heard: Heard | None = None
    until: float = 0.0


class Taker(Protocol):
    """Who is told of calls. `room` is None where what was said is not told."""

    room: Room | None

    def span_id(self) -> int: ...
    def take(self, ended: Ended) -> None: ...


@dataclass(slots=True)
class Traced:
    """See `tracing.Trace`."""

    _taker: Taker
    _place: Place | None
    _call: Call
    _alters: bool
    _arrivals: array[float] = field(default_factory=lambda: array("d"))
    _heard: Heard | None = None

    def witness(self, endpoint: str, scrub: tuple[str, ...]) -> Witness | None:
        room = self._taker.room
        if room is not None and endpoint in CONVERSATIONS:
            self._heard = Heard(self._call, scrub, room)
        return self._heard

    def onward(self, headers: Headers, attempt: int) -> Headers:
        place = self._place
        if not self._alters or place is None or place.parent is None or not place.flags & SAMPLED:
            return headers
        span = place.attempts[attempt] = self._taker.span_id()
        return continued(headers, traceparent(place.trace_id, span, place.flags))

    def arrived(self, at: float) -> None:
        if len(self._arrivals) < MOST_CHUNKS:
            self._arrivals.append(at)

    def settled(self, record: Record, tried: Sequence[Tried], reason: str | None) -> None:
        origin = self._call.url.origin
        self._taker.take(Ended(record, tried, reason, self._place, origin, self._arrivals, self._heard))
