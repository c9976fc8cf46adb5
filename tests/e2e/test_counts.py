"""Counts of tokens through the real command: unmodified SDKs ask providers of other formats to count."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors as genai_errors
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.program import Program, script
from tests.e2e.proxy import Proxy
from tests.e2e.settings import ANTHROPIC, BEDROCK, GEMINI, OPENAI, PLACEHOLDER, real, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT, TOKENS = "Count me", 42
FORMATS = ("openai", "anthropic", "gemini", "bedrock", "ollama")


def count_rules(authority: Authority, upstream: Upstream) -> str:
    """Rules that send a model whose name ends with `to-FORMAT` to a provider of that format."""
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
        intercept={"hosts": [OPENAI, ANTHROPIC, GEMINI, BEDROCK], "placeholders": [PLACEHOLDER]},
        routes=[
            {"name": name, "match": {"model": f"*to-{name}"}, "to": {"provider": name, "model": "real-one"}}
            for name in hosts
        ],
        upstream={"ca": str(authority.pem), "connect_to": {f"{host}:443": upstream.address for host in hosts.values()}},
    )


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("counts", count_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


# https://platform.openai.com/docs/api-reference/responses/input-tokens, https://ai.google.dev/api/tokens,
# https://platform.claude.com/docs/en/api/messages-count-tokens and
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html
REPLIES: dict[str, Any] = {
    "/v1/responses/input_tokens": {"object": "response.input_tokens", "input_tokens": TOKENS},
    "/v1/messages/count_tokens": {"input_tokens": TOKENS},
    "/model/real-one/count-tokens": {"inputTokens": TOKENS},
    "/v1beta/models/real-one:countTokens": {
        "totalTokens": TOKENS,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": TOKENS}],
    },
}
# What may stand in such a question: these endpoints refuse a limit, a temperature or a stream.
TAKEN = {
    "/v1/responses/input_tokens": {"model", "input", "instructions", "tools"},
    "/v1/messages/count_tokens": {"model", "messages", "system", "tools"},
    "/model/real-one/count-tokens": {"input"},
    "/v1beta/models/real-one:countTokens": {"contents", "generateContentRequest"},
}


async def counting(exchange: Exchange) -> None:
    asked = exchange.request
    assert asked.anywhere(TEXT)
    assert asked.anywhere(real("house"))
    assert not asked.anywhere(PLACEHOLDER)
    assert set(json.loads(asked.body)) <= TAKEN[asked.path]
    await exchange.json(json.dumps(REPLIES[asked.path]).encode())


def by_openai(model: str) -> int:
    with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        return client.responses.input_tokens.count(model=model, input=TEXT, instructions="Be terse.").input_tokens


def by_anthropic(model: str) -> int:
    tools: Any = [{"name": "look", "input_schema": {"type": "object"}}]
    messages: Any = [{"role": "user", "content": TEXT}]
    with anthropic.Anthropic(api_key=PLACEHOLDER, max_retries=0) as client:
        return client.messages.count_tokens(
            model=model, messages=messages, system="Be terse.", tools=tools
        ).input_tokens


def by_gemini(model: str) -> int:
    with genai.Client(api_key=PLACEHOLDER) as client:
        return client.models.count_tokens(model=model, contents=TEXT).total_tokens or 0


CLIENTS = {"openai": by_openai, "anthropic": by_anthropic, "gemini": by_gemini}
COUNTING = ("openai", "anthropic", "gemini", "bedrock")
ERRORS = (openai.BadRequestError, anthropic.BadRequestError, genai_errors.ClientError)


@pytest.mark.parametrize(
    ("client", "provider"), [(one, other) for one in CLIENTS for other in COUNTING if one != other]
)
async def test_an_sdk_has_its_tokens_counted_by_another_provider(
    client: str, provider: str, proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """By the provider that will have the conversation, and for its model; the record has no usage."""
    shell(proxy)
    mark = proxy.ledger.mark()
    with upstream.answering(counting):
        assert await asyncio.to_thread(CLIENTS[client], f"to-{provider}") == TOKENS
    row = await proxy.ledger.row(mark)
    assert (row["endpoint"], row["outcome"], row["provider"]) == ("count_tokens", "ok", provider)
    assert (row["sent_model"], row["input_tokens"], row["usage_source"]) == ("real-one", None, "none")


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_provider_that_cannot_count_is_not_asked(
    client: str, proxy: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """A 400 in the client's words, and no number that was made up."""
    shell(proxy)
    with upstream.answering(counting), pytest.raises(ERRORS) as caught:
        await asyncio.to_thread(CLIENTS[client], "to-ollama")
    assert "count_tokens" in str(caught.value)
    assert not upstream.requests


async def test_a_server_without_such_an_endpoint_says_so(proxy: Proxy, upstream: Upstream, shell: Shell) -> None:
    """A compatible server's 404 is a 404 for the client, with the server's words."""
    shell(proxy)

    async def missing(exchange: Exchange) -> None:
        await exchange.json(b'{"detail":"Not Found"}', 404)

    with upstream.answering(missing), pytest.raises(anthropic.NotFoundError, match="Not Found"):
        await asyncio.to_thread(by_anthropic, "to-openai")


async def test_bedrocks_client_has_its_tokens_counted_elsewhere(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """boto3's CountTokens with a body of Claude's; what no provider can count is its ValidationException."""
    models = [f"anthropic.claude-to-{provider}" for provider in ("openai", "anthropic", "gemini", "ollama")]
    with upstream.answering(counting):
        program = await Program.start(
            tmp_path,
            count_rules(authority, upstream),
            *script("counts", *models),
            environ={"AWS_BEARER_TOKEN_BEDROCK": PLACEHOLDER, "FAKE_HOUSE_KEY": real("house")},
        )
        ended = await program.end()
    assert ended.status == 0, ended.summary
    told = [json.loads(line)[1] for line in ended.lines]
    assert told == [TOKENS, TOKENS, TOKENS, [400, "ValidationException"]]
