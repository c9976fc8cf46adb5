"""What becomes of headers, echoed keys, losses and Gemini's array on the way between two formats; a loop of tools.

Errors and cuts are in `test_matrix_failures`, for every client.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.converted import CLIENTS, HI, SCHEMA
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CLAUDE_SAYS
from tests.e2e.settings import PLACEHOLDER, real
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Header, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_retry_hints_and_rate_limits_come_in_the_clients_dialect(
    converting: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Claude's limits, with their RFC 3339 times, are OpenAI's headers with durations."""
    shell(converting)

    async def limited(exchange: Exchange) -> None:
        headers: list[Header] = [
            (b"content-type", b"application/json"),
            (b"retry-after", b"7"),
            (b"request-id", b"req_abc"),
            (b"anthropic-ratelimit-requests-limit", b"50"),
            (b"anthropic-ratelimit-requests-remaining", b"0"),
            (b"anthropic-ratelimit-requests-reset", b"2099-01-01T00:00:00Z"),
        ]
        body = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}'
        await exchange.reply(body, 429, headers)

    with upstream.answering(limited), pytest.raises(openai.RateLimitError) as caught:
        await CLIENTS["openai"]("to-anthropic", stream=False)
    headers = caught.value.response.headers
    assert headers["retry-after"] == "7"
    assert headers["x-request-id"] == "req_abc"
    assert headers["x-ratelimit-limit-requests"] == "50"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")


async def test_googles_hint_in_the_body_is_a_header(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Pitfall 28: Google tells in the error's body when to try again, where no other client looks."""
    shell(converting)

    async def limited(exchange: Exchange) -> None:
        told = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "6.5s"}
        error = {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": [told]}
        await exchange.reply(json.dumps({"error": error}).encode(), 429, [(b"content-type", b"application/json")])

    with upstream.answering(limited), pytest.raises(openai.RateLimitError) as caught:
        await CLIENTS["openai"]("to-gemini", stream=False)
    assert caught.value.response.headers["retry-after"] == "7"


async def test_a_stream_that_cannot_be_read_is_recorded_as_an_error(
    converting: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """The application gets an error for an event that is no JSON, and so says the ledger, whatever follows it."""
    shell(converting)
    end = CLAUDE_SAYS.index(b"event: message_stop")
    pieces = (CLAUDE_SAYS[:end], b"event: ping\ndata: {nope\n\n", CLAUDE_SAYS[end:])

    async def garbled(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        for piece in pieces:
            await exchange.chunk(piece)
        await exchange.end()

    mark = converting.ledger.mark()
    with upstream.answering(garbled), pytest.raises(openai.APIError, match="cannot be read"):
        await CLIENTS["openai"]("to-anthropic", stream=True)
    assert (await converting.ledger.row(mark))["outcome"] == "error"


async def test_an_echoed_credential_goes_no_further(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """What is written anew for the client holds no key, where the provider's own bytes would have passed."""
    shell(converting)

    async def echo(exchange: Exchange) -> None:
        message = f"invalid key {real('house')} given"
        await exchange.json(json.dumps({"type": "error", "error": {"type": "x", "message": message}}).encode(), 401)

    with upstream.answering(echo), pytest.raises(openai.AuthenticationError) as caught:
        await CLIENTS["openai"]("to-anthropic", stream=False)
    assert "invalid key" in str(caught.value)
    assert real("house") not in str(caught.value)


async def test_an_echo_in_a_stream_goes_no_further(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Neither in an error that ends it, nor in what the model says."""
    shell(converting)
    error = {"type": "error", "error": {"type": "x", "message": f"the key {real('house')} was withdrawn"}}

    async def echo(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS[: CLAUDE_SAYS.index(b"event: content_block_stop")].replace(
            b"Good ", real("house").encode()
        ))  # fmt: skip
        await exchange.chunk(b"event: error\ndata: %b\n\n" % json.dumps(error).encode())
        await exchange.end()

    body = {"model": "to-anthropic", "stream": True, "messages": [{"role": "user", "content": HI}]}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {PLACEHOLDER}"}) as client:
        with upstream.answering(echo):
            reply = await client.post("https://api.openai.com/v1/chat/completions", json=body)
    assert "was withdrawn" in reply.text
    assert "day" in reply.text
    assert real("house") not in reply.text


async def test_what_was_lost_is_told(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """In short in a header, in full in the ledger; what is impossible is refused before anything is sent."""
    shell(converting)

    async def claude(exchange: Exchange) -> None:
        await exchange.json(
            b'{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi"}],'
            b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}'
        )

    messages: Any = [{"role": "user", "content": HI}]
    mark = converting.ledger.mark()
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(claude):
            raw = await client.chat.completions.with_raw_response.create(
                model="to-anthropic", messages=messages, temperature=1.6, logit_bias={"5": 1}
            )
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model="to-anthropic", messages=messages, n=2)
            assert len(upstream.requests) == 1
            await client.chat.completions.create(model="to-anthropic", messages=messages, temperature=1.7)
    assert raw.headers["x-interpose-losses"] == "approximated=1 dropped=1 synthesised=1"
    assert caught.value.param == "n"
    assert converting.errors.count("temperature of a call: Claude's temperature ends at 1 (approximated)") == 1
    told, refused, _ = await converting.ledger.rows(mark, 3)
    assert [(each["severity"], each["path"]) for each in json.loads(told["losses"])] == [
        ("synthesised", "max_tokens"),
        ("approximated", "temperature"),
        ("dropped", "logit_bias"),
    ]
    assert (refused["outcome"], refused["status"]) == ("refused", 400)


async def test_a_loop_of_tools_through_another_format(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """An OpenAI application answers Claude's tool call; Claude gets its own call, its thinking and the result back."""
    shell(converting)
    thinking = {"type": "thinking", "thinking": "They want the weather.", "signature": "c2lnbmF0dXJl"}
    use = {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Paris"}}
    turns = [
        ("tool_use", [thinking, {"type": "text", "text": "Let me look."}, use]),
        ("end_turn", [{"type": "text", "text": "Sunny."}]),
    ]

    async def claude(exchange: Exchange) -> None:
        reason, content = turns[len(upstream.requests) - 1]
        reply = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": content,
            "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 4},
        }  # fmt: skip
        await exchange.json(json.dumps(reply).encode())

    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": HI}]
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(claude):
            first = await client.chat.completions.create(model="to-anthropic", messages=messages, tools=tools)
            message = first.choices[0].message
            assert message.tool_calls is not None
            (call,) = message.tool_calls
            messages += [
                message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"},
            ]
            second = await client.chat.completions.create(model="to-anthropic", messages=messages, tools=tools)
            asked, again = (json.loads(bytes(request.body)) for request in upstream.requests)
    assert second.choices[0].message.content == "Sunny."
    assert again["messages"][: len(asked["messages"])] == asked["messages"]
    assert (again["system"], again["tools"]) == (asked["system"], asked["tools"])
    assistant, result = again["messages"][-2:]
    assert assistant == {"role": "assistant", "content": [thinking, {"type": "text", "text": "Let me look."}, use]}
    assert result["role"] == "user"
    assert result["content"][0]["type"] == "tool_result"
    assert result["content"][0]["tool_use_id"] == "toolu_01"
    assert "18 degrees" in json.dumps(result)


async def test_a_gemini_client_without_sse_gets_an_array(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """As Google's own endpoint answers it: one JSON array, of that type."""
    shell(converting)

    async def claude(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS)
        await exchange.end()

    body = {"contents": [{"role": "user", "parts": [{"text": HI}]}]}
    url = "https://generativelanguage.googleapis.com/v1beta/models/to-anthropic:streamGenerateContent"
    async with httpx.AsyncClient(headers={"x-goog-api-key": PLACEHOLDER}) as client:
        with upstream.answering(claude):
            reply = await client.post(url, json=body)
    assert reply.headers["content-type"] == "application/json"
    texts = [part["text"] for each in reply.json() for part in each["candidates"][0]["content"].get("parts", ())]
    assert "".join(texts) == "Good day"


async def test_a_client_of_cohere_s_first_chat_gets_lines(converting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """As Cohere's own endpoint answers it: a stream of JSON lines, of that type, whose last has the whole reply."""
    shell(converting)

    async def claude(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS)
        await exchange.end()

    body = {"model": "to-anthropic", "message": HI, "stream": True}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {PLACEHOLDER}"}) as client:
        with upstream.answering(claude):
            reply = await client.post("https://api.cohere.com/v1/chat", json=body)
    assert reply.headers["content-type"] == "application/stream+json"
    first, *said, last = [json.loads(line) for line in reply.text.splitlines()]
    assert first["event_type"] == "stream-start"
    assert "".join(event["text"] for event in said) == "Good day"
    assert (last["event_type"], last["response"]["text"]) == ("stream-end", "Good day")
    assert last["response"]["meta"]["tokens"] == {"input_tokens": 9, "output_tokens": 4}
