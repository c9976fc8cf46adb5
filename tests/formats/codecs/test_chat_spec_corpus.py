"""What Chat's codec writes is what OpenAI's published description says of requests, replies and chunks.

The description lies beside the recordings. Reasoning and opaque state are in fields that it does not know, and allows.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.formats.codecs import published

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Client, Target
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Answer,
    Block,
    CacheMark,
    Citation,
    Losses,
    Media,
    Message,
    Opaque,
    Output,
    Reasoning,
    Refused,
    Reply,
    Request,
    Sampling,
    Source,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    events_of,
)

SIGNED = Opaque("anthropic", "signature", "c2ln")
PICTURE = Media("image", Source("base64", "iVBORw0KGgo="), "image/png", detail="low")
SAID: list[Block] = [
    Thinking("Hm.", opaque=SIGNED),
    Text("Let me see.", [Citation("https://example.com", "Example")]),
    ToolCall("toolu_" + "x" * 50, "one", '{"x": 1}'),
    ToolCall("", "free", "text", kind="custom"),
]
CONVERSATION = [
    Message("system", [Text("Be kind.", cache=CacheMark("1h")), Text("Be short.")]),
    Message("user", [Text("Look:"), PICTURE, Media("document", Source("base64", "JVBERi0="), "application/pdf")]),
    Message("assistant", SAID),
    Message("user", [ToolResult("toolu_" + "x" * 50, [Text("1"), PICTURE], error=True), ToolResult("", [], "free")]),
    Message("developer", [Text("In mid-conversation.")]),
    Message("assistant", [Refused("No.")]),
    Message("user", [Media("audio", Source("base64", "SUQz"), "audio/mpeg")]),
]
FULL = Request(
    "anthropic",
    "claude",
    CONVERSATION,
    tools=[Tool("one", "First.", {"type": "object"}, strict=True), Tool("free", kind="custom")],
    tool_choice=ToolChoice("any", ("one", "free"), parallel=False),
    max_tokens=100,
    sampling=Sampling(1, 0.5, 4, 7, 0.1, 0.2, {"5": 1.0}, logprobs=True, top_logprobs=2),
    stop=list("abcdef"),
    reasoning=Reasoning(budget=4000),
    output=Output("schema", {"type": "object"}),
    answers=1,
    stream=True,
    user="someone",
    service_tier="auto",
)


@pytest.mark.parametrize("cache_field", [None, "prompt_cache_breakpoint"])
def test_requests_are_described(cache_field: str | None) -> None:
    """A conversation with all that another format can say."""
    capabilities = Capabilities(
        media=frozenset(("image", "document", "audio")),
        thinking="effort",
        cache_field=cache_field,  # type: ignore[arg-type] - a parameter of the test
    )
    losses = Losses()
    body = CODEC.write_request(FULL, Target("gpt-5.2", capabilities), losses).body
    assert list(published.openai("CreateChatCompletionRequest")(body)) == []
    assert losses.impossibilities == []


REPLY = Reply(
    "anthropic", "msg_1", "claude", None, [Answer(SAID, Stop("tool_calls", None, "anthropic"))], Usage(9, 1, 2, 5, 3)
)
CLIENT = Client(Request("openai-chat", "gpt", [], stream=True, include_usage=True), "gpt", "0123", 1_700_000_000)


def test_replies_are_described() -> None:
    """A whole reply with all that another format can answer."""
    assert (
        list(published.openai("CreateChatCompletionResponse")(CODEC.write_reply(REPLY, CLIENT, Losses("reply")))) == []
    )


def test_chunks_are_described() -> None:
    """Every chunk of its stream. Of a custom tool's call in pieces the description says nothing."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    answer = Answer(SAID[:-1], REPLY.answers[0].stop)
    data = writer.write(events_of(replace(REPLY, answers=[answer]))) + writer.finish()
    chunks = [json.loads(event[6:]) for event in data.split(b"\n\n") if event.startswith(b"data: {")]
    assert len(chunks) >= 7
    for chunk in chunks:
        # In words the description says that it is null in all but the last chunk, as OpenAI sends it.
        if chunk["usage"] is None:
            del chunk["usage"]
        assert list(published.openai("CreateChatCompletionStreamResponse")(chunk)) == [], chunk


def test_errors_are_described() -> None:
    """And the error that ends it."""
    failed = CODEC.read_error(529, {}, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert (failed.type, failed.message) == ("overloaded_error", "Overloaded")
    assert list(published.openai("ErrorResponse")(CODEC.write_error(failed))) == []
