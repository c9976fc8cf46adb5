"""One sending of a call: what it holds of the limits, what came back, and what the ledger says of it.

A call has one leg after another, and two at a time where it is hedged. Which of them is the client's answer is decided
in `sending`, and what becomes of the call in `exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from interpose.ir import Reading, Usage
from interpose.limits.store import Granted
from interpose.stages.draft import Trip
from interpose.stages.metering import measure

from .held import Answer


@dataclass(slots=True, eq=False)
class Leg:
    """`granted` is what limits by its provider, route or key have reserved; `number` is its place among the call's,
    `began` when it was decided on, in seconds since the call came, and `sent` says that its request may have gone out.
    `reply` is there once a head has come, `reading` where all that came of it was read and withheld. `entry` is what
    the ledger says of it, once it is over, and `usage` what it has used.
    """

    trip: Trip
    granted: Granted | None = None
    number: int = 0
    began: float = 0.0
    sent: bool = False
    reply: Answer | None = None
    reading: Reading | None = None
    entry: dict[str, object] | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def over(self) -> bool:
        return self.entry is not None

    def told(
        self, now: float, reason: str | None, usage: Usage, more: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """What the ledger says of it, but for its cost. `now`, when it is over, counts from the call's beginning."""
        self.usage = usage
        attempt = self.trip.attempt
        used = {name: count for name, count in asdict(usage).items() if count is not None}
        return {
            "provider": attempt.provider.name if attempt.provider else None,
            "origin": str(attempt.url.origin),
            "model": attempt.model,
            "credential": attempt.injection.source.name if attempt.injection else None,
            "status": self.reply.status if self.reply is not None else None,
            "reason": reason,
            "at_ms": round(self.began * 1000, 3),
            "took_ms": round((now - self.began) * 1000, 3),
            "usage": used or None,
            "cost_usd": None,
            **(more or {}),
        }

    def used(self) -> Usage:
        """What the provider has told that it used, of a reply that failed."""
        return self._read().usage

    def estimated(self, endpoint: str, request: bytes) -> Usage:
        """What it has surely cost, though it was given up: its request was sent, and some of the answer may have come.

        A provider that notices late that nobody listens may bill for more: nobody is told.
        """
        if not self.sent:
            return Usage()
        status = self.reply.status if self.reply is not None else 200
        return measure(self._read(), endpoint=endpoint, status=status, request=request, cut=True).usage

    def _read(self) -> Reading:
        if self.reading is None:
            gauge, self.trip.gauge = self.trip.gauge, None
            self.reading = gauge.finish() if gauge is not None else Reading()
        return self.reading
