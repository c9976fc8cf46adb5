"""Lists of models through the real command: unmodified SDKs list the models of providers of other formats.

A list names no model, so that a header of the application's says here which route it takes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.program import Program, script
from tests.e2e.proxy import Proxy
from tests.e2e.settings import ANTHROPIC, COHERE, GEMINI, OLLAMA_CLOUD, OPENAI, PLACEHOLDER, real, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [f"model-{place}" for place in range(5)]
FORMATS = ("openai", "anthropic", "gemini", "cohere", "mistral", "ollama")


def list_rules(authority: Authority, upstream: Upstream) -> str:
    """Rules that send a call whose header x-ask names a provider to that one."""
    hosts = {name: f"{name}.provider.test" for name in FORMATS}
    return rules_text(
        providers={
            name: {
                "format": name,
                "base_url": f"https://{host}/v1" if name == "openai" else f"https://{host}",
                "credential": {"env": "FAKE_HOUSE_KEY"},
            }
            for name, host in hosts.items()
        },
        intercept={
            "hosts": [OPENAI, ANTHROPIC, GEMINI, COHERE, OLLAMA_CLOUD],
            "placeholders": [PLACEHOLDER],
        },
        routes=[
            {
                "name": name,
                "match": {"endpoint": "models", "header": {"x-ask": name}},
                "to": {"provider": name, "model": "model-3"},
            }
            for name in hosts
        ],
        upstream={"ca": str(authority.pem), "connect_to": {f"{host}:443": upstream.address for host in hosts.values()}},
    )


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("lists", list_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


# Each provider's model and list: https://platform.openai.com/docs/api-reference/models,
# https://docs.claude.com/en/api/models-list, https://ai.google.dev/api/models, https://docs.cohere.com/reference/list-models,
# https://docs.mistral.ai/api/endpoint/models, https://github.com/ollama/ollama/blob/main/docs/api.md
def _openai(name: str) -> Any:
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": "somebody"}


def _anthropic(name: str) -> Any:
    return {"type": "model", "id": name, "display_name": name.title(), "created_at": "2023-11-14T22:13:20Z"}


def _gemini(name: str) -> Any:
    return {"name": f"models/{name}", "displayName": name.title(), "inputTokenLimit": 1000, "outputTokenLimit": 100}


def _cohere(name: str) -> Any:
    return {"name": name, "endpoints": ["chat"], "context_length": 1000}


def _ollama(name: str) -> Any:
    return {"name": name, "model": name, "modified_at": "2023-11-14T22:13:20Z", "size": 5}


MODELS: dict[str, Callable[[str], Any]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "cohere": _cohere,
    "mistral": _openai,
    "ollama": _ollama,
}


async def listing(exchange: Exchange) -> None:
    """Every provider, told apart by its host."""
    asked = exchange.request
    format_ = asked.values("host")[0].decode().partition(".")[0]
    one = MODELS[format_]
    assert asked.anywhere(real("house"))
    assert not asked.anywhere(PLACEHOLDER)
    if asked.path == "/api/show":
        assert json.loads(asked.body) == {"model": "model-3"}
        await exchange.json(b'{"details":{"family":"llama"},"model_info":{},"capabilities":["completion"]}')
        return
    assert (asked.method, bytes(asked.body)) == (b"GET", b"")
    if asked.path.endswith("/model-3"):
        await exchange.json(json.dumps(one("model-3")).encode())
        return
    assert asked.path in ("/v1/models", "/v1beta/models", "/api/tags")
    key = "data" if format_ in ("openai", "anthropic", "mistral") else "models"
    await exchange.json(json.dumps({key: [one(name) for name in NAMES]}).encode())


def list_by_openai(provider: str) -> list[str]:
    with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-ask": provider}) as client:
        return [each.id for each in client.models.list()]


def list_by_anthropic(provider: str) -> list[str]:
    """In pages of two, which the SDK asks for one after the other."""
    with anthropic.Anthropic(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-ask": provider}) as client:
        return [each.id for each in client.models.list(limit=2)]


def google(provider: str) -> genai.Client:
    return genai.Client(api_key=PLACEHOLDER, http_options=types.HttpOptions(headers={"x-ask": provider}))


def list_by_gemini(provider: str) -> list[str]:
    with google(provider) as client:
        models = list(client.models.list(config={"page_size": 2}))
    return [(each.name or "").removeprefix("models/") for each in models]


def one_by_openai(provider: str) -> str:
    with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-ask": provider}) as client:
        return client.models.retrieve("asked-for").id


def one_by_anthropic(provider: str) -> str:
    with anthropic.Anthropic(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-ask": provider}) as client:
        return client.models.retrieve("asked-for").id


def one_by_gemini(provider: str) -> str:
    with google(provider) as client:
        return (client.models.get(model="asked-for").name or "").removeprefix("models/")


LISTS = {"openai": list_by_openai, "anthropic": list_by_anthropic, "gemini": list_by_gemini}
ONES = {"openai": one_by_openai, "anthropic": one_by_anthropic, "gemini": one_by_gemini}
PAIRS = [(client, provider) for client in LISTS for provider in FORMATS if client != provider]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_sdk_lists_the_models_of_another_provider(
    client: str, provider: str, proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """All of them in order, in the client's own pages; each page is a record without usage."""
    shell(proxy)
    mark = proxy.ledger.mark()
    with upstream.answering(listing):
        assert await asyncio.to_thread(LISTS[client], provider) == NAMES
    rows = await proxy.ledger.rows(mark, 1 if client == "openai" else 3)
    for row in rows:
        assert (row["endpoint"], row["outcome"], row["provider"]) == ("models", "ok", provider)
        assert (row["input_tokens"], row["usage_source"], row["sent_model"]) == (None, "none", None)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_sdk_asks_another_provider_for_one_model(
    client: str, provider: str, proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """The route's model is looked up, and the client finds the name by which it asked."""
    shell(proxy)
    with upstream.answering(listing):
        assert await asyncio.to_thread(ONES[client], provider) == "asked-for"


async def test_a_model_that_is_not_there_is_the_clients_own_error(
    proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Anthropic's 404 raises what each SDK raises for its own provider's."""
    shell(proxy)

    async def missing(exchange: Exchange) -> None:
        body = b'{"type":"error","error":{"type":"not_found_error","message":"model: no such one"}}'
        await exchange.json(body, 404)

    with upstream.answering(missing):
        with pytest.raises(openai.NotFoundError, match="no such one"):
            await asyncio.to_thread(one_by_openai, "anthropic")
        with pytest.raises(genai_errors.ClientError, match="no such one") as caught:
            await asyncio.to_thread(one_by_gemini, "anthropic")
    assert caught.value.code == 404


async def test_nothing_is_deleted_by_a_conversion(proxy: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Deleting a model of one's own is no question that another format knows."""
    shell(proxy)
    with (
        upstream.answering(listing),
        openai.OpenAI(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-ask": "anthropic"}) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        await asyncio.to_thread(client.models.delete, "ft:mine")
    assert caught.value.code == "conversion_not_supported"
    assert not upstream.requests


PROGRAMS = {
    "cohere": {"CO_API_KEY": PLACEHOLDER},
    "ollama": {"OLLAMA_HOST": f"https://{OLLAMA_CLOUD}", "OLLAMA_API_KEY": PLACEHOLDER},
}


@pytest.mark.parametrize("client", PROGRAMS)
async def test_a_program_lists_the_models_of_another_provider(
    client: str, authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """Cohere's client in pages, Ollama's at once."""
    providers = [name for name in FORMATS if name != client]
    with upstream.answering(listing):
        program = await Program.start(
            tmp_path,
            list_rules(authority, upstream),
            *script("models", client, *providers),
            environ={**PROGRAMS[client], "FAKE_HOUSE_KEY": real("house")},
        )
        ended = await program.end()
    assert ended.status == 0, ended.summary
    assert [json.loads(line) for line in ended.lines] == [[provider, NAMES] for provider in providers]
