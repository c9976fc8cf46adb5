"""Embeddings through the real command: unmodified SDKs, each sent to every provider format that has embeddings.

The application asks its own provider for two vectors of two dimensions. What the rules' provider is asked is checked in
its own words, and what the application gets is what that provider has answered.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.e2e.settings import BEDROCK, COHERE, GEMINI, OLLAMA_CLOUD, OPENAI, PLACEHOLDER, real, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Request, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

TITAN, ON_BEDROCK = "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"
# By what a model's name ends with: the provider's format, and the model there.
PROVIDERS = {
    "openai": ("openai", "real-one"),
    "gemini": ("gemini", "real-one"),
    "cohere": ("cohere", "real-one"),
    "mistral": ("mistral", "real-one"),
    "ollama": ("ollama", "real-one"),
    "titan": ("bedrock", TITAN),
    "bedrock": ("bedrock", ON_BEDROCK),
}
TEXTS = ["one", "two"]
TOKENS = 7
Vectors = list[list[float]]


def vector_rules(authority: Authority, upstream: Upstream) -> str:
    """Rules that send a model whose name ends with `to-NAME` to that provider."""
    formats = {format_ for format_, _ in PROVIDERS.values()}
    hosts = {format_: f"{format_}.provider.test" for format_ in formats}
    asked = (OPENAI, GEMINI, COHERE, OLLAMA_CLOUD, BEDROCK)
    return rules_text(
        providers={
            format_: {
                "format": format_,
                "base_url": f"https://{host}/v1" if format_ == "openai" else f"https://{host}",
                "credential": {"env": "FAKE_HOUSE_KEY"},
            }
            for format_, host in hosts.items()
        },
        intercept={"hosts": list(asked), "placeholders": [PLACEHOLDER]},
        routes=[
            {"name": name, "match": {"model": f"*to-{name}"}, "to": {"provider": format_, "model": model}}
            for name, (format_, model) in PROVIDERS.items()
        ],
        upstream={"ca": str(authority.pem), "connect_to": {f"{host}:443": upstream.address for host in hosts.values()}},
    )


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("vectors", vector_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


# The providers, as they answer: https://platform.openai.com/docs/api-reference/embeddings,
# https://ai.google.dev/api/embeddings, https://docs.cohere.com/reference/embed,
# https://github.com/ollama/ollama/blob/main/docs/api.md and
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html


def vectors_of(texts: list[str]) -> Vectors:
    return [[len(text) + place / 2, -0.25] for place, text in enumerate(texts)]


def openais(asked: dict[str, Any], path: str) -> Any:
    texts = asked["input"]
    size = asked["output_dimension" if path == "/v1/embeddings" and "output_dimension" in asked else "dimensions"]
    assert (asked["model"], asked["encoding_format"], size) == ("real-one", "float", 2)
    data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(vectors_of(texts))]
    return {
        "object": "list",
        "data": data,
        "model": "real-one",
        "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
    }


def geminis(asked: dict[str, Any], path: str) -> Any:
    verb = path.rpartition(":")[2]
    requests = asked["requests"] if verb == "batchEmbedContents" else [asked]
    assert all(each["outputDimensionality"] == 2 for each in requests)
    values = vectors_of([each["content"]["parts"][0]["text"] for each in requests])
    usage = {"promptTokenCount": TOKENS}
    if verb == "embedContent":
        return {"embedding": {"values": values[0]}, "usageMetadata": usage}
    assert all(each["model"] == "models/real-one" for each in requests)
    return {"embeddings": [{"values": each} for each in values], "usageMetadata": usage}


def coheres(asked: dict[str, Any], path: str) -> Any:
    assert asked["input_type"] in ("search_query", "search_document")
    assert (asked["output_dimension"], asked["embedding_types"]) == (2, ["float"])
    assert asked.get("model", "real-one") == "real-one"
    reply: dict[str, Any] = {
        "id": "e-1",
        "texts": asked["texts"],
        "embeddings": {"float": vectors_of(asked["texts"])},
        "response_type": "embeddings_by_type",
    }
    if path == "/v2/embed":
        reply["meta"] = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": TOKENS}}
    return reply


def ollamas(asked: dict[str, Any], path: str) -> Any:
    assert (asked["model"], asked["dimensions"]) == ("real-one", 2)
    return {"model": "real-one", "embeddings": vectors_of(asked["input"]), "prompt_eval_count": TOKENS}


def titans(asked: dict[str, Any], path: str) -> Any:
    assert asked["dimensions"] == 2
    (value,) = vectors_of([asked["inputText"]])
    return {"embedding": value, "embeddingsByType": {"float": value}, "inputTextTokenCount": TOKENS}


ANSWERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "/v1/embeddings": openais,
    "/v1beta/models/real-one:embedContent": geminis,
    "/v1beta/models/real-one:batchEmbedContents": geminis,
    "/v2/embed": coheres,
    "/api/embed": ollamas,
    "/model/amazon.titan-embed-text-v2%3A0/invoke": titans,
    "/model/cohere.embed-v4%3A0/invoke": coheres,
}


async def embed(exchange: Exchange) -> None:
    """Every provider, told apart by the path."""
    asked = exchange.request
    await exchange.json(json.dumps(ANSWERS[asked.path](json.loads(asked.body), asked.path)).encode())


def assert_keyed(requests: list[Request]) -> None:
    """Each took the house's key, and no other."""
    for each in requests:
        assert each.anywhere(real("house"))
        assert not each.anywhere(PLACEHOLDER)


def by_openai(model: str, texts: list[str]) -> tuple[Vectors, int | None]:
    """The SDK asks for base64 when nobody says what it should ask for."""
    with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        reply = client.embeddings.create(model=model, input=texts, dimensions=2)
    assert reply.model == model
    return [each.embedding for each in reply.data], reply.usage.prompt_tokens


def by_openai_in_floats(model: str, texts: list[str]) -> tuple[Vectors, int | None]:
    with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        reply = client.embeddings.create(model=model, input=texts, dimensions=2, encoding_format="float")
    return [each.embedding for each in reply.data], reply.usage.prompt_tokens


def by_gemini(model: str, texts: list[str]) -> tuple[Vectors, int | None]:
    config = types.EmbedContentConfig(output_dimensionality=2, task_type="RETRIEVAL_QUERY")
    contents: Any = texts
    with genai.Client(api_key=PLACEHOLDER) as client:
        reply = client.models.embed_content(model=model, contents=contents, config=config)
    assert reply.embeddings is not None
    return [each.values or [] for each in reply.embeddings], None


CLIENTS = {"openai": by_openai, "openai-floats": by_openai_in_floats, "gemini": by_gemini}
OWN = {"openai": "openai", "openai-floats": "openai", "gemini": "gemini"}
PAIRS = [(client, provider) for client in CLIENTS for provider in PROVIDERS if OWN[client] != provider]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_sdk_gets_its_vectors_from_another_provider(
    client: str, provider: str, proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Two vectors in order (Titan: one), with the tokens where the SDK shows them; one record, with the provider's
    usage.
    """
    shell(proxy)
    texts = TEXTS[:1] if provider == "titan" else TEXTS
    mark = proxy.ledger.mark()
    with upstream.answering(embed):
        vectors, tokens = await asyncio.to_thread(CLIENTS[client], f"to-{provider}", texts)
    assert vectors == vectors_of(texts)
    # Cohere on Bedrock tells its tokens in a header that no converted body shows.
    told = None if provider == "bedrock" else TOKENS
    assert tokens == (None if client == "gemini" else told or 0)
    row = await proxy.ledger.row(mark)
    assert (row["endpoint"], row["outcome"], row["provider"]) == ("embeddings", "ok", PROVIDERS[provider][0])
    assert (row["asked_model"], row["sent_model"]) == (f"to-{provider}", PROVIDERS[provider][1])
    assert row["usage_source"] == ("provider" if told else "estimated")
    assert told is None or row["input_tokens"] == told
    assert_keyed(upstream.requests)


async def test_base64_and_floats_are_the_same_numbers(proxy: Proxy, upstream: Upstream, shell: Shell) -> None:
    """What a client that reads the wire itself gets in base64 is single precision, little-endian."""
    shell(proxy)
    with upstream.answering(embed), openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        raw = await asyncio.to_thread(
            lambda: client.embeddings.with_raw_response.create(
                model="to-cohere", input=TEXTS, dimensions=2, encoding_format="base64"
            )
        )
    body = json.loads(raw.content)
    assert [list(struct.unpack("<2f", base64.b64decode(each["embedding"]))) for each in body["data"]] == vectors_of(
        TEXTS
    )
    assert raw.headers["x-interpose-model"] == "real-one"
    assert raw.headers["x-interpose-losses"] == "synthesised=1"


async def test_what_cannot_be_is_refused_before_anything_is_sent(
    proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Token numbers for another tokenizer, several texts for Titan: a 400 in the client's words that names the path."""
    shell(proxy)
    with upstream.answering(embed):
        with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await asyncio.to_thread(lambda: client.embeddings.create(model="to-gemini", input=[[1, 2], [3]]))
            assert (caught.value.code, caught.value.param) == ("conversion_impossible", "input[0]")
            with pytest.raises(openai.BadRequestError) as caught:
                await asyncio.to_thread(lambda: client.embeddings.create(model="to-titan", input=TEXTS))
            assert caught.value.param == "input[1]"
        with pytest.raises(genai_errors.ClientError) as refused:
            await asyncio.to_thread(by_gemini, "to-titan", TEXTS)
        assert refused.value.code == 400
        assert "requests[1]" in str(refused.value)
    assert not upstream.requests


async def test_a_vector_too_few_is_an_error(proxy: Proxy, upstream: Upstream, shell: Shell) -> None:
    """A provider that answers one vector for two texts has failed, and the record says so."""
    shell(proxy)

    async def one(exchange: Exchange) -> None:
        await exchange.json(b'{"embeddings":[{"values":[0.5,0.5]}]}')

    mark = proxy.ledger.mark()
    with upstream.answering(one), pytest.raises(openai.InternalServerError) as caught:
        await asyncio.to_thread(by_openai, "to-gemini", TEXTS)
    assert caught.value.status_code == 502
    assert (await proxy.ledger.row(mark))["outcome"] == "error"


async def test_a_providers_error_is_the_clients(proxy: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Gemini's 404 raises what OpenAI's SDK raises for a model that is not there, with Gemini's words."""
    shell(proxy)

    async def missing(exchange: Exchange) -> None:
        await exchange.json(b'{"error":{"code":404,"message":"no such model","status":"NOT_FOUND"}}', 404)

    with upstream.answering(missing), pytest.raises(openai.NotFoundError, match="no such model"):
        await asyncio.to_thread(by_openai, "to-gemini", TEXTS)


PROGRAMS = {
    "cohere": ({"CO_API_KEY": PLACEHOLDER}, ("openai", "gemini", "mistral", "ollama", "bedrock")),
    "ollama": (
        {"OLLAMA_HOST": f"https://{OLLAMA_CLOUD}", "OLLAMA_API_KEY": PLACEHOLDER},
        ("openai", "gemini", "mistral", "cohere", "bedrock"),
    ),
    "bedrock": ({"AWS_BEARER_TOKEN_BEDROCK": PLACEHOLDER}, ("openai", "gemini", "mistral", "cohere", "ollama")),
}


@pytest.mark.parametrize("client", PROGRAMS)
async def test_a_program_gets_its_vectors_from_another_provider(
    client: str, authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """Cohere's, Ollama's and AWS' clients, which know nothing of a proxy: vectors in order, and the tokens."""
    environ, providers = PROGRAMS[client]
    prefix = "amazon.titan-embed-text-v2-" if client == "bedrock" else ""
    models = [f"{prefix}to-{provider}" for provider in providers]
    texts = TEXTS[:1] if client == "bedrock" else TEXTS
    with upstream.answering(embed):
        program = await Program.start(
            tmp_path,
            vector_rules(authority, upstream),
            *script("vectors", client, *models, f"{prefix}to-titan"),
            environ={**environ, "FAKE_HOUSE_KEY": real("house")},
        )
        ended = await program.end()
    assert ended.status == 0, ended.summary
    told = [json.loads(line) for line in ended.lines]
    for model, provider, (name, got) in zip(models, providers, told, strict=False):
        assert name == model
        assert got == [vectors_of(texts), None if provider == "bedrock" else TOKENS], model
    if client == "bedrock":
        assert told[-1] == [f"{prefix}to-titan", [vectors_of(texts), TOKENS]]
    else:
        assert told[-1][1][0] == 400
        assert "Titan takes one text a call" in told[-1][1][1]
    assert_keyed(upstream.requests)
    assert len(upstream.requests) == len(models) + (client == "bedrock")
