"""What has become of one call so far: its plan, its attempts, what has been sent and what has come.

It is moved along by the `exchange`, which adds to it what must happen once; what is written down of it is said in
`settlement`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interpose.call import Call
from interpose.limits.store import Granted, Standing
from interpose.prices import Catalogue
from interpose.stages.draft import Plan, Trip

from .bill import Bill
from .inforce import InForce
from .legs import Leg


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` is Unix time in seconds, for the ledger and for dates; `monotonic` measures durations."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Journey:
    """One call on its way, by the rules that it began with.

    `legs` are its attempts in the order in which they began, `leg` the one of which the client is told. `started` is
    Unix time, `began` and `first` (when the reply's body began to come) are of the engine's monotonic clock.
    """

    def __init__(self, name: str, call: Call, inforce: InForce, clock: Clock, prices: Catalogue) -> None:
        self.id = name
        self.call = call
        self.inforce = inforce
        self.clock = clock
        self.plan: Plan | None = None
        self.legs: list[Leg] = []
        self.leg: Leg | None = None
        # What hedges have used that were given up, in tokens.
        self.used_beside = 0
        # What the client is told, and why, where that is no provider's doing.
        self.status: int | None = None
        self.reason: str | None = None
        self.started = clock.now()
        self.began = clock.monotonic()
        self.first: float | None = None
        # Bytes of a request's body that streams through.
        self.uploaded = 0
        self.bill = Bill(prices, inforce.rules.prices, self.started)
        # What the limits have granted to the call; where they stand for one that is refused without being counted.
        self.held: list[Granted] = []
        self.minded: tuple[Standing, ...] = ()

    def number(self, leg: Leg) -> int:
        """Its place among what the record tells of attempts, from 1."""
        return (len(self.plan.left_out) if self.plan is not None else 0) + self.legs.index(leg) + 1

    @property
    def flows(self) -> bool:
        """Whether the reply's body has begun to come."""
        return self.first is not None

    @property
    def trip(self) -> Trip | None:
        """The attempt of which the client is told."""
        return self.leg.trip if self.leg is not None else None

    @property
    def sends(self) -> int:
        """How many attempts have been sent."""
        return sum(leg.sent for leg in self.legs)

    @property
    def under_way(self) -> list[Leg]:
        """The attempts that have not come to an end."""
        return [leg for leg in self.legs if not leg.over]

    def since(self) -> float:
        """How long ago the call came, in seconds."""
        return self.clock.monotonic() - self.began

    def granted(self) -> list[Granted]:
        """What the limits have reserved for the call and for the attempt that is the client's."""
        of_attempt = self.leg.granted if self.leg is not None else None
        return self.held if of_attempt is None else [*self.held, of_attempt]
