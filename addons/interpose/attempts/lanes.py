"""What is remembered of each lane between calls: its circuit breaker, its retry budget, how long it rests.

In this process alone, and for as long as it runs and its rules have that way. There are as many lanes as the rules
have credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from interpose.rules.secrets import CredentialSource

from .breaker import Breaker
from .budget import Budget

# A quota that is used up is looked at again after so long: somebody may have paid.
SPENT_REST = 600.0


@dataclass(frozen=True, slots=True)
class Lane:
    """A provider and the credential that is used there, None for the client's own."""

    provider: str
    source: CredentialSource | None


@dataclass(slots=True)
class Condition:
    """The state of one lane. `rests_until` is monotonic."""

    breaker: Breaker
    budget: Budget
    rests_until: float = field(default=0.0)


class Lanes:
    """The lanes of one engine. `clock` gives monotonic seconds."""

    __slots__ = ("_clock", "_lanes")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lanes: dict[Lane, Condition] = {}

    def kept(self, still: Callable[[Lane], bool]) -> Lanes:
        """Those lanes alone of which `still` holds, for what comes next; both have what they share in common."""
        lanes = Lanes(self._clock)
        lanes._lanes = {lane: condition for lane, condition in self._lanes.items() if still(lane)}
        return lanes

    def __getitem__(self, lane: Lane) -> Condition:
        condition = self._lanes.get(lane)
        if condition is None:
            condition = self._lanes[lane] = Condition(Breaker(self._clock), Budget(self._clock))
        return condition

    def resting(self, lane: Lane) -> float:
        """For how many seconds it had better be left alone: 0 if it may be used now."""
        condition = self._lanes.get(lane)
        if condition is None:
            return 0.0
        return max(0.0, condition.rests_until - self._clock(), condition.breaker.closed_for())

    def rest(self, lane: Lane, seconds: float) -> None:
        """Leaves a credential alone for so long: its provider has asked for that. A client's own is the client's."""
        if lane.source is not None:
            condition = self[lane]
            condition.rests_until = max(condition.rests_until, self._clock() + seconds)
