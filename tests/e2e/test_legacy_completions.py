"""Prompts that are gone on with, of applications that were never changed: providers that only chat answer them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.converted import converting_rules
from tests.e2e.program import Program, script
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OLLAMA_CLOUD, PLACEHOLDER, real, rules_text
from tests.e2e.test_conversions import CLAUDE_SAYS
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

# https://docs.claude.com/en/api/messages and https://ai.google.dev/api/generate-content
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "c",
    "content": [{"type": "text", "text": "Good day"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Good day"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13},
}
PROVIDERS = {"anthropic": CLAUDE, "gemini": GEMINI}


@pytest_asyncio.fixture(loop_scope="session")
async def converting(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("converting", converting_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


async def complete(model: str, *, stream: bool, **more: Any) -> tuple[str, str | None, Any]:
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        if not stream:
            reply = await client.completions.create(model=model, prompt="Greet me:", max_tokens=16, **more)
            return reply.choices[0].text, reply.choices[0].finish_reason, reply.usage
        text, end, usage = "", None, None
        options: Any = {"include_usage": True}
        async for chunk in await client.completions.create(
            model=model, prompt="Greet me:", max_tokens=16, stream=True, stream_options=options, **more
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.text
                end = choice.finish_reason or end
        return text, end, usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_prompt_is_answered_by_a_chat(
    provider: str, stream: bool, converting: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Text, why it ended and the tokens come as the SDK knows them; the provider is asked in a user's turn."""
    shell(converting)

    async def answer(exchange: Exchange) -> None:
        if not stream:
            await exchange.json(json.dumps(PROVIDERS[provider]).encode())
            return
        gemini = b"data: " + json.dumps(GEMINI).encode() + b"\r\n\r\n"
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS if provider == "anthropic" else gemini)
        await exchange.end()

    mark = converting.ledger.mark()
    with upstream.answering(answer):
        text, end, usage = await complete(f"to-{provider}", stream=stream)
    assert (text, end) == ("Good day", "stop")
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 4)
    (sent,) = upstream.requests
    asked = json.loads(sent.body)
    turn = asked["messages" if provider == "anthropic" else "contents"][0]
    assert turn["role"] == "user"
    assert "Greet me:" in json.dumps(turn)
    row = await converting.ledger.row(mark)
    assert (row["endpoint"], row["outcome"], row["provider"]) == ("completions", "ok", provider)
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (9, 4, "provider")


async def test_what_a_chat_cannot_do_is_refused(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Several prompts at once are several answers: a 400 that names them, and nothing is sent."""
    shell(converting)
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(unasked), pytest.raises(openai.BadRequestError) as caught:
            await client.completions.create(model="to-anthropic", prompt=["one", "two"])
    assert caught.value.code == "conversion_impossible"
    assert "prompt: " in str(caught.value)
    assert not upstream.requests


async def unasked(exchange: Exchange) -> None:
    raise AssertionError("the provider was asked")


async def test_a_stream_that_breaks_off_is_an_error(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """The SDK raises, and the record says truncated."""
    shell(converting)

    async def cut(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS[: CLAUDE_SAYS.index(b"event: message_delta")])
        await exchange.end()

    mark = converting.ledger.mark()
    with upstream.answering(cut), pytest.raises(openai.APIError):
        await complete("to-anthropic", stream=True)
    assert (await converting.ledger.row(mark))["outcome"] == "truncated"


async def test_ollamas_client_has_its_prompt_answered_by_claude(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """/api/generate, whole and streamed: text, why it ended and the tokens in Ollama's words."""

    async def answer(exchange: Exchange) -> None:
        if json.loads(exchange.request.body).get("stream"):
            await exchange.stream("text/event-stream")
            await exchange.chunk(CLAUDE_SAYS)
            await exchange.end()
        else:
            await exchange.json(json.dumps(CLAUDE).encode())

    rules = rules_text(
        providers={
            "claude": {
                "format": "anthropic",
                "base_url": "https://anthropic.provider.test",
                "credential": {"env": "FAKE_HOUSE_KEY"},
            }
        },
        intercept={"hosts": [OLLAMA_CLOUD], "placeholders": [PLACEHOLDER]},
        routes=[{"name": "a", "match": {"endpoint": "completions"}, "to": {"provider": "claude", "model": "real-one"}}],
        upstream={"ca": str(authority.pem), "connect_to": {"anthropic.provider.test:443": upstream.address}},
    )
    with upstream.answering(answer):
        program = await Program.start(
            tmp_path,
            rules,
            *script("prompts", "llama3.2"),
            environ={
                "OLLAMA_HOST": f"https://{OLLAMA_CLOUD}",
                "OLLAMA_API_KEY": PLACEHOLDER,
                "FAKE_HOUSE_KEY": real("house"),
            },
        )
        ended = await program.end()
    assert ended.status == 0, ended.summary
    told = ["Good day", "stop", 9, 4]
    assert [json.loads(line) for line in ended.lines] == [["whole", told], ["streamed", told]]
    assert [(row["endpoint"], row["outcome"], row["input_tokens"]) for row in program.calls()] == [
        ("completions", "ok", 9),
        ("completions", "ok", 9),
    ]
