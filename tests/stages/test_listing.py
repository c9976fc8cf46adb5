"""The gateway's list of models: who is asked, and what is made of what they tell, with no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.call import Call, Entrance, Origin, Peer, Url, header
from interpose.formats.hosts import GATEWAY
from interpose.formats.modellists import PROVIDERS
from interpose.formats.modellists.neutral import Model as Said
from interpose.formats.modellists.ours import Listed
from interpose.rules.compiled import ClientKey, Clients, Match, Model, Provider, Route, Rules, Target, key_digest
from interpose.rules.patterns import AnyOf
from interpose.rules.secrets import CredentialSource
from interpose.stages import plan
from interpose.stages.draft import Listing, Plan, View
from interpose.stages.listing import answer, listed, missing, the_one

VIRTUAL = "vk-team-fake"
HERE = Origin("http", "gateway.test", 80)
NAMES = ("openai", "house", "other")
# Those that say nothing of the contexts are asked for these.
WINDOWS = {("openai", "gpt-4o"): 128_000}


def window(vendor: str | None, model: str) -> int | None:
    return WINDOWS.get((vendor or "", model))


def provider(name: str, form: str = "openai", *, host: str = "", **more: Any) -> Provider:
    credential = CredentialSource("env", (f"{name.upper()}_KEY",))
    base = "/v1" if form == "openai" else ""
    more = {"dialect": None, "credential": credential, **more}
    return Provider(name, form, origin=Origin("https", host or f"{name}.test", 443), base_path=base, **more)


def rules(*providers: Provider, key: Mapping[str, Any] | None = None, **more: Any) -> Rules:
    clients = Clients(required=True, keys=(ClientKey("team", key_digest(VIRTUAL), **(key or {})),))
    return Rules("test", providers=MappingProxyType({each.name: each for each in providers}), clients=clients, **more)


def signed(sign: str) -> tuple[bytes, bytes]:
    name, _, value = sign.partition("=")
    return name.encode(), value.encode() or b"x"


def planned(by: Rules, target: str = "/v1/models", method: str = "GET", body: bytes = b"", *signs: str) -> Plan:
    sent = ((b"authorization", f"Bearer {VIRTUAL}".encode()), *map(signed, signs))
    if "x-goog-api-key" in signs:
        sent = ((b"x-goog-api-key", VIRTUAL.encode()),)
    call = Call(method, Url(HERE, target), sent, body, Peer("10.0.0.1"), Entrance.GATEWAY)
    return plan(call, GATEWAY, by, View(0.0))


def listing(by: Rules, target: str = "/v1/models", *signs: str) -> Listing:
    found = planned(by, target, "GET", b"", *signs)
    assert found.refusal is None
    assert found.listing is not None
    assert found.attempts == ()
    return found.listing


def told(**models: Sequence[str | Said]) -> dict[str, dict[str, Said]]:
    """What providers tell, by their names."""
    said = {
        name: [Said(each) if isinstance(each, str) else each for each in each_one] for name, each_one in models.items()
    }
    return {name: {each.id: each for each in each_one} for name, each_one in said.items()}


def ids(by: Rules, **models: Sequence[str | Said]) -> list[str]:
    return [each.id for each in listed(listing(by), told(**models), window)]


def one(by: Rules, name: str, **models: Sequence[str | Said]) -> Listed | None:
    return the_one(listing(by, f"/v1/models/{name}"), told(**models), window)


def test_each_provider_with_a_list_is_asked_with_its_own_key() -> None:
    """In the URLs and by the headers of its format; clouds that have no list, and those without a key, are not."""
    by = rules(
        provider("openai"),
        provider("claude", "anthropic"),
        provider("gemini", "gemini"),
        provider("local", "ollama", credential=None, keyless=True),
        provider("azure", dialect="azure"),
        provider("vertex", "gemini", dialect="vertex"),
        provider("claude-there", "anthropic", dialect="bedrock"),
        provider("nova", "bedrock"),
        provider("bare", credential=None),
    )
    asks = {ask.provider.name: ask for ask in listing(by).asks}
    assert {name: str(ask.attempts[0].url) for name, ask in asks.items()} == {
        "openai": "https://openai.test/v1/models",
        "claude": "https://claude.test/v1/models?limit=1000",
        "gemini": "https://gemini.test/v1beta/models?pageSize=1000",
        "local": "https://local.test/api/tags",
    }
    assert header(asks["claude"].headers, b"anthropic-version") == b"2023-06-01"
    keys = {name: each.injection for name, ask in asks.items() for each in ask.attempts}
    assert {name: key.placement if key is not None else None for name, key in keys.items()} == {
        "openai": "bearer",
        "claude": "x-api-key",
        "gemini": "x-goog-api-key",
        "local": None,
    }


def test_a_pool_of_keys_is_one_ask() -> None:
    """With each of them, until one is taken."""
    pool = CredentialSource("env", ("SECOND",))
    (ask,) = listing(rules(provider("openai", pool=(pool,)))).asks
    assert [each.injection.source.args for each in ask.attempts if each.injection] == [("OPENAI_KEY",), ("SECOND",)]


def test_an_id_is_listed_plainly_where_it_leads_to_its_model() -> None:
    """Of an id that two providers have, the plain one goes to the first; the other's has its name before it."""
    by = rules(provider("openai", host="api.openai.com"), provider("house"))
    found = listed(listing(by), told(openai=["gpt-4o", "ft"], house=["gpt-4o", "llama"]), window)
    assert [each.id for each in found] == ["gpt-4o", "openai/ft", "house/gpt-4o", "house/llama"]
    assert [each.root for each in found] == ["gpt-4o", "ft", "gpt-4o", "llama"]
    assert [each.context_length for each in found] == [128_000, None, None, None]


def test_an_id_with_a_providers_name_in_it_is_that_providers() -> None:
    """A router's `openai/gpt-4o` is another than that of the provider of this name."""
    by = rules(provider("openai", host="api.openai.com"), provider("router"))
    assert ids(by, openai=["gpt-4o"], router=["openai/gpt-4o"]) == ["gpt-4o", "openai/gpt-4o", "router/openai/gpt-4o"]
    assert ids(by, router=["openai/gpt-4o"]) == ["router/openai/gpt-4o"]


def test_models_of_the_rules_are_listed_whoever_has_them() -> None:
    """With what the rules say of them, else what their provider tells of the model that they stand for."""
    by = rules(
        provider("openai"),
        provider("azure", dialect="azure"),
        models=(
            Model("fast", "openai", "small", capabilities=("chat",)),
            Model("fast", "azure", "small-there"),
            Model("big", "azure", "deployment", context_length=9),
        ),
    )
    found = listed(listing(by), told(openai=[Said("small", created=5, owner="me", input_limit=7)]), window)
    assert [(each.id, each.root, each.created, each.owner) for each in found] == [
        ("fast", "small", 5, "me"),
        ("big", "deployment", 0, "azure"),
        ("openai/small", "small", 5, "me"),
    ]
    assert [(each.context_length, each.capabilities) for each in found] == [
        (7, ("chat",)),
        (9, None),
        # The rules say it of this model, by another name for it.
        (7, ("chat",)),
    ]


def test_a_route_leads_an_id_elsewhere() -> None:
    """It is what the route says then; its provider's own has that one's name before it."""
    route = Route("r", Match(model=AnyOf(("gpt-4*",))), None, (Target("claude", "claude-x"),))
    by = rules(provider("openai", host="api.openai.com"), provider("claude", "anthropic"), routes=(route,))
    found = listed(listing(by), told(openai=["gpt-4o"], claude=[Said("claude-x", input_limit=9)]), window)
    assert [(each.id, each.root, each.context_length) for each in found] == [
        ("gpt-4o", "claude-x", 9),
        ("openai/gpt-4o", "gpt-4o", 128_000),
        ("claude-x", "claude-x", 9),
    ]


def test_a_route_that_takes_all_hides_what_cannot_be_reached() -> None:
    """What its provider does not have is listed under no name: each would go there."""
    route = Route("all", Match(), None, (Target("claude"),))
    by = rules(provider("openai"), provider("claude", "anthropic"), routes=(route,))
    assert ids(by, openai=["gpt-4o"], claude=["claude-x"]) == ["claude-x"]


def test_a_rule_is_believed_of_a_provider_that_tells_nothing() -> None:
    """What it is said to have cannot be known better."""
    route = Route("r", Match(model=AnyOf(("gpt-4*",))), None, (Target("azure"),))
    by = rules(provider("openai"), provider("azure", dialect="azure"), routes=(route,))
    assert ids(by, openai=["gpt-4o"]) == ["gpt-4o", "openai/gpt-4o"]


def test_embeddings_are_led_as_what_they_are() -> None:
    """A route for chats takes none of them."""
    route = Route("chats", Match(endpoint=AnyOf(("chat",))), None, (Target("claude", "claude-x"),))
    by = rules(provider("openai", host="api.openai.com"), provider("claude", "anthropic"), routes=(route,))
    found = listed(listing(by), told(openai=["text-embedding-3-small"]), window)
    assert [(each.id, each.root) for each in found] == [("text-embedding-3-small", "text-embedding-3-small")]


LIMITED: list[tuple[dict[str, Any], list[str]]] = [
    ({"providers": AnyOf(("house",))}, ["house/gpt-4o", "house/llama"]),
    ({"models": AnyOf(("gpt-4o",))}, ["gpt-4o"]),
    ({"models": AnyOf(("house/*",))}, ["house/gpt-4o", "house/llama"]),
    # Under the name by which it may be used.
    ({"models": AnyOf(("openai/*", "fast"))}, ["fast", "openai/gpt-4o"]),
    ({"models": AnyOf(("nothing",))}, []),
]


@pytest.mark.parametrize(("key", "expected"), LIMITED)
def test_a_key_sees_what_it_may_use(key: dict[str, Any], expected: list[str]) -> None:
    """Under the names by which it may; providers that it is not good for are not even asked."""
    by = rules(
        provider("openai", host="api.openai.com"),
        provider("house"),
        key=key,
        models=(Model("fast", "openai", "gpt-4o"),),
    )
    assert ids(by, openai=["gpt-4o"], house=["gpt-4o", "llama"]) == expected
    asked = {ask.provider.name for ask in listing(by).asks}
    assert asked == ({"house"} if "providers" in key else {"openai", "house"})


ROUTES = [
    ({"endpoint": AnyOf(("models",))}, True),
    ({"path": AnyOf(("/v1/models",))}, True),
    ({}, False),
    ({"client": AnyOf(("team",))}, False),
]


@pytest.mark.parametrize(("match", "taken"), ROUTES)
def test_a_route_about_lists_goes_before_ours(match: dict[str, Any], taken: bool) -> None:
    """One about all that there is does not: it would make one provider's list of it."""
    by = rules(provider("openai"), provider("house"), routes=(Route("r", Match(**match), None, (Target("house"),)),))
    found = planned(by)
    assert (found.listing is None, len(found.attempts)) == (taken, 1 if taken else 0)


def test_one_model_asks_its_provider_alone() -> None:
    """For its list, and then by the name that is in no list."""
    found = listing(rules(provider("openai"), provider("claude", "anthropic")), "/v1/models/claude%2Fclaude-latest")
    assert [ask.provider.name for ask in found.asks] == ["claude"]
    assert found.then is not None
    assert str(found.then.attempts[0].url) == "https://claude.test/v1/models/claude-latest"


def test_one_model_is_there_by_every_name_that_leads_to_it() -> None:
    """By the plain one, its provider's, an alias; and not by one that leads where it is not."""
    by = rules(provider("openai", host="api.openai.com"), provider("house"), models=(Model("fast", "house", "llama"),))
    for name, root in (("gpt-4o", "gpt-4o"), ("openai/gpt-4o", "gpt-4o"), ("fast", "llama"), ("house/llama", "llama")):
        found = one(by, name, openai=["gpt-4o"], house=["llama"])
        assert found is not None
        assert (found.id, found.root) == (name, root)
    assert one(by, "gpt-5", openai=["gpt-4o"], house=["gpt-5"]) is None
    assert one(by, "house/gpt-4o", openai=["gpt-4o"], house=["llama"]) is None


@pytest.mark.parametrize(
    ("failed", "status", "code"), [(False, 404, "model_not_found"), (True, 503, "provider_unavailable")]
)
def test_why_there_is_none(failed: bool, status: int, code: str) -> None:
    """Its provider has it not, or does not say."""
    refusal = missing(listing(rules(provider("openai")), "/v1/models/nobodys"), failed)
    assert (refusal.status, refusal.code, refusal.param) == (status, code, "model")


def test_a_name_that_leads_nowhere_is_refused_before_anybody_is_asked() -> None:
    """Neither the rules nor its maker nor a provider's name says where."""
    found = planned(rules(provider("openai"), provider("house")), "/v1/models/nobodys")
    assert found.refusal is not None
    assert (found.refusal.status, found.refusal.code) == (404, "model_not_found")


SPOKEN = [
    ("/v1/models", (), "openai", "data"),
    ("/openai/v1/models/", (), "openai", "data"),
    ("/v1/models", ("anthropic-version",), "anthropic", "data"),
    ("/v1/models", ("x-goog-api-key",), "gemini", "models"),
    ("/v1beta/models", (), "gemini", "models"),
    ("/api/tags", (), "ollama", "models"),
    ("/v1/models", ("x-fern-sdk-name=cohere",), "cohere", "models"),
    ("/v1/models", ("user-agent=mistral-client-python/3.7.0",), "mistral", "data"),
    ("/v1/models", ("user-agent=curl/8.0", "x-fern-sdk-name=another"), "openai", "data"),
]


@pytest.mark.parametrize(("path", "signs", "format_", "key"), SPOKEN)
def test_it_is_told_in_the_clients_format(path: str, signs: tuple[str, ...], format_: str, key: str) -> None:
    """By its path, and where that is several formats', by the header that its clients always send."""
    found = planned(rules(provider("openai")), path, "GET", b"", *signs)
    assert found.facts is not None
    assert found.facts.format == format_
    assert found.listing is not None
    body = answer(found.listing, listed(found.listing, told(openai=["m"]), window))
    assert len(body[key]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001"])
def test_a_page_that_is_none_is_refused(query: str) -> None:
    """As Anthropic does, which names the parameter."""
    refusal = planned(rules(provider("openai")), f"/v1/models?{query}", "GET", b"", "anthropic-version").refusal
    assert refusal is not None
    assert (refusal.status, refusal.param) == (400, "limit")


@pytest.mark.parametrize(("size", "count"), [("2", 2), ("0", 3), ("5000", 3)])
def test_a_page_of_googles_takes_any_number(size: str, count: int) -> None:
    """As Google does: 0 is the usual one, and more than a thousand is a thousand."""
    found = listing(rules(provider("openai")), f"/v1beta/models?pageSize={size}")
    assert len(answer(found, listed(found, told(openai=["a", "b", "c"]), window))["models"]) == count


def test_what_nobody_knows_is_null() -> None:
    """And is there."""
    found = listing(rules(provider("openai")))
    assert answer(found, listed(found, told(openai=["m"]), window))["data"] == [
        {
            "id": "m",
            "object": "model",
            "created": 0,
            "owned_by": "openai",
            "permission": [],
            "root": "m",
            "parent": None,
            "context_length": None,
            "capabilities": None,
        }
    ]


def test_an_alias_says_nothing_of_what_it_stands_for() -> None:
    """A name that promises less than its model can do leaves the model's own entry alone, unless nobody else knows."""
    names = (
        Model("small", "openai", "gpt-4o", context_length=8192, capabilities=("chat",)),
        Model("odd", "openai", "m", context_length=9),
    )
    by = rules(provider("openai", host="api.openai.com"), models=names)
    found = {each.id: each for each in listed(listing(by), told(openai=["gpt-4o", "m"]), window)}
    assert [found[id_].context_length for id_ in ("small", "gpt-4o", "odd", "m")] == [8192, 128_000, 9, 9]
    assert [found[id_].capabilities for id_ in ("small", "gpt-4o")] == [("chat",), ("chat", "tools", "vision")]


def test_a_provider_cannot_bend_the_fields() -> None:
    """What it tells in their names and is none is left out; its own words are its own format's."""
    entry = {"id": "m", "object": "x", "permission": "all", "parent": 5, "root": [], "capabilities": {}, "price": 1}
    (model,) = PROVIDERS["openai"].read_reply({"data": [entry]}).models
    found = listing(rules(provider("openai")))
    (written,) = answer(found, listed(found, told(openai=[model]), window))["data"]
    assert written["object"] == "model"
    assert (written["permission"], written["parent"], written["root"], written["capabilities"]) == ([], None, "m", None)
    assert "price" not in written


def test_no_call_of_another_kind_is_a_list() -> None:
    """Nor is one that deletes a model."""
    by = rules(provider("openai"))
    assert planned(by, "/v1/models/m", "DELETE").listing is None
    assert planned(by, "/v1/chat/completions", "POST", b'{"model": "m", "messages": []}').listing is None


MODELS = st.sampled_from(["gpt-4o", "gpt-5", "llama", "openai/gpt-4o", "house/llama", "text-embedding-3-small", "fast"])
LISTS = st.dictionaries(st.sampled_from(NAMES), st.lists(MODELS, max_size=4))
PATTERNS = st.lists(st.sampled_from(["gpt-*", "llama", "house/*", "fast", "*"]), min_size=1, max_size=2)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "models": PATTERNS.map(lambda globs: AnyOf(tuple(globs))),
        "providers": st.sets(st.sampled_from(NAMES), min_size=1).map(lambda names: AnyOf(tuple(sorted(names)))),
    },
)
ENTRIES = st.lists(st.builds(Model, MODELS, st.sampled_from(NAMES), MODELS), max_size=3)
ROUTED = st.lists(
    st.builds(Target, st.sampled_from(NAMES), st.none() | MODELS).flatmap(
        lambda target: PATTERNS.map(lambda globs: (tuple(globs), target))
    ),
    max_size=2,
)


@given(LISTS, LIMITS, ENTRIES, ROUTED)
def test_whoever_asks_for_a_listed_id_gets_that_model(
    lists: dict[str, list[str]], key: dict[str, Any], entries: list[Model], routed: list[tuple[tuple[str, ...], Target]]
) -> None:
    """With the same key, from a provider that has it; and no id is there twice."""
    routes = tuple(
        Route(f"r{place}", Match(model=AnyOf(globs)), None, (target,)) for place, (globs, target) in enumerate(routed)
    )
    by = rules(*map(provider, NAMES), key=key, models=tuple(entries), routes=routes)
    found = listed(listing(by), told(**lists), window)
    assert len({each.id for each in found}) == len(found)
    for each in found:
        path = "embeddings" if each.id.endswith("text-embedding-3-small") else "chat/completions"
        body = {"model": each.id, "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
        sent = planned(by, f"/v1/{path}", "POST", json.dumps(body).encode())
        assert sent.refusal is None
        (first, *_) = sent.attempts
        assert first.provider is not None
        assert first.model == each.root
        ruled = sent.route is not None or sent.alias is not None
        said = {(entry.provider, entry.model) for entry in entries}
        has = (first.provider.name, first.model) in said or first.model in lists.get(first.provider.name, ())
        assert ruled or has


@given(LISTS)
def test_every_model_is_there_by_some_name(lists: dict[str, list[str]]) -> None:
    """Where no rule leads it elsewhere and the key is good for all."""
    by = rules(*map(provider, NAMES))
    found = {each.id for each in listed(listing(by), told(**lists), window)}
    for name, models in lists.items():
        for model in models:
            assert found & {model, f"{name}/{model}"}
