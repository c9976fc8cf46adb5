"""The gateway's own list of models: which providers are asked for theirs, and what the list is made of when they have
answered. Pure, like all of deciding; who asks and remembers is `lists`.

It takes a tenth of a millisecond a model, so the engine has it done in a thread.

The law of the list: whoever asks for an id that it has, gets the model that it tells of. So each id is led through the
same routing as a call that names it, with the caller's own key. A model is listed by its plain id where that leads to
it, and as PROVIDER/ID where the plain id leads elsewhere; an id of `models` and one that a route takes stand for what
they lead to. No id is there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from interpose import __version__
from interpose.call import Url
from interpose.errors import Refusal
from interpose.formats import modellists
from interpose.formats.codecs import Asked, Malformed, Target
from interpose.formats.codecs.codec import Json, encoded
from interpose.formats.dialects import locate
from interpose.formats.makers import makers
from interpose.formats.modellists.abilities import abilities, context
from interpose.formats.modellists.neutral import Model, Request
from interpose.formats.modellists.ours import Listed, codec_for, written
from interpose.formats.modellists.uses import endpoint, known, use
from interpose.formats.paths import Wire
from interpose.ir import Losses
from interpose.rules.compiled import Model as Entry
from interpose.rules.compiled import Provider, Rules
from interpose.rules.facts import Facts

from .conversion import address
from .credentials import placed
from .draft import Ask, Attempt, Draft, Injection, Listing, View

# What runs there does not tell, by its API with a key of its models, which of them it has: their owner's console does.
WITHOUT_LISTS = frozenset(("azure", "vertex", "bedrock"))
# One model may be asked for by a name that no list has, an alias of its provider's: where there is a path for it.
ONE_BY_ONE = frozenset(("openai-models", "anthropic", "gemini", "cohere"))
# As whom a call would come that asks for a model: what rules by path and endpoint are asked with.
_PATHS: Mapping[str, tuple[str, Wire]] = {
    "chat": ("/v1/chat/completions", "openai-chat"),
    "embeddings": ("/v1/embeddings", "openai-embeddings"),
    "completions": ("/v1/completions", "openai-completions"),
    "rerank": ("/v1/rerank", "openai-other"),
    "moderations": ("/v1/moderations", "openai-other"),
    "images": ("/v1/images/generations", "openai-other"),
    "audio": ("/v1/audio/transcriptions", "openai-other"),
    "realtime": ("/v1/realtime/calls", "openai-other"),
}
_CHATS: Mapping[str, tuple[str, Wire]] = {
    "anthropic": ("/v1/messages", "anthropic"),
    "gemini": ("/v1beta/models/{model}:generateContent", "gemini"),
    "ollama": ("/api/chat", "ollama"),
}

# {provider: {id there: what it tells of it}}, of those that have told anything.
Told = Mapping[str, Mapping[str, Model]]
# How long the context of a vendor's model is, as far as is known without asking.
Window = Callable[[str | None, str], int | None]


class End(NamedTuple):
    """Where an id leads: which model of which provider. `ruled` says that a rule leads there, `named` that it names
    the model, too.
    """

    provider: Provider
    model: str
    ruled: bool
    named: bool


def asks_for_models(facts: Facts) -> bool:
    """Whether a call at the gateway asks for its models, or for one of them."""
    return facts.endpoint == "models" and facts.method in ("GET", "HEAD") and codec_for(facts.format) is not None


def listing_of(draft: Draft, lead: Callable[[Draft], None]) -> Listing:
    """What is done with such a call. `lead` is what decides where a call goes. Raises Refusal."""
    match = draft.match
    assert match is not None
    codec = codec_for(match.format)
    assert codec is not None
    asked = Asked(match.api_path, draft.call.url.query)
    try:
        request = codec.read_request({}, asked)
    except Malformed as error:
        raise Refusal(400, "invalid_request", f"{error}.", param=error.path or None) from None
    request.model = match.model or ""
    listing = Listing(draft, lead, match.format, codec, request)
    if not request.model:
        asks = tuple(ask for each in permitted(draft) if (ask := ask_of(draft, each)) is not None)
        draft.note(f"no route matches: the gateway's own list, of what is told by {_names(asks)}")
        return replace(listing, asks=asks)
    end = one_end(listing)
    ask = ask_of(draft, end.provider)
    then = ask_of(draft, end.provider, end.model) if ask is not None and ask.codec.name in ONE_BY_ONE else None
    draft.note(f"no route matches: the gateway's own word of {end.model} at {end.provider.name}")
    return replace(listing, asks=(ask,) if ask is not None else (), then=then)


def _names(asks: tuple[Ask, ...]) -> str:
    return ", ".join(ask.provider.name for ask in asks) or "nobody"


def permitted(draft: Draft) -> Iterator[Provider]:
    """The providers that the caller's key is good for."""
    for provider in draft.rules.providers.values():
        if draft.virtual is None or draft.virtual.may_go_to(provider.name):
            yield provider


def ask_of(draft: Draft, provider: Provider, model: str = "") -> Ask | None:
    """How that provider is asked, with its own credentials and nothing of the client's; None if it cannot be."""
    codec = modellists.PROVIDERS.get(provider.format)
    if codec is None or provider.dialect in WITHOUT_LISTS or not (provider.credentials or provider.keyless):
        return None
    losses = Losses()
    asked = codec.write_request(Request(codec.name, model), Target(model), losses)
    if losses.impossibilities:
        return None
    place = locate(address(provider), asked.path, asked.query, model or None)
    url = Url(provider.origin, place.path + (f"?{place.query}" if place.query else ""))
    headers = (
        (b"user-agent", f"interpose/{__version__}".encode()),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        *((name.encode(), value.encode()) for name, value in asked.headers.items()),
    )
    bare = Attempt(url, provider)
    attempts = tuple(
        replace(bare, injection=Injection(source, placed(source, provider, None))) for source in provider.credentials
    )
    return Ask(provider, model, codec, headers, attempts or (replace(bare, stripped=True),))


# Where an id leads


def led(listing: Listing, name: str) -> list[End]:
    """Where a call goes that asks for that id with the caller's key, in the order in which it is tried. Raises Refusal
    where it goes nowhere.
    """
    draft = listing.draft
    facts, key = draft.facts, draft.virtual
    assert facts is not None
    called = endpoint(use(name))
    path, wire = _PATHS[called]
    if called == "chat":
        path, wire = _CHATS.get(facts.format, (path, wire))
    asked = replace(
        facts,
        method="POST",
        path=path.replace("{model}", name),
        endpoint=called,
        wire=wire,
        model=name,
        stream=False,
        content=lambda: None,
        quota=lambda _: None,
    )
    # What changes by the minute has no say, so that lists stay the same; and none of it is another thread's to read.
    trial = Draft(
        draft.call, draft.rules, View(draft.view.now, price=draft.view.price), host=draft.host, match=draft.match
    )
    trial.facts, trial.client, trial.virtual, trial.key_kind = asked, draft.client, key, draft.key_kind
    listing.lead(trial)
    by_rule = trial.route is not None or trial.alias is not None
    return [
        End(aim.provider, aim.model or name, by_rule, by_rule and aim.model is not None)
        for aim in trial.aims
        if aim.provider is not None and (key is None or key.may_go_to(aim.provider.name))
    ]


def end_of(listing: Listing, name: str) -> End | None:
    """Where that id leads, if the caller may use it and it leads anywhere."""
    key = listing.draft.virtual
    if key is not None and not key.may_use(name):
        return None
    try:
        return next(iter(led(listing, name)), None)
    except Refusal:
        return None


def one_end(listing: Listing) -> End:
    """The same of the one model that is asked for. Raises Refusal."""
    ends = led(listing, listing.model)
    if not ends:
        assert listing.draft.virtual is not None
        raise Refusal(
            403,
            "provider_not_permitted",
            f"The key of {listing.draft.virtual.name} is not good for the provider of {listing.model[:100]}.",
            param="model",
        )
    return ends[0]


# What is told


class Known:
    """What is known of models: by the rules, by what providers have `told`, by the built-in data."""

    def __init__(self, rules: Rules, told: Told, window: Window) -> None:
        self._rules = rules
        self._told = told
        self._window = window
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for entry in rules.models:
            self._entries.setdefault((entry.provider, entry.model), []).append(entry)

    def there(self, end: End) -> bool:
        """Whether that provider has the model, as far as anybody says so: itself, or the rules."""
        name, model = end.provider.name, end.model
        if model in self._told.get(name, ()) or (name, model) in self._entries or end.named:
            return True
        # Of one that tells nothing, a rule is to be believed.
        return end.ruled and name not in self._told

    def described(self, id_: str, end: End) -> Listed:
        """The model under that id, as the rules tell of it, else its provider, else the built-in data, else what the
        rules tell of another name for it.
        """
        provider, model = end.provider, end.model
        told = self._told.get(provider.name, {}).get(model)
        entries = self._entries.get((provider.name, model), ())
        own = [entry for entry in entries if entry.id == id_]
        length, words = length_of(own), words_of(own)
        if told is not None:
            length, words = length or context(told), words or abilities(told)
        return Listed(
            id_,
            root=model,
            owner=(told.owner if told is not None else None) or maker(model) or provider.vendor or provider.name,
            told=told,
            context_length=length or self._window(provider.vendor, model) or length_of(entries),
            capabilities=words or known(model, self._rules.capabilities) or words_of(entries),
        )


def length_of(entries: Iterable[Entry]) -> int | None:
    """The first context that the rules say."""
    return next((entry.context_length for entry in entries if entry.context_length is not None), None)


def words_of(entries: Iterable[Entry]) -> tuple[str, ...] | None:
    """The first uses that the rules say."""
    return next((entry.capabilities for entry in entries if entry.capabilities), None)


def maker(model: str) -> str | None:
    """Who makes a model of that name, if anybody is known to."""
    return next((each.vendor for each in makers(model)), None)


def listed(listing: Listing, told: Told, window: Window) -> list[Listed]:
    """Every model that the caller may use, each once: first those of the rules, then each provider's in its order."""
    rules = listing.draft.rules
    all_known = Known(rules, told, window)
    found: dict[str, Listed] = {}
    for entry in rules.models:
        if entry.id not in found and (end := end_of(listing, entry.id)) is not None:
            found[entry.id] = all_known.described(entry.id, end)
    for provider in permitted(listing.draft):
        for model in told.get(provider.name, ()):
            plain = end_of(listing, model)
            if plain is not None and model not in found and all_known.there(plain):
                found[model] = all_known.described(model, plain)
            if plain is not None and (plain.provider, plain.model) == (provider, model):
                continue
            name = f"{provider.name}/{model}"
            end = end_of(listing, name) if name not in found else None
            if end is not None and (end.provider, end.model) == (provider, model):
                found[name] = all_known.described(name, end)
    return list(found.values())


def the_one(listing: Listing, told: Told, window: Window) -> Listed | None:
    """The model that is asked for; None if its provider is not known to have it."""
    all_known, end = Known(listing.draft.rules, told, window), one_end(listing)
    return all_known.described(listing.model, end) if all_known.there(end) else None


def missing(listing: Listing, failed: bool) -> Refusal:
    """Why there is no such model: nobody has it, or the one who may have it does not answer."""
    name, provider = listing.model[:100], one_end(listing).provider
    if failed:
        return Refusal(
            503,
            "provider_unavailable",
            f"{provider.name} does not tell just now whether it has {name}. Try again in a moment.",
            param="model",
            outcome="error",
            headers=((b"retry-after", b"5"),),
        )
    return Refusal(
        404,
        "model_not_found",
        f"The model {name} is not known here: {provider.name}, where it would be asked for, does not list it, and "
        "neither do the rules (models).",
        param="model",
    )


def in_full(listing: Listing, told: Told, window: Window) -> bytes | None:
    """The reply's body: the list, or the one model that is asked for; None if that is not known to be there."""
    if not listing.model:
        return encoded(answer(listing, listed(listing, told, window)))
    found = the_one(listing, told, window)
    return None if found is None else encoded(answer(listing, [found]))


def answer(listing: Listing, models: list[Listed]) -> Json:
    """What is told of these. Raises Refusal for a page that cannot be written."""
    try:
        return written(listing.format, listing.codec, listing.request, models)
    except Malformed as error:
        raise Refusal(400, "invalid_request", f"{error}.", param=error.path or None) from None
