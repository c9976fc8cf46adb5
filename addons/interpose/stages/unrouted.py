"""Where a call goes that no route takes: what `models` says of its model, else the provider at its origin.

At the gateway there is no such origin, and the model's name says where: `PROVIDER/MODEL`, or one of which it is known
who makes it.
"""

from __future__ import annotations

from interpose.call import header, upgrades
from interpose.errors import Refusal
from interpose.formats.makers import makers
from interpose.rules.compiled import Model, Provider

from .conversion import runs_a_model
from .draft import Aim, Draft

# Endpoints whose calls always name the model that they run; an image may be left to the provider's usual one.
NAMED = ("chat", "completions", "embeddings", "count_tokens")
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
    assert draft.match is not None
    if facts.model is None or not draft.match.known:
        # A stored prompt of Responses names its model, and lies with one provider.
        if facts.method == "POST" and facts.endpoint in NAMED and facts.wire != "openai-responses":
            raise Refusal(400, "missing_required_parameter", "The call names no model that it runs.", param="model")
        return [Aim(only_speaker(draft))]
    name, slash, model = facts.model.partition("/")
    if slash and model and name in providers:
        draft.note(f"no route matches: to {name}, which the model's name begins with")
        return [Aim(providers[name], model)]
    made = offered(facts.model, draft)
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
    draft.note(f"no route matches: to {made[0].name}, the likeliest to have {facts.model}")
    # Who makes a model does not call it by its own name, as those do who sell what others make.
    own = any(name in (maker.vendor, maker.format) and made[0].vendor == maker.vendor for maker in makers(facts.model))
    return [Aim(made[0], model if slash and own else None)]


def offered(model: str, draft: Draft) -> list[Provider]:
    """The providers that are likely to have a model of that name, the likeliest first: who makes it (by its host, or
    by its name in the rules), then a server of its maker's format, which may be anybody's, then those who sell what
    others make.
    """
    known = makers(model)
    vendors, formats = {maker.vendor for maker in known}, {maker.format for maker in known}

    def unlikely(provider: Provider) -> int:
        return 0 if provider.vendor in vendors or provider.name in vendors else 1 if provider.vendor is None else 2

    providers = draft.rules.providers.values()
    return sorted(
        (each for each in providers if each.vendor in vendors or family(each.format) in formats), key=unlikely
    )


def only_speaker(draft: Draft) -> Provider:
    """The one provider of the client's own format, for a known call that names no model: its files, its batches."""
    facts = draft.facts
    assert facts is not None
    assert draft.match is not None
    speakers = [
        provider for provider in draft.rules.providers.values() if family(provider.format) == family(facts.format)
    ]
    # Both have files at one path: what is meant for Anthropic is not uploaded to OpenAI.
    meant_otherwise = facts.format == "openai" and header(draft.call.headers, b"anthropic-version") is not None
    if draft.match.known and len(speakers) == 1 and not meant_otherwise:
        draft.note(f"no route matches: to {speakers[0].name}, the only provider of the format {facts.format}")
        return speakers[0]
    raise Refusal(
        404,
        "no_route",
        f"No route of the rules takes {facts.method} {facts.path[:100]}, and no model says where to.",
    )


def family(format_: str) -> str:
    """The format by which a maker is known."""
    return FAMILY.get(format_, format_)


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
