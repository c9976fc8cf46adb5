"""The examples in rules/ do what their comments say: which call goes where, as which model."""

import json
from pathlib import Path
from typing import Any

import pytest

from interpose.call import Call, Entrance, Origin, Peer, Url
from interpose.rules.check import check
from interpose.rules.compiled import ClientKey
from interpose.rules.load import load
from interpose.stages import plan
from interpose.stages.claim import Territory
from interpose.stages.draft import Plan, View

RULES = Path(__file__).parents[2] / "rules"
OPENAI, ANTHROPIC = "api.openai.com", "api.anthropic.com"
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
OPENAI_CHAT = "https://api.openai.com/v1/chat/completions"
LONG = {"messages": [{"role": "user", "content": "word " * 4000}]}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def planned(
    example: str,
    host: str,
    path: str,
    body: dict[str, Any],
    *,
    client: str | None = None,
    entrance: Entrance = Entrance.INTERCEPT,
    header: tuple[bytes, bytes] | None = None,
    quota: float | None = None,
) -> Plan:
    """The plan of a call by a program that holds the placeholder; by `client`, if one is named. `quota` is what every
    provider has left.
    """
    rules = load(RULES / example)
    headers = ((b"host", host.encode()), (b"authorization", b"Bearer sk-dummy"), (b"content-type", b"application/json"))
    headers = headers if header is None else (*headers, header)
    url = Url(Origin("https", host, 443), path)
    call = Call("POST", url, headers, json.dumps(body).encode(), Peer("127.0.0.1"), entrance)
    caller = ClientKey(client, "") if client else None
    view = View(0.0, client=caller, quota=lambda provider, model: quota)
    return plan(call, Territory(rules).row_of(call), rules, view)


SENT = [
    ("key-injection.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI}, OPENAI_CHAT, "gpt-5"),
    ("key-injection.yaml", ANTHROPIC, MESSAGES, {"model": "c", **HI}, "https://api.anthropic.com/v1/messages", "c"),
    ("cheaper-models.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI}, OPENAI_CHAT, "gpt-5-mini"),
    (
        "cheaper-models.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI, **TOOLS},
        OPENAI_CHAT, "gpt-5",
    ),
    (
        "cheaper-models.yaml", OPENAI, CHAT, {"model": "gpt-5", **LONG},
        OPENAI_CHAT, "gpt-5",
    ),
    (
        "openai-app-on-claude.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI},
        "https://api.anthropic.com/v1/messages", "claude-sonnet-4-5",
    ),
    (
        "openai-app-on-claude.yaml", OPENAI, "/v1/responses", {"model": "gpt-5-nano", "input": "Hi"},
        "https://api.anthropic.com/v1/messages", "claude-haiku-4-5",
    ),
    (
        "coding-agent-elsewhere.yaml", ANTHROPIC, MESSAGES, {"model": "claude-opus-4-1", "max_tokens": 9, **HI},
        "https://api.openai.com/v1/responses", "gpt-5.1-codex",
    ),
    (
        "coding-agent-elsewhere.yaml", ANTHROPIC, MESSAGES, {"model": "claude-haiku-4-5", "max_tokens": 9, **HI},
        "http://localhost:11434/api/chat", "qwen3:30b",
    ),
    (
        "coding-agent-elsewhere.yaml", ANTHROPIC, "/v1/messages/count_tokens", {"model": "claude-opus-4-1", **HI},
        "https://api.openai.com/v1/responses/input_tokens", "gpt-5.1-codex",
    ),
    (
        "clouds.yaml", OPENAI, CHAT, {"model": "gemini-2.5-pro", **HI},
        "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1/publishers/google"
        "/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro",
    ),
    (
        "clouds.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI},
        "https://team.openai.azure.com/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21", "gpt-5",
    ),
    (
        "clouds.yaml", ANTHROPIC, MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 9, **HI},
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("example", "host", "path", "body", "url", "model"), SENT)
def test_a_call_goes_where_the_example_says(
    example: str, host: str, path: str, body: dict[str, Any], url: str, model: str
) -> None:
    """In a program that holds the placeholder; where the provider has a credential, that is what goes with it."""
    chosen = planned(example, host, path, body)
    assert chosen.refusal is None
    (attempt,) = chosen.attempts
    assert (str(attempt.url), attempt.model) == (url, model)


def test_the_example_of_failures_has_every_way_in_its_order() -> None:
    """Both keys, the other provider, this machine; and a canary with both keys alone."""
    chosen = planned("failover.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI})
    named = [
        (attempt.url.origin.host, attempt.model, attempt.injection.source.name if attempt.injection else None)
        for attempt in chosen.attempts
    ]
    assert named == [
        (OPENAI, "gpt-5", "env:OPENAI_API_KEY"),
        (OPENAI, "gpt-5", "env:OPENAI_API_KEY_2"),
        (ANTHROPIC, "claude-sonnet-4-5", "env:ANTHROPIC_API_KEY"),
        ("localhost", "llama3.2", None),
    ]
    assert (chosen.sends, chosen.left_out) == (5, ())
    assert len(planned("failover.yaml", OPENAI, CHAT, {"model": "gpt-4o", **HI}).attempts) == 2


def ways(chosen: Plan) -> list[tuple[str, str | None]]:
    return [(attempt.url.origin.host, attempt.model) for attempt in chosen.attempts]


def test_the_canary_is_for_some_clients_and_for_testers() -> None:
    """About one client of twenty, the same ones every time; if it fails they are answered as everybody is."""
    told = {}
    for number in range(400):
        chosen = planned("canary.yaml", OPENAI, CHAT, {"model": "assistant", **HI}, client=f"c{number}")
        assert ways(chosen)[-1] == (OPENAI, "gpt-5-mini")
        told[number] = ways(chosen)[0]
    newcomers = [number for number, way in told.items() if way == (ANTHROPIC, "claude-haiku-4-5")]
    assert 5 < len(newcomers) < 50
    assert set(told.values()) == {(OPENAI, "gpt-5-mini"), (ANTHROPIC, "claude-haiku-4-5")}
    for number in newcomers:
        again = planned("canary.yaml", OPENAI, CHAT, {"model": "assistant", **HI}, client=f"c{number}")
        assert ways(again)[0] == told[number]
    tester = (b"x-canary", b"yes")
    chosen = planned("canary.yaml", OPENAI, CHAT, {"model": "assistant", **HI}, header=tester)
    assert ways(chosen) == [(ANTHROPIC, "claude-haiku-4-5")]
    # What is asked for by its own name is as ever.
    assert ways(planned("canary.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI})) == [(OPENAI, "gpt-5")]


def test_a_local_model_stands_in() -> None:
    """After a failure for everybody; for batch work as soon as the quota nears its end."""
    asked = {"model": "gpt-5", **HI}
    batch = (b"x-work", b"batch")
    both, here = [(OPENAI, "gpt-5"), ("localhost", "qwen3:30b")], [("localhost", "qwen3:30b")]
    for header, quota, expected in (
        (None, None, both),
        (None, 0.1, both),
        (batch, None, both),
        (batch, 0.3, both),
        (batch, 0.29, here),
    ):
        assert ways(planned("local-fallback.yaml", OPENAI, CHAT, asked, header=header, quota=quota)) == expected
    assert ways(planned("local-fallback.yaml", OPENAI, CHAT, {**asked, "model": "gpt-5-mini"}))[1][1] == "llama3.2"
    counts = planned("local-fallback.yaml", OPENAI, "/v1/responses/input_tokens", {"model": "gpt-5", "input": "Hi"})
    assert ways(counts)[0] == (OPENAI, "gpt-5")
    # What no local model stands for goes where it went.
    assert ways(planned("local-fallback.yaml", OPENAI, CHAT, {**asked, "model": "o3"})) == [(OPENAI, "o3")]


def test_machines_share_their_limits_by_client_and_by_key() -> None:
    """Each call is counted at the store for its client, and each attempt for the credential that it is sent with."""
    rules = load(RULES / "multi-machine.yaml")
    store = rules.state.store
    assert store is not None
    assert (store.tls, store.host, store.user, store.variable) == (
        True,
        "cache.internal",
        "interpose",
        "REDIS_PASSWORD",
    )
    assert (store.prefix, rules.state.on_store_error) == ("team-a", "local_share")
    chosen = planned("multi-machine.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI}, client="ci")
    assert [demand.key for demand in chosen.demands] == ["fair/requests/client=ci", "fair/tokens/client=ci"]
    assert [[demand.key for demand in attempt.demands] for attempt in chosen.attempts] == [
        [f"account/{kind}/key=env:{key}" for kind in ("tokens", "concurrent")]
        for key in ("OPENAI_API_KEY", "OPENAI_API_KEY_2", "ANTHROPIC_API_KEY")
    ]
    assert chosen.wait == 10
    refusal = planned("multi-machine.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI}).refusal
    assert refusal is not None
    assert refusal.status == 401


GATEWAY = [
    (CHAT, {"model": "gpt-5", **HI}, OPENAI_CHAT, ("chat", 20)),
    (CHAT, {"model": "claude-haiku-4-5", **HI}, "https://api.anthropic.com/v1/messages", ("chat", 20)),
    (
        CHAT, {"model": "gemini-2.5-pro", **HI},
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent", ("chat", 20),
    ),
    (CHAT, {"model": "mistral-small-latest", **HI}, "https://api.mistral.ai/v1/chat/completions", ("chat", 20)),
    (CHAT, {"model": "cohere/command-a-03-2025", **HI}, "https://api.cohere.com/v2/chat", ("chat", 20)),
    (MESSAGES, {"model": "gpt-5", "max_tokens": 9, **HI}, OPENAI_CHAT, ("chat", 20)),
    (
        "/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi"},
        "https://api.openai.com/v1/embeddings", ("embeddings", 100),
    ),
    ("/v1/moderations", {"input": "Hi"}, "https://api.openai.com/v1/moderations", ("standard", 60)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "url", "limit"), GATEWAY)
def test_the_gateway_goes_by_the_model_and_limits_each_endpoint(
    path: str, body: dict[str, Any], url: str, limit: tuple[str, int]
) -> None:
    """One limit holds for a call, that of its endpoint or else the standard one, for each client at each address."""
    chosen = planned("gateway.yaml", "gateway.test", path, body, client="ci", entrance=Entrance.GATEWAY)
    assert str(chosen.attempts[0].url) == url
    name, count = limit
    (demand,) = chosen.demands
    assert (demand.key, demand.limit, demand.seconds) == (f"{name}/requests/client=ci,ip=127.0.0.1", count, 60)


def test_a_team_has_budgets_for_each_client_and_for_all() -> None:
    """A call asks both budgets, and the limits that keep teams from each other, for whoever makes it."""
    chosen = planned("team-budgets.yaml", OPENAI, CHAT, {"model": "gpt-5", **HI}, client="ci")
    (attempt,) = chosen.attempts
    assert attempt.model == "gpt-5-mini"
    asked = {(demand.key, demand.limit) for demand in (*chosen.demands, *attempt.demands)}
    assert asked >= {
        ("spend/budget/client=ci", 50_000_000),
        ("house/budget/", 1_000_000_000),
        ("fair/requests/client=ci", 120),
        ("fair/tokens/client=ci", 400_000),
    }


def test_the_gateway_wants_a_key() -> None:
    """A call without one of ours is a 401, and is not sent."""
    refusal = planned("gateway.yaml", "gateway.test", CHAT, {"model": "gpt-5", **HI}, entrance=Entrance.GATEWAY).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("example", sorted(path.name for path in RULES.glob("*.yaml")))
def test_no_example_is_warned_of(example: str) -> None:
    """`interpose check` has nothing to say but notes."""
    assert [str(problem) for problem in check(RULES / example) if problem.severity != "note"] == []
