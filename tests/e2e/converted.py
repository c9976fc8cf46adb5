"""Unmodified SDKs whose calls the rules send to a provider of another format: what each asks, and what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types
from tests.e2e.certificates import Authority
from tests.e2e.matrix.providers import PROVIDERS
from tests.e2e.recorded_answers import Answer
from tests.e2e.settings import PLACEHOLDER, rules_text
from tests.e2e.upstream import Upstream

HI = "What is the weather in Paris?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def converting_rules(authority: Authority, upstream: Upstream, **more: object) -> str:
    """Rules that send a model `to-KEY`, or `claude-to-KEY`, to the provider of the matrix with that key, whichever SDK
    asked for it. Its credential is in FAKE_HOUSE_KEY.
    """
    return rules_text(
        providers={
            provider.key: {
                "format": provider.format,
                "base_url": f"https://{provider.host}{provider.base}",
                "credential": {"env": "FAKE_HOUSE_KEY"},
                **dict(provider.settings),
            }
            for provider in PROVIDERS
        },
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {
                "name": f"to-{provider.key}",
                "match": {"model": [f"to-{provider.key}", f"claude-to-{provider.key}"]},
                "to": {"provider": provider.key, "model": "real-one"},
            }
            for provider in PROVIDERS
        ],
        upstream={
            "ca": str(authority.pem),
            "connect_to": {f"{provider.host}:443": upstream.address for provider in PROVIDERS},
        },
        **more,
    )


async def by_openai(model: str, *, stream: bool) -> Answer:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    messages: Any = [{"role": "user", "content": HI}]
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        if stream:
            async with client.chat.completions.stream(
                model=model, messages=messages, tools=tools, stream_options={"include_usage": True}
            ) as events:
                async for _ in events:
                    pass
                reply = await events.get_final_completion()
        else:
            reply = await client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert reply.model == model
    assert reply.usage is not None
    message, end = reply.choices[0].message, reply.choices[0].finish_reason
    calls = tuple((each.function.name, json.loads(each.function.arguments)) for each in message.tool_calls or ())
    ends = {"stop": "end", "length": "length", "tool_calls": "tools"}
    return Answer(message.content or "", calls, ends[end], reply.usage.prompt_tokens, reply.usage.completion_tokens)


async def by_responses(model: str, *, stream: bool) -> Answer:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        if stream:
            async with client.responses.stream(model=model, input=HI, tools=tools, store=False) as events:
                async for _ in events:
                    pass
                reply: Any = await events.get_final_response()
        else:
            reply = await client.responses.create(model=model, input=HI, tools=tools, store=False)
    assert reply.model == model
    calls = tuple((each.name, json.loads(each.arguments)) for each in reply.output if each.type == "function_call")
    end = "length" if reply.status == "incomplete" else "tools" if calls else "end"
    assert reply.status in ("completed", "incomplete")
    return Answer(reply.output_text, calls, end, reply.usage.input_tokens, reply.usage.output_tokens)


async def by_anthropic(model: str, *, stream: bool) -> Answer:
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    messages: Any = [{"role": "user", "content": HI}]
    async with anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as client:
        if stream:
            async with client.messages.stream(model=model, max_tokens=512, messages=messages, tools=tools) as events:
                async for _ in events:
                    pass
                reply: Any = await events.get_final_message()
        else:
            reply = await client.messages.create(model=model, max_tokens=512, messages=messages, tools=tools)
    assert reply.model == model
    text = "".join(each.text for each in reply.content if each.type == "text")
    calls = tuple((each.name, each.input) for each in reply.content if each.type == "tool_use")
    ends = {"end_turn": "end", "max_tokens": "length", "tool_use": "tools"}
    usage = reply.usage
    asked = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Answer(text, calls, ends[reply.stop_reason], asked, usage.output_tokens)


async def by_gemini(model: str, *, stream: bool) -> Answer:
    tools: Any = [
        types.Tool(function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)])
    ]
    config = types.GenerateContentConfig(
        tools=tools, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )

    def ask() -> list[types.GenerateContentResponse]:
        with genai.Client(api_key=PLACEHOLDER) as client:
            if stream:
                return list(client.models.generate_content_stream(model=model, contents=HI, config=config))
            return [client.models.generate_content(model=model, contents=HI, config=config)]

    replies = await asyncio.to_thread(ask)
    text, calls, end, usage = "", list[tuple[str, Any]](), "", None
    for reply in replies:
        usage = reply.usage_metadata or usage
        for candidate in reply.candidates or ():
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.function_call is not None:
                    calls.append((part.function_call.name or "", part.function_call.args or {}))
                elif not part.thought:
                    text += part.text or ""
            end = candidate.finish_reason.name if candidate.finish_reason else end
    assert usage is not None
    written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    ended = {"STOP": "tools" if calls else "end", "MAX_TOKENS": "length"}[end]
    return Answer(text, tuple(calls), ended, usage.prompt_token_count, written)


Ask = Callable[..., Any]
CLIENTS: dict[str, Ask] = {
    "openai": by_openai,
    "openai-responses": by_responses,
    "anthropic": by_anthropic,
    "gemini": by_gemini,
}
