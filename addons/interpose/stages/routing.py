"""Third stage: where does the call go?

The first route that matches decides: to one of its targets, by weight, or to all of them, in the order of a preference;
and to its fallbacks after that. Without one, a model that `models` lists leads to its providers; else the call goes to
the configured provider of the origin that the client addressed, else to that origin itself. Whatever decides, a name
that `models` has of a provider is sent as what that provider calls it.
"""

from __future__ import annotations

import hashlib
import math

from interpose.errors import Refusal
from interpose.rules.compiled import Route, Target
from interpose.rules.facts import Facts
from interpose.rules.patterns import household

from .draft import Aim, Draft, Stage
from .listing import asks_for_models, listing_of
from .preference import ranked
from .unrouted import by_name, models_asked
from .validity import check_method


class Routing(Stage):
    """Chooses the route, and the providers in their order."""

    name = "routing"

    def decide(self, draft: Draft) -> None:
        lead(draft)


def lead(draft: Draft) -> None:
    """Decides where the call goes. Raises Refusal."""
    facts = draft.facts
    assert facts is not None
    listing = draft.call.at_gateway and asks_for_models(facts)
    # Whoever asks for reasons wants to hear of every route.
    for route in draft.rules.routes_for(facts) if draft.trace is None else draft.rules.routes:
        reason = route.reason(facts) or (unmeant(route) if listing else None)
        if reason is None:
            draft.route = route
            order = (*ordered(draft, route, facts), *route.fallback)
            draft.note(f"route {route.name} matches: to {', then '.join(map(str, order))}")
            draft.aims = [aim(draft, target) for target in order]
            return
        draft.note(f"route {route.name} does not match: {reason}")
    if models := models_asked(draft):
        draft.alias = facts.model
        draft.aims = [Aim(draft.rules.providers[model.provider], model.model) for model in models]
        there = ", then ".join(map(str, models))
        draft.note(f"no route matches, but {facts.model} is a model of the rules: to {there}")
        return
    if draft.call.at_gateway:
        check_method(draft.call)
    if listing:
        draft.listing = listing_of(draft, lead)
        return
    if draft.call.at_gateway:
        draft.aims = by_name(draft)
        return
    if draft.rules.intercept.unmatched == "reject":
        raise Refusal(403, "no_route", "No route of the rules matches this call, and the rules reject such calls.")
    if configured := draft.rules.providers_at(draft.call.url.origin):
        draft.aims = [Aim(configured[0])]
        draft.note(f"no route matches: to {configured[0].name}, the provider configured for {facts.host}")
    else:
        draft.aims = [Aim(None)]
        draft.note(f"no route matches and no provider is configured for {facts.host}: to the host itself")


def unmeant(route: Route) -> str | None:
    """Why a route does not take lists of models from the gateway, which has its own: None if it is about them, and not
    just about everything.
    """
    about = route.match.endpoint is not None or route.match.path is not None
    return None if about else "the gateway's list of models is no provider's; name endpoint: models"


def aim(draft: Draft, target: Target) -> Aim:
    """That target, with the model as its provider calls it: the one that it names, else the one that is asked for."""
    assert draft.facts is not None
    named = target.model or draft.facts.model
    model = draft.rules.name_at(target.provider, named)
    if model == named:
        return Aim(draft.rules.providers[target.provider], target.model)
    draft.note(f"{target.provider} calls {named} {model} (models)")
    return Aim(draft.rules.providers[target.provider], model)


def ordered(draft: Draft, route: Route, facts: Facts) -> tuple[Target, ...]:
    """The targets that the call is sent to, in order, ahead of the fallbacks."""
    if route.prefer is None:
        return (chosen(draft, route, facts),)
    return ranked(draft, route, facts)


def chosen(draft: Draft, route: Route, facts: Facts) -> Target:
    """One of the route's targets: by chance, or by who calls."""
    if len(route.targets) == 1:
        return route.targets[0]
    client = (facts.client or household(facts.ip)) if route.sticky else None
    target = by_chance(route.targets, draft.view.rng()) if client is None else by_client(route, client)
    weights = ", ".join(f"{each} {each.weight}" for each in route.targets)
    draft.note(f"chosen {'by weight' if client is None else 'for this client'} ({weights}): {target}")
    return target


def by_chance(targets: tuple[Target, ...], number: float) -> Target:
    """The target at `number` (0 up to 1) of the sum of all weights."""
    left = number * sum(target.weight for target in targets)
    heavy = [target for target in targets if target.weight]
    for target in heavy:
        left -= target.weight
        if left < 0:
            return target
    return heavy[-1]  # a number too close to 1 for floats


def by_client(route: Route, client: str) -> Target:
    """Always the same for a client, for as long as it stands there: of weights that change, as few clients as possible
    notice. Weighted rendezvous hashing: https://en.wikipedia.org/wiki/Rendezvous_hashing#Weighted_rendezvous_hash
    """

    def score(target: Target) -> float:
        text = "\0".join((route.name, target.provider, target.model or "", client))
        number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6])
        return -target.weight / math.log((number + 1) / (2**48 + 2))

    return max((target for target in route.targets if target.weight), key=score)
