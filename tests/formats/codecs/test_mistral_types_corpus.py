"""What Mistral's codec writes is what Mistral's published description says, and what mistralai's own types take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.formats.codecs.made import everything
from tests.formats.codecs.published import flaws
from tests.formats.codecs.recordings import replies_of, requests_of
from tests.formats.codecs.sdk_types import read_by_sdk, unread

from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import Client, Target
from interpose.formats.codecs.mistral import CODEC
from interpose.ir import Losses, Refused, Request, Text, ToolCall, events_of

MODEL = "mistral-small-latest"
TARGET = Target(MODEL, capabilities_of(MODEL))
# Each family's requests in the words of its codec; those that Mistral has no place for are told as impossible.
FAMILIES = {"openai_chat": "openai-chat", "anthropic_messages": "anthropic", "gemini_generate": "gemini"}


def converted() -> Iterator[dict[str, Any]]:
    """Recorded requests of other formats, as they would be sent to Mistral."""
    for read in requests_of(FAMILIES, 150):
        losses = Losses()
        written = CODEC.write_request(read, TARGET, losses).body
        if not losses.impossibilities:
            yield written


def test_requests_are_described_and_typed() -> None:
    """A request with everything in it, and recorded ones of other formats, suit description and SDK."""
    bodies = [CODEC.write_request(everything(), TARGET, Losses()).body, *converted()]
    for body in bodies:
        assert flaws("mistral", body) == [], json.dumps(body)[:2000]
    read = read_by_sdk("mistral_types", [("request", body) for body in bodies])
    for body, told in zip(bodies, read, strict=True):
        assert unread(body, told) == []
    assert len(bodies) >= 300


def client_for(model: str) -> Client:
    return Client(Request("mistral", model, []), model, "call-1", 1_700_000_000)


Said = tuple[str, str, list[tuple[str, str, str]], str]


def said_by(message: dict[str, Any], reason: str) -> Said:
    """Text, thinking, calls and finish reason of a message."""
    content = message.get("content") or ""
    chunks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "".join(chunk["text"] for chunk in chunks if chunk["type"] == "text")
    thought = "".join(inner["text"] for chunk in chunks for inner in chunk.get("thinking") or ())
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    return text, thought, calls, reason


def joined(chunks: list[dict[str, Any]], index: int) -> Said:
    """The same of the pieces of one answer, one after the other."""
    text, thought, calls, reason = "", "", [], ""
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] == index:
                more = said_by(choice["delta"], choice["finish_reason"] or "")
                text, thought, calls, reason = text + more[0], thought + more[1], calls + more[2], reason + more[3]
    return text, thought, calls, reason


def test_replies_and_streams_are_read_by_the_sdk() -> None:
    """Whole and streamed, the SDK reads the same text, thinking, calls, reason and usage out of another's answer."""
    replies = list(replies_of(FAMILIES, 80))
    wholes, streams = [], []
    for reply in replies:
        wholes.append(CODEC.write_reply(reply, client_for(reply.model), Losses("reply")))
        writer = CODEC.writer(client_for(reply.model), Losses("reply"))
        streams.append((writer.write(events_of(reply)) + writer.finish()).decode())
    read = read_by_sdk("mistral_types", [("reply", whole) for whole in wholes])
    heard = read_by_sdk("mistral_types", [("stream", text) for text in streams])
    for reply, whole, told, chunks in zip(replies, wholes, read, heard, strict=True):
        assert unread(whole, told) == []
        assert chunks[-1]["usage"] == told["usage"]
        for answer, choice in zip(reply.answers, told["choices"], strict=True):
            said = said_by(choice["message"], choice["finish_reason"])
            assert joined(chunks, choice["index"]) == said
            assert said[0] == "".join(block.text for block in answer.blocks if isinstance(block, Text | Refused))
            assert len(said[2]) == sum(isinstance(block, ToolCall) for block in answer.blocks)
    assert len(replies) >= 200
