"""Where a call goes that no route takes: what `models` says of its model, else the provider at its origin."""

from __future__ import annotations

from interpose.call import upgrades
from interpose.rules.compiled import Model, Provider

from .conversion import runs_a_model
from .draft import Draft


def models_asked(draft: Draft) -> tuple[Model, ...]:
    """The entries of `models` that lead the call; none for one that runs no model."""
    facts = draft.facts
    assert facts is not None
    if not runs_a_model(facts) and not upgrades(draft.call.headers):
        return ()
    return draft.rules.models_named(facts.model)


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
