"""One set of rules at work, with what hangs on it alone: the hosts that it claims, its way upstream, its lanes.

A call keeps the one that it began with to its end; the engine swaps the one that new calls begin with. What is counted
(limits), connected (the pool) and remembered (lanes) is shared by those that follow each other, as far as it still
means the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from interpose.attempts.lanes import Lane, Lanes, News
from interpose.formats.hosts import GATEWAY, HostRow
from interpose.rules.compiled import Provider, Rules
from interpose.rules.parts import only
from interpose.stages.claim import Territory
from interpose.upstream.client import Upstream

Place = tuple[str, int]

# So many hosts are remembered that were decrypted and no longer are.
MOST_RELEASED = 4096


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class InForce:
    """The rules and what goes with them.

    `released` are hosts that earlier rules had decrypted and these do not name: a connection that was opened then may
    still be in use. What is called there passes through as if nobody looked into it.
    """

    rules: Rules
    upstream: Upstream
    lanes: Lanes
    territory: Territory
    released: dict[Place, HostRow] = field(default_factory=dict)

    @classmethod
    def first(cls, rules: Rules, upstream: Upstream, clock: Callable[[], float], news: News | None = None) -> InForce:
        return cls(rules, upstream, Lanes(clock, news), Territory(rules))

    def upstream_by(self, rules: Rules) -> Upstream:
        """The way upstream of rules that are about to follow. Reads files: OSError for one that cannot be used."""
        return self.upstream.under(rules.upstream, {provider.ca for provider in rules.providers.values()})

    def followed_by(self, rules: Rules, upstream: Upstream) -> InForce:
        territory = Territory(rules)
        seen = {**self.released, **self.territory.seen()}
        # Nobody is behind a virtual host: what is called there once it is none goes nowhere.
        released = {place: row for place, row in seen.items() if row is not GATEWAY and territory.row(*place) is None}
        for place in list(released)[: max(0, len(released) - MOST_RELEASED)]:
            del released[place]
        return InForce(rules, upstream, self.lanes.kept(lasting(self.rules, rules)), territory, released)

    def let_go(self, host: str, port: int) -> HostRow | None:
        """What is spoken at a host that has been released; None where every call needs a key of the rules."""
        return None if self.rules.clients.required else self.released.get((host, port))

    def observing(self) -> Rules:
        """These rules as they are for calls that they do not name: recorded, and sent where they were going."""
        return only(self.rules, frozenset())


def lasting(before: Rules, after: Rules) -> Callable[[Lane], bool]:
    """Whether what is remembered of a lane still tells about the same place, reached in the same way."""

    def still(lane: Lane) -> bool:
        one, other = before.providers.get(lane.provider), after.providers.get(lane.provider)
        if one is None or other is None or reached(one, before) != reached(other, after):
            return False
        return lane.source is None or lane.source in other.credentials

    return still


def reached(provider: Provider, rules: Rules) -> tuple[object, ...]:
    """Where a provider is, and how it is reached."""
    place = provider.origin.host, provider.origin.port
    dialled = rules.upstream.connect_to.get(place, place)
    return provider.origin, provider.base_path, dialled, rules.upstream.proxy, rules.upstream.ca, provider.ca
