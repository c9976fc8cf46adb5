"""Clouds as clients and as providers: Azure's URLs, Vertex AI and Bedrock, each by the SDK that speaks it.

What arrives at the cloud is looked at as the cloud does: URL, key or signature, and body.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.converted import CLIENTS, HI
from tests.e2e.proxy import Proxy
from tests.e2e.replies import EVENT_STREAM, frame
from tests.e2e.settings import ANTHROPIC, GEMINI, OPENAI, PLACEHOLDER, canary, real, rules_text
from tests.e2e.signatures import assert_signed
from tests.e2e.test_conversions import CLAUDE_SAYS
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Request, Upstream
from tests.rules.test_cloud import TokenServer, service_account, tokens

__all__ = ["shell", "tokens"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACCESS = "AKIAFAKEFAKEFAKEFAKE"
SECRET, SESSION = canary("aws-secret"), canary("aws-session")
VERTEX = "us-central1-aiplatform.googleapis.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
AZURE, OTHER_AZURE = "team.openai.azure.com", "other.openai.azure.com"
PROJECT = "/v1/projects/fake/locations/us-central1"
CLAUDE = "claude-sonnet-4-5"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"

MESSAGES: Any = [{"role": "user", "content": HI}]

CHAT = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Good day"}, "finish_reason": "stop"}
        ], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
).encode()  # fmt: skip
MESSAGE = json.dumps(
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Good day"}], "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 4},
    }
).encode()  # fmt: skip
GENERATED = json.dumps(
    {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Good day"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13},
    }
).encode()  # fmt: skip


async def frames(exchange: Exchange) -> None:
    """Claude's stream as InvokeModel sends it: each event, in base64, in a frame."""
    await exchange.stream(EVENT_STREAM)
    for event in CLAUDE_SAYS.split(b"\n\n")[:-1]:
        data = event.partition(b"data: ")[2]
        await exchange.chunk(frame("chunk", {"bytes": base64.b64encode(data).decode()}))
    await exchange.end()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def clouds(
    farm: Farm, authority: Authority, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Proxy, TokenServer]]:
    """Rules that send a model `to-CLOUD` there, with the cloud's own credential."""
    folder = tmp_path_factory.mktemp("clouds")
    with TokenServer() as server:
        server.begin()
        service_account(folder / "account.json", server)
        google = {"google": str(folder / "account.json")}
        key = {"env": "FAKE_HOUSE_KEY"}
        hosts = [OPENAI, ANTHROPIC, GEMINI, VERTEX, BEDROCK, AZURE, OTHER_AZURE]
        providers = {
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": key},
            "anthropic": {"format": "anthropic", "base_url": f"https://{ANTHROPIC}", "credential": key},
            "azure": {"format": "openai", "dialect": "azure", "base_url": f"https://{AZURE}", "credential": key},
            "azure-v1": {"format": "openai", "base_url": f"https://{OTHER_AZURE}/openai/v1", "credential": key},
            "vertex": {"format": "gemini", "base_url": f"https://{VERTEX}{PROJECT}", "credential": google},
            "vertex-claude": {
                "format": "anthropic", "dialect": "vertex", "base_url": f"https://{VERTEX}{PROJECT}",
                "credential": google,
            },
            "bedrock": {"format": "bedrock", "base_url": f"https://{BEDROCK}", "credential": {"aws": "default"}},
            "bedrock-claude": {
                "format": "anthropic", "dialect": "bedrock", "base_url": f"https://{BEDROCK}",
                "credential": {"aws": "default"},
            },
        }  # fmt: skip
        rules = rules_text(
            providers=providers,
            intercept={"hosts": hosts, "placeholders": [PLACEHOLDER]},
            routes=[
                {
                    "name": f"to-{name}",
                    "match": {"model": [f"to-{name}", f"claude-to-{name}"]},
                    "to": {"provider": name, "model": PROFILE if name.startswith("bedrock") else "real-one"},
                }
                for name in providers
            ],
            upstream={"ca": str(authority.pem), "connect_to": {f"{host}:443": upstream.address for host in hosts}},
        )
        environ = {
            "FAKE_HOUSE_KEY": real("house"),
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": SESSION,
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield await farm.get("clouds", rules, environ), server
        server.end()


async def asked(upstream: Upstream, answer: Callable[[Exchange], Any] | bytes, ask: Any) -> tuple[Request, Any]:
    """The one request that reached the provider, and what the client made of the answer."""

    async def whole(exchange: Exchange) -> None:
        assert isinstance(answer, bytes)
        await exchange.json(answer)

    with upstream.answering(whole if isinstance(answer, bytes) else answer):
        reply = await ask
        (request,) = upstream.requests
    return request, reply


@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_any_client_reaches_claude_on_bedrock_signed(
    client: str, stream: bool, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """The signature holds for what arrived: converted body, path, type; the reply comes in frames, or whole."""
    proxy, _ = clouds
    shell(proxy)
    mark = proxy.ledger.mark()
    request, answer = await asked(
        upstream, frames if stream else MESSAGE, CLIENTS[client]("to-bedrock-claude", stream=stream)
    )
    assert (answer.text, answer.end, answer.input, answer.output) == ("Good day", "end", 9, 4)
    verb = "invoke-with-response-stream" if stream else "invoke"
    assert re.fullmatch(f"/model/arn[^/]+profile%2Fus[^/]+-v1[^/]+0/{verb}", request.path)
    assert unquote(request.path) == f"/model/{PROFILE}/{verb}"
    assert_signed(request, ACCESS, SECRET, SESSION)
    body = json.loads(bytes(request.body))
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert "model" not in body
    assert not request.anywhere(PLACEHOLDER)
    row = await proxy.ledger.row(mark)
    assert (row["outcome"], row["credential"], row["input_tokens"], row["output_tokens"]) == (
        "ok", "aws:default", 9, 4,
    )  # fmt: skip


CONVERSED = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "Good day"}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {"latencyMs": 1},
    }
).encode()  # fmt: skip


async def conversing(exchange: Exchange) -> None:
    """The same as Converse streams it: what was used comes behind the stop."""
    await exchange.stream(EVENT_STREAM)
    for name, event in (
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Good "}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "day"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {"latencyMs": 1}}),
    ):
        await exchange.chunk(frame(name, event))
    await exchange.end()


@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_any_client_reaches_converse_signed(
    client: str, stream: bool, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Any model of Bedrock's, by the API that is one for all of them."""
    proxy, _ = clouds
    shell(proxy)
    mark = proxy.ledger.mark()
    request, answer = await asked(
        upstream, conversing if stream else CONVERSED, CLIENTS[client]("to-bedrock", stream=stream)
    )
    assert (answer.text, answer.end, answer.input, answer.output) == ("Good day", "end", 9, 4)
    assert unquote(request.path) == f"/model/{PROFILE}/{'converse-stream' if stream else 'converse'}"
    assert_signed(request, ACCESS, SECRET, SESSION)
    row = await proxy.ledger.row(mark)
    assert (row["outcome"], row["credential"], row["input_tokens"], row["output_tokens"]) == (
        "ok", "aws:default", 9, 4,
    )  # fmt: skip


@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_any_client_reaches_claude_on_vertex(
    client: str, stream: bool, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """With a token of Google's, at the project's URL, in Vertex's envelope."""
    proxy, server = clouds
    shell(proxy)

    async def events(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS)
        await exchange.end()

    request, answer = await asked(
        upstream, events if stream else MESSAGE, CLIENTS[client]("to-vertex-claude", stream=stream)
    )
    assert (answer.text, answer.end, answer.input, answer.output) == ("Good day", "end", 9, 4)
    verb = "streamRawPredict" if stream else "rawPredict"
    assert request.path == f"{PROJECT}/publishers/anthropic/models/real-one:{verb}"
    assert request.values("authorization") == [b"Bearer fake-token-1-0123456789"]
    assert len(server.asked) == 1
    assert json.loads(bytes(request.body))["anthropic_version"] == "vertex-2023-10-16"


@pytest.mark.parametrize("client", list(CLIENTS))
async def test_any_client_reaches_gemini_on_vertex(
    client: str, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Gemini's own SDK moves by its URL alone, byte for byte; the others are converted."""
    proxy, _ = clouds
    shell(proxy)
    request, answer = await asked(upstream, GENERATED, CLIENTS[client]("to-vertex", stream=False))
    assert (answer.text, answer.input, answer.output) == ("Good day", 9, 4)
    assert request.path == f"{PROJECT}/publishers/google/models/real-one:generateContent"
    assert request.values("authorization") == [b"Bearer fake-token-1-0123456789"]
    assert request.values("x-goog-api-key") == []


async def by_openai(model: str) -> None:
    """Of its own format: the reply is the provider's, byte for byte, its model's name too."""
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        reply = await client.chat.completions.create(model=model, messages=MESSAGES)
    assert (reply.choices[0].message.content, reply.model) == ("Good day", "gpt-4o-2024")


@pytest.mark.parametrize("client", ["openai", "anthropic", "gemini"])
async def test_any_client_reaches_a_deployment_of_azure(
    client: str, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """In the older URLs, which name the deployment and a version, with Azure's own header for the key."""
    proxy, _ = clouds
    shell(proxy)
    ask = by_openai("to-azure") if client == "openai" else CLIENTS[client]("to-azure", stream=False)
    request, _ = await asked(upstream, CHAT, ask)
    assert request.target == b"/openai/deployments/real-one/chat/completions?api-version=2024-10-21"
    assert request.values("api-key") == [real("house").encode()]
    assert request.values("authorization") == []


async def test_an_openai_client_reaches_azures_newer_urls(
    clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """The host is known for Azure's, so its key stands where Azure looks; the model is in the body."""
    proxy, _ = clouds
    shell(proxy)
    request, _ = await asked(upstream, CHAT, by_openai("to-azure-v1"))
    assert request.target == b"/openai/v1/chat/completions"
    assert request.values("api-key") == [real("house").encode()]
    assert json.loads(bytes(request.body))["model"] == "real-one"


def azure(deployment: str) -> Any:
    return openai.AsyncAzureOpenAI(
        api_key=PLACEHOLDER, api_version="2024-10-21", azure_endpoint=f"https://{AZURE}", azure_deployment=deployment,
        max_retries=0,
    )  # fmt: skip


async def test_an_azure_client_reaches_openai(
    clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Its deployment becomes the body's model, its api-version stays behind, every other byte is as it came."""
    proxy, _ = clouds
    shell(proxy)
    client = azure("to-openai")
    request, reply = await asked(
        upstream, CHAT, client.chat.completions.create(model="whatever", messages=MESSAGES, temperature=1e-1)
    )
    await client.close()
    assert reply.choices[0].message.content == "Good day"
    assert request.target == b"/v1/chat/completions"
    body = bytes(request.body)
    assert json.loads(body) == {"messages": MESSAGES, "model": "real-one", "temperature": 0.1}
    assert body.count(b"real-one") == 1
    assert request.values("authorization") == [f"Bearer {real('house')}".encode()]
    assert request.values("api-key") == []


async def test_a_deployment_that_the_body_does_not_repeat_becomes_its_model(
    clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Azure asks for no model in the body; OpenAI does. What is spliced in leaves every other byte alone."""
    proxy, _ = clouds
    shell(proxy)
    body = b'{"messages" : [{"role":"user","content":"hi"}],  "temperature": 1e-1}'
    url = f"https://{AZURE}/openai/deployments/to-openai/chat/completions?api-version=2024-06-01"

    async def ask() -> Any:
        async with httpx.AsyncClient(headers={"api-key": PLACEHOLDER}) as client:
            return await client.post(url, content=body, headers={"content-type": "application/json"})

    request, _ = await asked(upstream, CHAT, ask())
    assert bytes(request.body) == body[:-1] + b',"model":"real-one"}'
    assert request.target == b"/v1/chat/completions"


async def test_an_azure_client_is_answered_by_claude(
    clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """A deployment that rules send to another format is converted as any conversation is."""
    proxy, _ = clouds
    shell(proxy)
    client = azure("to-anthropic")
    request, reply = await asked(upstream, MESSAGE, client.chat.completions.create(model="x", messages=MESSAGES))
    await client.close()
    assert reply.choices[0].message.content == "Good day"
    assert json.loads(bytes(request.body))["model"] == "real-one"


@pytest.mark.parametrize("to", ["to-anthropic", "to-openai", "to-bedrock-claude"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_claude_on_vertex_as_a_client(
    to: str, stream: bool, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Anthropic's SDK for Vertex, answered by Claude's own API, by OpenAI, by Bedrock."""
    proxy, _ = clouds
    shell(proxy)
    client = anthropic.AsyncAnthropicVertex(
        region="us-central1", project_id="fake", access_token=PLACEHOLDER, max_retries=0
    )
    await _claude_client(client, f"claude-{to}", stream=stream, upstream=upstream)


@pytest.mark.parametrize("to", ["to-anthropic", "to-openai", "to-vertex-claude"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_claude_on_bedrock_as_a_client(
    to: str, stream: bool, clouds: tuple[Proxy, TokenServer], upstream: Upstream, shell: Shell
) -> None:
    """Anthropic's SDK for Bedrock, whose streams are binary frames, answered by others."""
    proxy, _ = clouds
    shell(proxy)
    client = anthropic.AsyncAnthropicBedrock(aws_region="us-east-1", api_key=PLACEHOLDER, max_retries=0)
    await _claude_client(client, f"claude-{to}", stream=stream, upstream=upstream)


async def _claude_client(client: Any, model: str, *, stream: bool, upstream: Upstream) -> None:
    async def events(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS if "openai" not in model else CHAT_SAYS)
        await exchange.end()

    async def ask() -> Any:
        settings: Any = {"model": model, "max_tokens": 99, "messages": MESSAGES}
        async with client:
            if not stream:
                return await client.messages.create(**settings)
            async with client.messages.stream(**settings) as told:
                return await told.get_final_message()

    answer: Any = CHAT if "openai" in model else MESSAGE
    if stream:
        answer = frames if "to-bedrock" in model else events
    request, reply = await asked(upstream, answer, ask())
    assert [block.text for block in reply.content] == ["Good day"]
    assert (reply.stop_reason, reply.usage.input_tokens, reply.usage.output_tokens) == ("end_turn", 9, 4)
    assert ("anthropic_version" in json.loads(bytes(request.body))) is model.endswith("-claude")
    assert not request.anywhere(PLACEHOLDER)
    if "openai" in model or model.endswith("to-anthropic"):
        assert request.path == ("/v1/chat/completions" if "openai" in model else "/v1/messages")


CHAT_SAYS = b"".join(
    b"data: %b\n\n" % each
    for each in (
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        b'{"role":"assistant","content":"Good "},"finish_reason":null}]}',
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        b'{"content":"day"},"finish_reason":null}]}',
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
        b'"finish_reason":"stop"}]}',
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
        b'{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}',
        b"[DONE]",
    )
)
