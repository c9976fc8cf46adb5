"""Where calls go by the models of the rules, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType

import pytest

from interpose.attempts.pace import Standing, Way
from interpose.call import Call, Entrance, Headers, Origin, Peer, Url
from interpose.rules.compiled import Clients, Intercept, Limit, Model, Provider, Route, Rules, Target
from interpose.rules.matching import Match
from interpose.rules.patterns import AnyOf
from interpose.rules.secrets import CredentialSource
from interpose.rules.values import shares
from interpose.stages import plan
from interpose.stages.claim import Territory
from interpose.stages.draft import Plan, View

OPENAI = Origin("https", "api.openai.com", 443)
KEY = CredentialSource("env", ("KEY",))
PROVIDERS = {
    "openai": Provider("openai", "openai", None, OPENAI, "/v1", KEY),
    "groq": Provider("groq", "openai", "groq", Origin("https", "api.groq.com", 443), "/openai/v1", KEY),
    "claude": Provider("claude", "anthropic", None, Origin("https", "api.anthropic.com", 443), "", KEY),
}
FAST = (Model("fast", "openai", "gpt-5-nano"), Model("fast", "claude", "claude-haiku-4-5"))


def rules(*routes: Route, models: tuple[Model, ...] = FAST, **others: object) -> Rules:
    return Rules("test", providers=MappingProxyType(PROVIDERS), routes=routes, models=models, **others)  # type: ignore[arg-type]


def route(*targets: Target, match: Match | None = None, **others: object) -> Route:
    return Route("r", match or Match(), None, targets, **others)  # type: ignore[arg-type]


def planned(
    by: Rules,
    model: str = "fast",
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    standing: Callable[[Way], Standing] = lambda _: Standing(),
    quota: Callable[[Provider, str | None], float | None] = lambda provider, model: None,
    price: Callable[[str | None, str | None, int, int], Decimal | None] = lambda *_: None,
    max_tokens: int | None = None,
    trace: list[str] | None = None,
) -> Plan:
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    call = Call(
        method,
        Url(OPENAI, path),
        ((b"Host", b"api.openai.com"), (b"Content-Type", b"application/json")),
        json.dumps(body).encode() if method == "POST" else b"",
        Peer("127.0.0.1"),
        sni="api.openai.com",
    )
    view = View(1_800_000_000.0, standing=standing, quota=quota, price=price)
    return plan(call, Territory(by).row("api.openai.com", 443), by, view, trace)


def ways(chosen: Plan) -> list[tuple[str, str | None]]:
    return [(attempt.provider.name, attempt.model) for attempt in chosen.attempts if attempt.provider is not None]


def test_without_a_route_a_model_of_the_rules_leads_to_its_providers() -> None:
    """Of several entries the others are fallbacks; the call is sent as each provider calls the model."""
    chosen = planned(rules())
    assert ways(chosen) == [("openai", "gpt-5-nano"), ("claude", "claude-haiku-4-5")]
    assert (chosen.route, chosen.alias, chosen.acts, chosen.sends) == (None, "fast", True, 2)
    first, second = chosen.attempts
    assert first.body is not None
    assert b'"model": "gpt-5-nano"' in first.body
    assert second.translation is not None


def test_a_model_that_is_sent_by_its_own_name_stays_byte_for_byte() -> None:
    """An id that is the provider's own name says where, and changes nothing."""
    chosen = planned(rules(models=(Model("gpt-5", "openai", "gpt-5"),)), "gpt-5")
    assert ways(chosen) == [("openai", "gpt-5")]
    assert chosen.attempts[0].body is None


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([Target("openai")], [("openai", "gpt-5-nano")]),
        ([Target("claude")], [("claude", "claude-haiku-4-5")]),
        # What a target names counts; it may be a name of the rules, too.
        ([Target("openai", "gpt-4o")], [("openai", "gpt-4o")]),
        ([Target("claude", "fast")], [("claude", "claude-haiku-4-5")]),
        # Of groq, the rules know no such name: it is sent as it came.
        ([Target("groq")], [("groq", "fast")]),
    ],
)
def test_a_route_says_where_and_the_models_say_by_which_name(
    targets: list[Target], expected: list[tuple[str, str]]
) -> None:
    """The first route that matches decides; each provider is sent its own name for the model."""
    chosen = planned(rules(route(*targets)))
    assert ways(chosen) == expected
    assert (chosen.route, chosen.alias) == ("r", None)


def test_fallbacks_are_sent_their_own_names_too() -> None:
    """One id is enough for a route to several providers."""
    chosen = planned(rules(route(Target("claude"), fallback=(Target("openai"),))))
    assert ways(chosen) == [("claude", "claude-haiku-4-5"), ("openai", "gpt-5-nano")]


def test_routes_match_the_name_that_was_asked_for() -> None:
    """Not what it stands for: a rule is about what clients say."""
    by = rules(route(Target("groq", "x"), match=Match(model=AnyOf(("gpt-5-nano",)))))
    assert ways(planned(by)) == [("openai", "gpt-5-nano"), ("claude", "claude-haiku-4-5")]
    assert ways(planned(by, "gpt-5-nano")) == [("groq", "x")]


def test_a_model_of_the_rules_is_a_match_where_others_are_rejected() -> None:
    """`unmatched: reject` is about calls that neither a route nor a model takes."""
    by = rules(intercept=Intercept(unmatched="reject"))
    assert planned(by).refusal is None
    refused = planned(by, "gpt-4o").refusal
    assert refused is not None
    assert refused.code == "no_route"


def test_a_count_of_tokens_is_led_as_the_call_that_it_is_about() -> None:
    """Another tokenizer, or a provider that does not know the name, would count something else."""
    by = rules(models=(Model("fast", "claude", "claude-haiku-4-5"),))
    (attempt,) = planned(by, path="/v1/responses/input_tokens").attempts
    assert (attempt.provider, attempt.model) == (PROVIDERS["claude"], "claude-haiku-4-5")
    (attempt,) = planned(rules(route(Target("openai", "gpt-5"))), path="/v1/responses/input_tokens").attempts
    assert attempt.body is not None
    assert b'"model": "gpt-5"' in attempt.body


def test_calls_that_run_no_model_are_not_led_by_it() -> None:
    """A question about a model of that name goes where it was addressed."""
    assert ways(planned(rules(), path="/v1/models/fast", method="GET")) == [("openai", "fast")]


def test_an_embedding_model_has_a_name_of_the_rules_too() -> None:
    """Whatever runs a model."""
    by = rules(models=(Model("vectors", "openai", "text-embedding-3-small"),))
    assert ways(planned(by, "vectors", path="/v1/embeddings")) == [("openai", "text-embedding-3-small")]


def test_models_alone_are_no_audit() -> None:
    """They act on calls; cut down to its other parts, a file's models are out of force."""
    from interpose.rules.parts import Part, only

    by = Rules("test", models=FAST, clients=Clients())
    assert not by.audit_only
    assert only(by, frozenset({Part.LIMITS})).models == ()
    assert only(by, frozenset({Part.ROUTES})).models == FAST


THREE = (Target("openai"), Target("groq", "llama"), Target("claude"))
# What is known of each way: the models are those that are sent.
KNOWN = {
    ("openai", "gpt-5-nano"): Standing(0.9, busy=1),
    ("groq", "llama"): Standing(0.2, busy=7),
    ("claude", "claude-haiku-4-5"): Standing(0.5, busy=0),
}


def known(way: Way) -> Standing:
    assert (way.endpoint, way.stream) == ("chat", False)
    return KNOWN[way.provider, way.model or ""]


@pytest.mark.parametrize(
    ("prefer", "order", "told"),
    [
        (
            "fastest",
            ["groq", "claude", "openai"],
            "groq as llama (0.2 s to its first words), claude (0.5 s to its first words), "
            "openai (0.9 s to its first words)",
        ),
        (
            "least_busy",
            ["claude", "openai", "groq"],
            "claude (0 in flight), openai (1 in flight), groq as llama (7 in flight)",
        ),
    ],
)
def test_the_best_target_comes_first_and_the_others_after_it(prefer: str, order: list[str], told: str) -> None:
    """All are ways of the call, ahead of the fallbacks; the reasons are told."""
    trace: list[str] = []
    by = rules(route(*THREE, prefer=prefer, fallback=(Target("openai", "gpt-4o"),)))
    chosen = planned(by, standing=known, trace=trace)
    assert [provider for provider, _ in ways(chosen)] == [*order, "openai"]
    assert ways(chosen)[-1] == ("openai", "gpt-4o")
    assert chosen.sends == 4
    assert f"prefers the {prefer.replace('_', ' ')}: {told}" in trace


def test_equals_stay_in_their_order() -> None:
    """Where nothing is known, it is that of the file, every time."""
    for prefer in ("fastest", "least_busy"):
        by = rules(route(*THREE, prefer=prefer))
        assert {tuple(ways(planned(by))) for _ in range(5)} == {
            (("openai", "gpt-5-nano"), ("groq", "llama"), ("claude", "claude-haiku-4-5"))
        }


def test_a_target_of_weight_0_is_out() -> None:
    """Whatever is preferred, and however good it is."""
    by = rules(route(Target("groq", "llama", weight=0), *THREE[:1], THREE[2], prefer="fastest"))
    assert [provider for provider, _ in ways(planned(by, standing=known))] == ["claude", "openai"]


def test_a_sticky_client_never_gets_a_target_of_weight_0() -> None:
    """It is out for those, too."""
    by = rules(route(Target("groq", weight=0), Target("openai"), Target("claude", weight=3), sticky=True))
    assert ways(planned(by))[0][0] != "groq"


@pytest.mark.parametrize(
    ("below", "model", "asked"),
    [
        # By itself, a call for that model goes to the provider of the addressed host,
        ("20%", "gpt-4o", ("openai", "gpt-4o")),
        # and one for a model of the rules to its first provider, by that one's name.
        ("20%", "fast", ("openai", "gpt-5-nano")),
        ({"claude": "20%"}, "fast", ("claude", "claude-haiku-4-5")),
        ({"groq": "20%"}, "gpt-4o", ("groq", "gpt-4o")),
    ],
)
def test_whose_quota_a_route_asks_for(below: object, model: str, asked: tuple[str, str]) -> None:
    """That of the named provider, else of the one where the call goes without a route; in its name for the model."""
    questions: list[tuple[str, str | None]] = []

    def quota(provider: Provider, model: str | None) -> float | None:
        questions.append((provider.name, model))
        return 0.1

    by = rules(route(Target("groq", "spare"), match=Match(quota_below=shares(below))))
    assert ways(planned(by, model, quota=quota)) == [("groq", "spare")]
    assert questions == [asked]


def test_an_unknown_quota_is_below_nothing() -> None:
    """The call goes where it went."""
    by = rules(route(Target("groq", "spare"), match=Match(quota_below=shares("100%"))))
    assert ways(planned(by, "gpt-4o")) == [("openai", "gpt-4o")]


def test_a_route_may_except_calls_for_a_spent_quota() -> None:
    """And a limit may begin to hold."""
    spent = Match(quota_below=shares({"openai": "20%"}))
    kept = Route("kept", Match(), spent, (Target("openai"),))
    by = rules(kept, route(Target("claude", "c")), limits=(Limit("slowly", spent, None, concurrent=1),))
    for left, to, held in ((0.5, "openai", 0), (0.1, "claude", 1)):
        chosen = planned(by, "gpt-4o", quota=lambda provider, model, left=left: left)  # type: ignore[misc]
        assert (ways(chosen)[0][0], len(chosen.demands)) == (to, held)


# Dollars for a token of input and one of output.
PRICES = {
    ("openai", "gpt-5-nano"): (1, 10),
    ("groq", "llama"): (3, 2),
    ("anthropic", "claude-haiku-4-5"): (2, 4),
}


def price(vendor: str | None, model: str | None, asked: int, answered: int) -> Decimal | None:
    found = PRICES.get((vendor or "", model or ""))
    return None if found is None else Decimal(found[0] * asked + found[1] * answered)


@pytest.mark.parametrize(
    ("path", "max_tokens", "order"),
    [
        # Of an answer as it is usual, the output is most of it;
        ("/v1/chat/completions", None, ["groq", "claude", "openai"]),
        # of one that is allowed a single token, the input,
        ("/v1/chat/completions", 1, ["openai", "claude", "groq"]),
        # and of vectors all of it: there is no conversion of these to Claude.
        ("/v1/embeddings", None, ["openai", "groq"]),
    ],
)
def test_the_cheapest_is_the_cheapest_for_the_call(path: str, max_tokens: int | None, order: list[str]) -> None:
    """By its estimated tokens, at the price of each target's own model."""
    by = rules(route(*THREE, prefer="cheapest"))
    chosen = planned(by, path=path, price=price, max_tokens=max_tokens)
    assert [provider for provider, _ in ways(chosen)] == order


def test_who_has_no_price_comes_last() -> None:
    """In their order, and nothing is taken to cost nothing; the reasons are told."""
    trace: list[str] = []
    by = rules(route(Target("groq", "own"), Target("openai", "own"), *THREE, prefer="cheapest"))
    chosen = planned(by, price=price, max_tokens=1, trace=trace)
    assert [model for _, model in ways(chosen)] == ["gpt-5-nano", "claude-haiku-4-5", "llama", "own", "own"]
    assert [provider for provider, _ in ways(chosen)][-2:] == ["groq", "openai"]
    (told,) = [reason for reason in trace if reason.startswith("prefers")]
    assert told.endswith("groq as own (price not known), openai as own (price not known)")


def own(name: str, format_: str, vendor: str | None = None, *, dialect: str | None = None) -> Provider:
    """A provider at a known host, or at one of somebody's own."""
    base = "/v1" if format_ == "openai" else ""
    return Provider(name, format_, dialect, Origin("https", vendor or f"{name}.test", 443), base, KEY)


OPENROUTER = own("router", "openai", "openrouter.ai", dialect="openrouter")
OURS = own("ours", "openai")
MAKERS = own("gpt", "openai", "api.openai.com")
CLAUDE = own("claude", "anthropic")
XAI = own("x-ai", "openai")
ANTHROPIC = own("a", "anthropic", "api.anthropic.com")
GOOGLE = own("g", "gemini", "generativelanguage.googleapis.com")
BY_NAME: list[tuple[list[Provider], str, tuple[str, str] | str]] = [
    ([CLAUDE, MAKERS], "gpt-4o", ("gpt", "gpt-4o")),
    ([OPENROUTER, OURS, MAKERS], "gpt-4o", ("gpt", "gpt-4o")),
    ([OPENROUTER, OURS], "gpt-4o", ("ours", "gpt-4o")),
    ([OPENROUTER, CLAUDE], "gpt-4o", ("router", "gpt-4o")),
    ([OURS, CLAUDE], "claude-x", ("claude", "claude-x")),
    ([OURS, XAI], "grok-4", ("x-ai", "grok-4")),
    ([OURS, CLAUDE], "claude/llama", ("claude", "llama")),
    ([OURS, CLAUDE], "ours/meta/llama", ("ours", "meta/llama")),
    # A maker's own name before its model is for those who sell several makers' models.
    ([OURS, ANTHROPIC], "anthropic/claude-x", ("a", "claude-x")),
    ([MAKERS, GOOGLE], "google/gemini-x", ("g", "gemini-x")),
    ([MAKERS, GOOGLE], "gemini/gemini-x", ("g", "gemini-x")),
    ([OPENROUTER, CLAUDE], "openai/gpt-4o", ("router", "openai/gpt-4o")),
    ([OURS, CLAUDE], "openai/gpt-oss-20b", ("ours", "openai/gpt-oss-20b")),
    ([MAKERS, GOOGLE], "text-embedding-004", ("g", "text-embedding-004")),
    ([GOOGLE, MAKERS], "text-embedding-3-small", ("gpt", "text-embedding-3-small")),
    ([OURS], "anything", ("ours", "anything")),
    ([OURS, CLAUDE], "anything", "model_not_found"),
    ([OURS, CLAUDE], "nobody/gpt", "model_not_found"),
    ([OURS, CLAUDE], "ours/", "model_not_found"),
]


def at_the_gateway(
    providers: list[Provider], method: str, path: str, body: bytes, *routes: Route, headers: Headers = ()
) -> Plan:
    named = MappingProxyType({each.name: each for each in providers})
    by = Rules("test", providers=named, clients=Clients(False), routes=routes)
    url = Url(Origin("http", "gateway", 8080), path)
    call = Call(method, url, ((b"Host", b"gateway:8080"), *headers), body, Peer("127.0.0.1"), Entrance.GATEWAY)
    return plan(call, Territory(by).row_of(call), by, View(1_800_000_000.0), None)


@pytest.mark.parametrize(("providers", "model", "expected"), BY_NAME)
def test_at_the_gateway_a_models_name_says_where(
    providers: list[Provider], model: str, expected: tuple[str, str] | str
) -> None:
    """Its provider before a slash, else its maker, else whoever may have it: the likeliest, in whatever order."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    chosen = at_the_gateway(providers, "POST", "/v1/chat/completions", body)
    found = chosen.refusal.code if chosen.refusal is not None else ways(chosen)[0]
    assert found == expected


@pytest.mark.parametrize(
    ("providers", "method", "path", "body", "expected"),
    [
        ([OURS, CLAUDE], "GET", "/v1/files", b"", "ours"),
        ([MAKERS, OURS, CLAUDE], "GET", "/v1/files", b"", "no_route"),
        ([CLAUDE], "GET", "/v1/files", b"", "no_route"),
        ([OURS, CLAUDE], "POST", "/v1/messages/batches", b"", "claude"),
        ([OURS, CLAUDE], "GET", "/v1/messages/batches/b/results", b"", "claude"),
        ([OURS], "POST", "/v1/messages/batches", b"", "no_route"),
        ([OURS], "GET", "/v1/something/new", b"", "no_route"),
        # A stored prompt names its model.
        ([OURS, CLAUDE], "POST", "/v1/responses", b'{"prompt": {"id": "pmpt_1"}}', "ours"),
        ([OURS, CLAUDE], "POST", "/v1/responses", b'{"input": "Hi"}', "missing_required_parameter"),
    ],
)
def test_a_call_without_a_model_goes_to_the_only_provider_of_its_format(
    providers: list[Provider], method: str, path: str, body: bytes, expected: str
) -> None:
    """If it is a known call; a credential is not sent along with what nobody knows."""
    chosen = at_the_gateway(providers, method, path, body)
    found = chosen.refusal.code if chosen.refusal is not None else ways(chosen)[0][0]
    assert found == expected


def test_files_of_anthropics_clients_are_not_uploaded_to_openai() -> None:
    """Both makers have them at one path; what a client sends of itself says which is meant."""
    version = ((b"anthropic-version", b"2023-06-01"),)
    refused = at_the_gateway([OURS, CLAUDE], "POST", "/v1/files", b"", headers=version).refusal
    assert refused is not None
    assert refused.code == "no_route"
    assert ways(at_the_gateway([OURS, CLAUDE], "POST", "/v1/messages/batches", b"", headers=version)) != []


@pytest.mark.parametrize(
    ("provider", "method", "target", "url"),
    [
        (OURS, "GET", "/v1/something/new?limit=3", "https://ours.test/v1/something/new?limit=3"),
        (OURS, "POST", "/openai/v1/something/a%2Fb", "https://ours.test/v1/something/a%2Fb"),
        (CLAUDE, "DELETE", "/v1/something/new", "https://claude.test/v1/something/new"),
    ],
)
def test_what_nobody_knows_goes_where_a_route_says(provider: Provider, method: str, target: str, url: str) -> None:
    """With the provider's credential, below the version of its base URL; without a route it is a 404."""
    route = Route("r", Match(path=AnyOf(("/v1/something/*", "/openai/v1/something/*"))), None, (Target(provider.name),))
    chosen = at_the_gateway([provider], method, target, b"", route)
    assert str(chosen.attempts[0].url) == url
    assert chosen.attempts[0].injection is not None
    refused = at_the_gateway([provider], method, target, b"").refusal
    assert refused is not None
    assert refused.code == "no_route"


def test_a_model_that_a_route_names_is_put_into_what_nobody_knows() -> None:
    """Or the call is refused: a rule about models is not walked around."""
    route = Route("r", Match(path=AnyOf(("/v1/something",))), None, (Target("ours", "small"),))
    chosen = at_the_gateway([OURS], "POST", "/v1/something", b'{"model": "large"}', route)
    assert chosen.attempts[0].body == b'{"model": "small"}'
    assert at_the_gateway([OURS], "POST", "/v1/something", b"[]", route).refusal is not None
