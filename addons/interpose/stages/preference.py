"""Which of a route's targets come first: `prefer`. Targets of weight 0 are out; equals stay in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interpose.attempts.pace import Standing, Way
from interpose.rules.compiled import Preference, Route, Target
from interpose.rules.facts import Facts

from .draft import Draft
from .limits import expected

Rank = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Judged:
    """A target's place by a preference, and why: the smaller, the better."""

    target: Target
    rank: Rank
    why: str


def ranked(draft: Draft, route: Route, facts: Facts) -> tuple[Target, ...]:
    """The targets, the best one first."""
    assert route.prefer is not None
    judge = _JUDGES[route.prefer]
    judged = sorted(
        (judge(draft, target, facts) for target in route.targets if target.weight), key=lambda each: each.rank
    )
    told = ", ".join(f"{each.target} ({each.why})" for each in judged)
    draft.note(f"prefers the {route.prefer.replace('_', ' ')}: {told}")
    return tuple(each.target for each in judged)


def _standing(draft: Draft, target: Target, facts: Facts) -> Standing:
    model = draft.rules.name_at(target.provider, target.model or facts.model)
    return draft.view.standing(Way(target.provider, model, facts.endpoint, facts.stream is True))


def _fastest(draft: Draft, target: Target, facts: Facts) -> Judged:
    standing = _standing(draft, target, facts)
    if standing.expected is not None:
        why = f"{standing.expected:.2g} s to its first words"
    else:
        why = "being tried" if standing.waiting else "not known yet"
    return Judged(target, standing.slowness, why)


def _least_busy(draft: Draft, target: Target, facts: Facts) -> Judged:
    busy = _standing(draft, target, facts).busy
    return Judged(target, (0, float(busy)), f"{busy} in flight")


def _cheapest(draft: Draft, target: Target, facts: Facts) -> Judged:
    provider = draft.rules.providers[target.provider]
    model = draft.rules.name_at(target.provider, target.model or facts.model)
    tokens = expected(facts, draft.view)
    cost = draft.view.price(provider.prices, model, tokens.asked, tokens.answered)
    if cost is None:
        return Judged(target, (1, 0.0), "price not known")
    return Judged(target, (0, float(cost)), f"${cost:.6f} for {tokens.asked} + {tokens.answered} tokens")


_JUDGES: Mapping[Preference, Callable[[Draft, Target, Facts], Judged]] = {
    "cheapest": _cheapest,
    "fastest": _fastest,
    "least_busy": _least_busy,
}
