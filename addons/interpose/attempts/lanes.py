"""What is remembered of each lane between calls: its circuit breaker, its retry budget, how long it rests.

In this process, for as long as it runs and its rules have that way; that a lane is left alone is told to the others who
share a store, and heard of them. There are as many lanes as the rules have credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from interpose.rules.secrets import CredentialSource

from .breaker import Breaker, State
from .budget import Budget

# What a rest and an opened circuit are called in what processes tell each other.
REST, OPEN = "rest", "open"
# What a lane is that its provider has asked to leave alone.
RESTING = "resting"
# Of so many lanes that nobody has used here is remembered what was heard.
UNUSED = 4096
# Nobody is left alone for longer because somebody else says so.
LONGEST = 3600.0
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


@lru_cache(4096)
def digest(lane: Lane) -> str:
    """What others know the lane by: those with the same provider and credential, by the names in their rules."""
    named = f"{lane.provider}\n{lane.source.name if lane.source is not None else ''}"
    return blake2b(named.encode(), digest_size=12).hexdigest()


@dataclass(slots=True)
class News:
    """What lanes tell those who share a store, and what was heard of lanes that nobody has used here yet: until when,
    by the monotonic clock, by REST or OPEN and the lane's digest.
    """

    tell: Callable[[str, float], None] = lambda name, seconds: None
    heard: dict[str, float] = field(default_factory=dict)


class Lanes:
    """The lanes of one engine. `clock` gives monotonic seconds."""

    __slots__ = ("_clock", "_lanes", "_news")

    def __init__(self, clock: Callable[[], float], news: News | None = None) -> None:
        self._clock = clock
        self._lanes: dict[Lane, Condition] = {}
        self._news = news if news is not None else News()

    def kept(self, still: Callable[[Lane], bool]) -> Lanes:
        """Those lanes alone of which `still` holds, for what comes next; both have what they share in common."""
        lanes = Lanes(self._clock, self._news)
        lanes._lanes = {lane: condition for lane, condition in self._lanes.items() if still(lane)}
        return lanes

    def __getitem__(self, lane: Lane) -> Condition:
        condition = self._lanes.get(lane)
        if condition is None:
            name = digest(lane)
            breaker = Breaker(self._clock, opened=lambda seconds: self._news.tell(f"{OPEN}:{name}", seconds))
            condition = self._lanes[lane] = Condition(breaker, Budget(self._clock))
            for kind, apply in _APPLY.items():
                if (left := self._news.heard.pop(f"{kind}:{name}", 0.0) - self._clock()) > 0:
                    apply(condition, left, self._clock())
        return condition

    def hear(self, name: str, seconds: float) -> None:
        """Elsewhere that lane is left alone for so long, counted from now."""
        kind, _, wanted = name.partition(":")
        if (apply := _APPLY.get(kind)) is None:
            return
        lane = next((lane for lane in self._lanes if digest(lane) == wanted), None)
        if lane is not None:
            apply(self._lanes[lane], seconds, self._clock())
            return
        now, heard = self._clock(), self._news.heard
        if len(heard) >= UNUSED:
            for old in [each for each, until in heard.items() if until <= now]:
                del heard[old]
        if len(heard) < UNUSED:
            heard[name] = now + seconds

    def resting(self, lane: Lane) -> float:
        """For how many seconds it had better be left alone: 0 if it may be used now."""
        condition = self._lanes.get(lane)
        if condition is None:
            if not self._news.heard:
                return 0.0
            condition = self[lane]
        return max(0.0, condition.rests_until - self._clock(), condition.breaker.closed_for())

    def states(self) -> Iterator[tuple[Lane, str]]:
        """Each lane that was used, and in which state it is: its breaker's, or RESTING if that would let it be used."""
        for lane, condition in self._lanes.items():
            state = condition.breaker.state
            rests = state is State.CLOSED and condition.rests_until > self._clock()
            yield lane, RESTING if rests else state

    def rest(self, lane: Lane, seconds: float) -> None:
        """Leaves a credential alone for so long: its provider has asked for that. A client's own is the client's."""
        if lane.source is not None:
            condition = self[lane]
            condition.rests_until = max(condition.rests_until, self._clock() + seconds)
            self._news.tell(f"{REST}:{digest(lane)}", seconds)


def _rests(condition: Condition, seconds: float, now: float) -> None:
    condition.rests_until = max(condition.rests_until, now + min(seconds, LONGEST))


def _opens(condition: Condition, seconds: float, now: float) -> None:
    condition.breaker.shut(seconds)


_APPLY: Mapping[str, Callable[[Condition, float, float], None]] = {REST: _rests, OPEN: _opens}
