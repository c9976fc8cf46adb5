"""The gateway's own list of models, as unmodified SDKs read it: one of all providers, in the client's format."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from tests.e2e.certificates import Authority
from tests.e2e.program import script
from tests.e2e.proxy import Gateway
from tests.e2e.settings import (
    ANTHROPIC,
    AZURE,
    ENVIRON,
    GEMINI,
    HOUSE,
    NARROW,
    OPENAI,
    VIRTUAL,
    canary,
    connect_to,
    digest,
    real,
    rules_text,
)
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLAUDES = canary("claudes", "vk-")
HOSTS = {"openai": OPENAI, "claude": ANTHROPIC, "gemini": GEMINI, "house": HOUSE}
CREDENTIALS = {"openai": "openai", "claude": "anthropic", "gemini": "gemini", "house": "house"}


def model_rules(authority: Authority, upstream: Upstream) -> str:
    """Four providers that tell their models, two of one format, and one that tells none: the rules do."""

    def provider(form: str, url: str, key: str, **more: object) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{key}_KEY"}, **more}

    return rules_text(
        providers={
            "openai": provider("openai", f"https://{OPENAI}/v1", "OPENAI"),
            "claude": provider("anthropic", f"https://{ANTHROPIC}", "ANTHROPIC"),
            "gemini": provider("gemini", f"https://{GEMINI}", "GEMINI"),
            "house": provider("openai", f"https://{HOUSE}/v1", "HOUSE"),
            "azure": provider("openai", f"https://{AZURE}", "AZURE", dialect="azure"),
        },
        models=[
            {"id": "fast", "provider": "claude", "model": "claude-haiku-4-5"},
            {"id": "gpt-4", "provider": "openai", "context_length": 8192, "capabilities": ["chat", "completion"]},
            {"id": "our-deployment", "provider": "azure", "context_length": 4096},
        ],
        clients={
            "keys": [
                {"name": "ci", "sha256": digest(VIRTUAL)},
                {"name": "narrow", "sha256": digest(NARROW), "models": ["gpt-4o*"]},
                {"name": "claudes", "sha256": digest(CLAUDES), "providers": ["claude"]},
            ]
        },
        limits=[{"name": "calls", "per": "client", "requests": "1000/minute"}],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (*HOSTS.values(), AZURE))},
    )


# Each provider's own list: https://platform.openai.com/docs/api-reference/models/list,
# https://docs.claude.com/en/api/models-list, https://ai.google.dev/api/models
LISTS: dict[str, dict[str, Any]] = {
    OPENAI: {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 1700000000, "owned_by": "openai"}
            for name in ("gpt-4", "gpt-4o", "text-embedding-3-small")
        ],
    },
    ANTHROPIC: {
        "data": [
            {
                "type": "model",
                "id": name,
                "display_name": name.title(),
                "created_at": "2023-11-14T22:13:20Z",
                "lifecycle": "active",
                "max_input_tokens": 200000,
                "max_tokens": 64000,
            }
            for name in ("claude-sonnet-4-5", "claude-haiku-4-5")
        ],
        "has_more": False,
        "first_id": "claude-sonnet-4-5",
        "last_id": "claude-haiku-4-5",
    },
    GEMINI: {
        "models": [
            {
                "name": "models/gemini-2.5-pro",
                "displayName": "Gemini 2.5 Pro",
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
        ]
    },
    HOUSE: {
        "object": "list",
        "data": [
            {
                "id": "gpt-4o",
                "object": "model",
                "created": 5,
                "owned_by": "house",
                "max_model_len": 1000,
                "permission": [{"id": "modelperm-1", "object": "model_permission"}],
                "parent": "gpt-base",
            },
            {"id": "team/llama", "object": "model", "created": 6, "owned_by": "house"},
        ],
    },
}
# In the order of the rules: what these have themselves, then provider by provider.
IDS = [
    *("fast", "gpt-4", "our-deployment", "gpt-4o", "text-embedding-3-small", "claude-sonnet-4-5", "claude-haiku-4-5"),
    *("gemini-2.5-pro", "house/gpt-4o", "house/team/llama"),
]


async def listing(exchange: Exchange) -> None:
    """Every provider, told apart by its host: each is asked with its own credential, and nothing of the client."""
    asked = exchange.request
    host = asked.values("host")[0].decode()
    name = next(name for name, at in HOSTS.items() if at == host)
    assert asked.method == b"GET"
    assert asked.anywhere(real(CREDENTIALS[name]))
    assert not asked.anywhere(VIRTUAL)
    if asked.path in ("/v1/models", "/v1beta/models"):
        await exchange.json(json.dumps(LISTS[host]).encode())
    elif asked.path == "/v1/models/claude-sonnet-latest":
        await exchange.json(json.dumps(LISTS[host]["data"][0]).encode())
    else:
        await exchange.json(b'{"error": {"message": "there is none"}}', 404)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def models(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """A gateway with five providers."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway-models"))
    await gateway.start(model_rules(authority, upstream), ENVIRON)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors


def openai_at(gateway: Gateway, key: str = VIRTUAL) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=gateway.base_url, api_key=key, max_retries=0)


def anthropic_at(gateway: Gateway, key: str = VIRTUAL) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key=key, max_retries=0)


def google_at(gateway: Gateway, version: str) -> genai.Client:
    return genai.Client(api_key=VIRTUAL, http_options=types.HttpOptions(base_url=gateway.url, api_version=version))


def list_by_google(gateway: Gateway, version: str) -> list[types.Model]:
    """In pages of four."""
    with google_at(gateway, version) as sdk:
        return list(sdk.models.list(config={"page_size": 4}))


def one_by_google(gateway: Gateway, name: str) -> types.Model:
    with google_at(gateway, "v1beta") as sdk:
        return sdk.models.get(model=name)


async def test_openais_sdk_lists_the_models_of_all_providers(models: Gateway, upstream: Upstream) -> None:
    """Each id once, with what the rules say of it, else its provider, else what is known; one record without usage."""
    mark = models.ledger.mark()
    async with openai_at(models) as sdk:
        with upstream.answering(listing):
            found = [each.model_dump(exclude_unset=True) async for each in sdk.models.list()]
    assert [each["id"] for each in found] == IDS
    by_id = {each["id"]: each for each in found}
    assert by_id["gpt-4"] == {
        "id": "gpt-4",
        "object": "model",
        "created": 1700000000,
        "owned_by": "openai",
        "permission": [],
        "root": "gpt-4",
        "parent": None,
        "context_length": 8192,
        "capabilities": ["chat", "completion"],
    }
    # What its provider does not tell is known here.
    assert by_id["gpt-4o"]["context_length"] == 128000
    assert by_id["text-embedding-3-small"]["capabilities"] == ["embeddings"]
    assert (by_id["fast"]["root"], by_id["fast"]["context_length"]) == ("claude-haiku-4-5", 200000)
    house = by_id["house/gpt-4o"]
    assert (house["root"], house["context_length"], house["parent"]) == ("gpt-4o", 1000, "gpt-base")
    assert house["permission"] == [{"id": "modelperm-1", "object": "model_permission"}]
    # Nobody knows anything of it.
    unknown = by_id["house/team/llama"]
    assert (unknown["context_length"], unknown["capabilities"]) == (None, None)
    row = await models.ledger.row(mark)
    assert (row["endpoint"], row["outcome"], row["status"]) == ("models", "ok", 200)
    assert (row["client"], row["entrance"], row["provider"]) == ("ci", "gateway", None)
    assert (row["usage_source"], row["input_tokens"], row["cost_usd"]) == ("none", None, None)


async def test_anthropics_sdk_reads_it_in_its_own_pages(models: Gateway, upstream: Upstream) -> None:
    """Two at a time; its own models as their provider tells of them, those of others as far as anything is known."""
    async with anthropic_at(models) as sdk:
        with upstream.answering(listing):
            found = [each async for each in sdk.models.list(limit=3)]
            before = await sdk.models.list(before_id=IDS[2], limit=1)
    assert [each.id for each in found] == IDS
    own = found[IDS.index("claude-sonnet-4-5")]
    assert (own.display_name, own.max_tokens, own.lifecycle) == ("Claude-Sonnet-4-5", 64000, "active")
    assert found[IDS.index("gpt-4o")].max_input_tokens == 128000
    assert ([each.id for each in before.data], before.has_more) == ([IDS[1]], True)


@pytest.mark.parametrize("version", ["v1beta", "v1"])
async def test_googles_sdk_reads_it_in_its_own_pages(models: Gateway, upstream: Upstream, version: str) -> None:
    """By either version of the API; what a model is for in Google's words."""
    with upstream.answering(listing):
        found = await asyncio.to_thread(list_by_google, models, version)
    assert [(each.name or "").removeprefix("models/") for each in found] == IDS
    pro, gpt = found[IDS.index("gemini-2.5-pro")], found[IDS.index("gpt-4o")]
    assert (pro.display_name, pro.input_token_limit) == ("Gemini 2.5 Pro", 1048576)
    assert gpt.supported_actions == ["generateContent", "countTokens"]


async def test_other_sdks_read_it_in_their_formats(models: Gateway, upstream: Upstream) -> None:
    """Cohere's and Mistral's, which know what they can do with a model by their own words, and Ollama's."""
    with upstream.answering(listing):
        program = await asyncio.create_subprocess_exec(*script("listed", models.url, VIRTUAL), stdout=PIPE)
        output, _ = await program.communicate()
    found = dict(map(json.loads, output.splitlines()))
    assert [each[0] for each in found["cohere"]] == [each[0] for each in found["mistral"]] == found["ollama"] == IDS
    pro, vectors = IDS.index("gemini-2.5-pro"), IDS.index("text-embedding-3-small")
    assert found["cohere"][pro][1:] == [1048576, ["chat"]]
    assert found["cohere"][vectors][2] == ["embed"]
    assert found["mistral"][pro][1:] == [1048576, True]
    assert found["mistral"][vectors][2] is False


ONES = [
    "gpt-4",
    "openai/gpt-4",
    "openai%2Fgpt-4",
    "house/team/llama",
    "house%2Fteam%2Fllama",
    "claude/claude-haiku-4-5",
]


@pytest.mark.parametrize("name", ONES)
async def test_one_model_by_each_of_its_names(models: Gateway, upstream: Upstream, name: str) -> None:
    """With its provider's name, its slashes escaped or not."""
    async with httpx.AsyncClient(headers={"x-api-key": VIRTUAL}) as client:
        with upstream.answering(listing):
            reply = await client.get(f"{models.base_url}/models/{name}")
    found = reply.json()
    assert (reply.status_code, found["id"]) == (200, name.replace("%2F", "/"))
    assert found.keys() >= {"object", "created", "owned_by", "permission", "root", "parent", "context_length"}


async def test_each_sdk_asks_for_one_model(models: Gateway, upstream: Upstream) -> None:
    """A name that is in no list, but which its provider knows, is asked of that."""
    with upstream.answering(listing):
        async with openai_at(models) as sdk:
            assert (await sdk.models.retrieve("gemini/gemini-2.5-pro")).owned_by == "google"
        async with anthropic_at(models) as claude:
            assert (await claude.models.retrieve("claude-sonnet-latest")).display_name == "Claude-Sonnet-4-5"
        assert (await asyncio.to_thread(one_by_google, models, "house/gpt-4o")).input_token_limit == 1000


async def test_a_model_that_nobody_has_is_each_sdks_own_404(models: Gateway, upstream: Upstream) -> None:
    """Where its name leads to a provider that does not know it, and where it leads nowhere."""
    with upstream.answering(listing):
        async with openai_at(models) as sdk:
            for name in ("gpt-nobodys", "nobodys", "openai/nobodys"):
                with pytest.raises(openai.NotFoundError) as caught:
                    await sdk.models.retrieve(name)
                assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        async with anthropic_at(models) as claude:
            with pytest.raises(anthropic.NotFoundError):
                await claude.models.retrieve("claude-nobodys")
        with pytest.raises(genai_errors.ClientError) as missing:
            await asyncio.to_thread(one_by_google, models, "gemini-nobodys")
    assert missing.value.code == 404


async def test_a_key_sees_what_it_may_use(models: Gateway, upstream: Upstream) -> None:
    """Limited to some models, or to a provider; what it may not use is a 403 when it asks for that."""
    with upstream.answering(listing):
        async with openai_at(models, NARROW) as sdk:
            assert [each.id async for each in sdk.models.list()] == ["gpt-4o"]
            with pytest.raises(openai.PermissionDeniedError):
                await sdk.models.retrieve("gpt-4")
        async with openai_at(models, CLAUDES) as sdk:
            assert [each.id async for each in sdk.models.list()] == ["fast", "claude-sonnet-4-5", "claude-haiku-4-5"]
            with pytest.raises(openai.PermissionDeniedError):
                await sdk.models.retrieve("gpt-4o")


async def test_it_takes_a_key_and_counts_like_any_call(models: Gateway, upstream: Upstream) -> None:
    """Without one it is a 401 of the client's format; with one the limits stand on the reply, to HEAD as well."""
    async with httpx.AsyncClient() as client:
        with upstream.answering(listing):
            without = await client.get(f"{models.base_url}/models")
            theirs = await client.get(f"{models.base_url}/models", headers={"anthropic-version": "2023-06-01"})
            reply = await client.get(f"{models.base_url}/models", headers={"x-api-key": VIRTUAL})
            head = await client.head(f"{models.base_url}/models", headers={"x-api-key": VIRTUAL})
            wrong = await client.get(
                f"{models.base_url}/models?limit=none",
                headers={"x-api-key": VIRTUAL, "anthropic-version": "2023-06-01"},
            )
    assert (without.status_code, without.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (theirs.status_code, theirs.json()["type"]) == (401, "error")
    assert reply.headers["x-ratelimit-limit-requests"] == "1000"
    assert reply.headers["x-interpose-id"].startswith("ip_")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == reply.headers["content-length"]
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_provider_that_fails_is_told_and_none_is_asked_twice(
    tmp_path: Path, authority: Authority, upstream: Upstream
) -> None:
    """The list is there without it; the next one comes from memory. What it may have is a 503, and no 404."""
    gateway = Gateway(tmp_path)
    await gateway.start(model_rules(authority, upstream), ENVIRON)

    async def without_claude(exchange: Exchange) -> None:
        if exchange.request.values("host") == [ANTHROPIC.encode()]:
            await exchange.json(b'{"error": "down"}', 500)
        else:
            await listing(exchange)

    try:
        async with httpx.AsyncClient(headers={"x-api-key": VIRTUAL}) as client:
            with upstream.answering(without_claude):
                replies = [await client.get(f"{gateway.base_url}/models") for _ in range(3)]
                asked = sorted(request.values("host")[0].decode() for request in upstream.requests)
                one = await client.get(f"{gateway.base_url}/models/claude-sonnet-4-5")
    finally:
        assert await gateway.stop() == 0, gateway.errors
    assert asked == sorted(HOSTS.values())
    for reply in replies:
        assert [each["id"] for each in reply.json()["data"]] == [name for name in IDS if not name.startswith("claude")]
        assert reply.headers["x-interpose-incomplete"] == "claude"
    assert (one.status_code, one.json()["error"]["code"]) == (503, "provider_unavailable")
    assert gateway.errors.count("the provider claude does not tell its models: it answered 500") == 1
