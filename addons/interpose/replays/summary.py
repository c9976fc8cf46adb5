"""What a replay comes to: totals of both sides, and the changes in groups, each counted once. Bounded, however many
calls there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from interpose.recordings import Recorded

from .fates import UNSENT, Change, Fate, changes

# So many different changes are told apart; what is beyond is one group.
MOST_GROUPS = 1000
MOST_NAMES = 1000
OTHERS = (Change("other", "", ""),)


@dataclass(slots=True)
class Totals:
    """One side. `cost` is of calls with a known price, `unpriced` counts those that used something and have none;
    `approximate` counts costs that are.
    """

    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    priced: int = 0
    unpriced: int = 0
    approximate: int = 0
    lossy: int = 0
    waited: int = 0
    waited_seconds: float = 0.0

    def add(self, fate: Fate) -> None:
        self.calls += 1
        self.outcomes[fate.outcome] += 1
        self.lossy += bool(fate.losses) and fate.sent
        if fate.waited > 0:
            self.waited += 1
            self.waited_seconds += fate.waited
        if not fate.sent:
            return
        self.input_tokens += fate.usage.input_tokens or 0
        self.output_tokens += fate.usage.output_tokens or 0
        if fate.cost is not None:
            self.cost += fate.cost
            self.priced += 1
            self.approximate += fate.approximate
        else:
            self.unpriced += bool(fate.usage)

    @property
    def sent(self) -> int:
        return sum(count for name, count in self.outcomes.items() if name not in UNSENT)


@dataclass(slots=True)
class Group:
    """Calls that change alike; `example` is the id of the first. A call that is not sent costs nothing; where all that
    are sent have no known price, nobody knows what they cost, and it is None.
    """

    example: str
    calls: int = 0
    cost_before: Decimal | None = None
    cost_after: Decimal | None = None
    approximate: bool = False

    def add(self, before: Fate, after: Fate) -> None:
        self.calls += 1
        self.cost_before = _added(self.cost_before, before)
        self.cost_after = _added(self.cost_after, after)
        self.approximate = self.approximate or after.approximate or before.approximate


def _added(cost: Decimal | None, fate: Fate) -> Decimal | None:
    more = fate.cost if fate.sent else Decimal(0)
    return cost if more is None else more + (cost or 0)


@dataclass(frozen=True, slots=True)
class Compared:
    """One call, on both sides."""

    id: str
    place: str
    started_at: float
    method: str
    host: str
    path: str
    before: Fate
    after: Fate
    changes: tuple[Change, ...]


@dataclass(slots=True)
class Summary:
    """`left_out` are hosts that are not claimed, `undecided` why calls are not, `strangers` clients and keys that the
    rules do not know; `bodiless` counts calls without a body, `late` those that came too far out of order.
    """

    before: Totals = field(default_factory=Totals)
    after: Totals = field(default_factory=Totals)
    groups: dict[tuple[Change, ...], Group] = field(default_factory=dict)
    changed: int = 0
    first: float | None = None
    last: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    undecided: Counter[str] = field(default_factory=Counter)
    strangers: Counter[str] = field(default_factory=Counter)
    bodiless: int = 0
    sessions: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    late: int = 0

    @property
    def calls(self) -> int:
        return self.after.calls

    def saw(self, call: Recorded) -> None:
        """A call is replayed, at its time."""
        self.first = call.started_at if self.first is None else min(self.first, call.started_at)
        self.last = call.started_at if self.last is None else max(self.last, call.started_at)
        self.bodiless += not call.asked.whole
        self.sessions += call.websocket

    def add(self, one: Compared) -> None:
        self.before.add(one.before)
        self.after.add(one.after)
        if one.after.outcome == "undecided":
            counted(self.undecided, one.after.code or "")
            return
        if not one.changes:
            return
        self.changed += 1
        kind = one.changes
        if kind not in self.groups and len(self.groups) >= MOST_GROUPS:
            kind = OTHERS
        group = self.groups.get(kind)
        if group is None:
            group = self.groups[kind] = Group(one.id)
        group.add(one.before, one.after)

    def largest(self) -> list[tuple[tuple[Change, ...], Group]]:
        """The groups, those of most calls first."""
        return sorted(self.groups.items(), key=lambda item: -item[1].calls)


def counted(counter: Counter[str], name: str) -> None:
    """Names come from recordings: of so many different ones each is counted."""
    counter[name if name in counter or len(counter) < MOST_NAMES else "others"] += 1


def compared(call: Recorded, before: Fate, after: Fate) -> Compared:
    found = () if "undecided" in (before.outcome, after.outcome) else changes(before, after)
    url = call.asked.url
    return Compared(
        call.id, call.place, call.started_at, call.asked.method, url.origin.host, url.path, before, after, found
    )
