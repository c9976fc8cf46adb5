"""What Ollama's codec writes is what Ollama's published description says, and what ollama's own types take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tests.formats.codecs.made import everything
from tests.formats.codecs.published import flaws
from tests.formats.codecs.recordings import replies_of, requests_of
from tests.formats.codecs.sdk_types import read_by_sdk, unread

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.codecs.ollama import CODEC
from interpose.ir import Losses, Refused, Request, Text, Thinking, ToolCall, events_of

TARGET = Target("m", Capabilities(thinking="effort"))
FAMILIES = {
    "openai_chat": "openai-chat",
    "anthropic_messages": "anthropic",
    "gemini_generate": "gemini",
    "openai_responses": "openai-responses",
    "mistral_chat": "mistral",
}


def converted() -> Iterator[dict[str, Any]]:
    """Recorded requests of other formats, as they would be sent to Ollama."""
    for read in requests_of(FAMILIES, 100):
        losses = Losses()
        written = CODEC.write_request(read, TARGET, losses).body
        if not losses.impossibilities:
            yield written


def test_requests_are_described_and_typed() -> None:
    """A request with everything in it, and recorded ones of other formats, suit description and SDK."""
    bodies = [CODEC.write_request(everything(), TARGET, Losses()).body, *converted()]
    for body in bodies:
        assert flaws("ollama", body) == [], json.dumps(body)[:2000]
    read = read_by_sdk("ollama_types", [("chat_request", body) for body in bodies])
    for body, told in zip(bodies, read, strict=True):
        # The SDK knows less of JSON Schema than the server does.
        assert unread({key: value for key, value in body.items() if key not in ("tools", "format")}, told) == []
        assert [tool["function"]["name"] for tool in told.get("tools", ())] == [
            tool["function"]["name"] for tool in body.get("tools", ())
        ]
    assert len(bodies) >= 300


def client_for(model: str) -> Client:
    return Client(Request("ollama", model, []), model, "call-1", 1_700_000_000)


def test_replies_and_streams_are_read_by_the_sdk() -> None:
    """Whole and streamed, the SDK reads the same text, thinking, calls and usage out of another's answer."""
    replies = list(replies_of(FAMILIES, 60))
    wholes, streams = [], []
    for reply in replies:
        wholes.append(CODEC.write_reply(reply, client_for(reply.model), Losses("reply")))
        writer = CODEC.writer(client_for(reply.model), Losses("reply"))
        streams.append((writer.write(events_of(reply)) + writer.finish()).decode())
    read = read_by_sdk("ollama_types", [("chat", whole) for whole in wholes])
    heard = read_by_sdk("ollama_types", [("chat_stream", text) for text in streams])
    for reply, told, parts in zip(replies, read, heard, strict=True):
        message = told["message"]
        assert message["content"] == "".join(part["message"]["content"] for part in parts)
        assert message.get("thinking", "") == "".join(part["message"].get("thinking", "") for part in parts)
        calls = [call for part in parts for call in part["message"].get("tool_calls", ())]
        assert message.get("tool_calls", []) == calls
        for key in ("done", "done_reason", "prompt_eval_count", "eval_count"):
            assert parts[-1][key] == told[key]
        blocks = reply.answers[0].blocks
        assert message["content"] == "".join(block.text for block in blocks if isinstance(block, Text | Refused))
        thoughts = "".join(block.text for block in blocks if isinstance(block, Thinking))
        assert message.get("thinking", "") == thoughts
        assert [call["function"]["name"] for call in calls] == [
            block.name for block in blocks if isinstance(block, ToolCall)
        ]
    assert len(replies) >= 200


def test_prompts_gone_on_with_are_read_by_the_sdk() -> None:
    """Replies and streams of /api/generate, and the recorded requests for them as they are written back."""
    asked = CODEC.read_request({"model": "m", "prompt": "a"}, Asked("/api/generate"))
    client = Client(asked, "m", "call-1", 1_700_000_000)
    replies = list(islice(replies_of(FAMILIES, 60), 100))
    pairs: list[tuple[str, Any]] = []
    for reply in replies:
        whole = CODEC.write_reply(reply, client, Losses("reply"))
        writer = CODEC.writer(client, Losses("reply"))
        pairs.append(("generate", whole))
        pairs.append(("generate_stream", (writer.write(events_of(reply)) + writer.finish()).decode()))
    read = read_by_sdk("ollama_types", pairs)
    for whole, parts in zip(read[::2], read[1::2], strict=True):
        assert whole["response"] == "".join(part["response"] for part in parts)
        assert whole.get("thinking", "") == "".join(part.get("thinking", "") for part in parts)
    assert len(replies) == 100
