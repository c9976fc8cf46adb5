"""Where a call goes that no route takes: what `models` says of its model, else the provider at its origin.

At the gateway there is no such origin, and the model's name says where: `PROVIDER/MODEL`, or one that the maker of some
provider's format is known to make.
"""

from __future__ import annotations

from interpose.call import upgrades
from interpose.errors import Refusal
from interpose.formats.makers import makers as formats_of
from interpose.rules.compiled import Model, Provider

from .conversion import runs_a_model
from .draft import Aim, Draft

# Formats with the same maker.
FAMILY = {"openai-responses": "openai"}


def models_asked(draft: Draft) -> tuple[Model, ...]:
    """The entries of `models` that lead the call; none for one that runs no model."""
    facts = draft.facts
    assert facts is not None
    if not runs_a_model(facts) and not upgrades(draft.call.headers):
        return ()
    return draft.rules.models_named(facts.model)


def by_name(draft: Draft) -> list[Aim]:
    """Where the gateway sends a call that no route and no entry of `models` takes. Raises Refusal: a 404."""
    facts, providers = draft.facts, draft.rules.providers
    assert facts is not None
    if facts.model is None:
        raise Refusal(404, "no_route", f"No route of the rules takes {facts.method} {facts.path}.")
    name, slash, model = facts.model.partition("/")
    if slash and model and name in providers:
        draft.note(f"no route matches: to {name}, which the model's name begins with")
        return [Aim(providers[name], model)]
    makers = formats_of(facts.model)
    made = [provider for provider in providers.values() if FAMILY.get(provider.format, provider.format) in makers]
    if not made and len(providers) == 1:
        made = list(providers.values())
    if not made:
        raise Refusal(
            404,
            "model_not_found",
            f"The model {facts.model[:100]} is not known here: no route, no entry of models and no provider has it. "
            "Write PROVIDER/MODEL to name a provider.",
            param="model",
        )
    draft.note(f"no route matches: to {made[0].name}, whose format's maker makes {facts.model}")
    return [Aim(made[0])]


def provider_of(draft: Draft) -> Provider | None:
    """Its provider, the first of several; None where the rules configure none."""
    if models := models_asked(draft):
        return draft.rules.providers[models[0].provider]
    return next(iter(draft.rules.providers_at(draft.call.url.origin)), None)


def quota_left(draft: Draft, name: str | None) -> float | None:
    """The share of its quota that a provider has left for the call's model, as far as is known: that of this name, else
    the one where the call goes without a route.
    """
    assert draft.facts is not None
    provider = draft.rules.providers.get(name) if name is not None else provider_of(draft)
    if provider is None:
        return None
    return draft.view.quota(provider, draft.rules.name_at(provider.name, draft.facts.model))
