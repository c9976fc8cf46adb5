"""What Cohere's codec writes for clients is what cohere's own SDK reads, whole and streamed."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tests.formats.codecs import laws
from tests.formats.codecs.made import everything
from tests.formats.codecs.published import flaws
from tests.formats.codecs.recordings import replies_of
from tests.formats.codecs.sdk_types import read_by_sdk

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.codecs.cohere import CODEC
from interpose.ir import Losses, Refused, Request, Text, Thinking, ToolCall, events_of

FAMILIES = {
    "openai_chat": "openai-chat",
    "anthropic_messages": "anthropic",
    "gemini_generate": "gemini",
    "openai_responses": "openai-responses",
    "mistral_chat": "mistral",
}


def test_a_request_with_everything_in_it_is_described() -> None:
    """By the types of the SDK, which take no key that they do not name; recorded ones are tried with every format's."""
    body = CODEC.write_request(everything(), Target("m", Capabilities(thinking="budget")), Losses()).body
    assert flaws("cohere", body) == []


def client_for(model: str) -> Client:
    return Client(Request("cohere", model, []), model, "call-1", 1_700_000_000)


def collected(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a program of Cohere's SDK collects of the events that it is given."""
    contents: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[str, Any]] = {}
    citations: list[Any] = []
    for event in events:
        message = event.get("delta", {}).get("message", {})
        match event["type"]:
            case "content-start":
                assert event["index"] == len(contents)
                contents[event["index"]] = message["content"]
            case "content-delta":
                for key, text in message["content"].items():
                    contents[event["index"]][key] = contents[event["index"]].get(key, "") + text
            case "tool-call-start":
                assert event["index"] == len(calls)
                calls[event["index"]] = message["tool_calls"]
            case "tool-call-delta":
                call = message["tool_calls"]
                calls[event["index"]]["function"]["arguments"] += call["function"]["arguments"]
                calls[event["index"]] |= {key: value for key, value in call.items() if key != "function"}
            case "citation-start":
                citations.append(message["citations"])
    message = {"role": "assistant"}
    for key, value in (
        ("content", list(contents.values())),
        ("tool_calls", list(calls.values())),
        ("citations", citations),
    ):
        if value:
            message[key] = value
    assert (events[0]["type"], events[-1]["type"]) == ("message-start", "message-end")
    return {"id": events[0]["id"], "message": message, **events[-1]["delta"]}


def said(blocks: list[Any], kind: Any) -> str:
    return "".join(block.text for block in blocks if isinstance(block, kind))


def test_replies_and_streams_are_read_by_the_sdk() -> None:
    """Whole and streamed, the SDK reads the same text, thinking, calls and usage out of another's answer."""
    replies = list(replies_of(FAMILIES, 80))
    wholes, streams = [], []
    for reply in replies:
        wholes.append(CODEC.write_reply(reply, client_for(reply.model), Losses("reply")))
        writer = CODEC.writer(client_for(reply.model), Losses("reply"))
        streams.append((writer.write(events_of(reply)) + writer.finish()).decode())
    read = read_by_sdk("cohere_replies", [("chat", whole) for whole in wholes])
    heard = read_by_sdk("cohere_replies", [("chat_stream", text) for text in streams])
    for reply, told, events in zip(replies, read, heard, strict=True):
        blocks, message = reply.answers[0].blocks, told["message"]
        parts = message.get("content", [])
        assert "".join(part.get("text", "") for part in parts) == said(blocks, Text | Refused)
        assert "".join(part.get("thinking", "") for part in parts) == said(blocks, Thinking)
        calls = [block.name for block in blocks if isinstance(block, ToolCall)]
        assert [call["function"]["name"] for call in message.get("tool_calls", [])] == calls
        assert told["usage"]["tokens"]["output_tokens"] == (reply.usage.output_tokens or 0)
        whole = {**told, "message": {**message, "content": [part for part in parts if part.get("text") != ""]}}
        streamed = collected(events)
        streamed["message"]["content"] = [
            part for part in streamed["message"].get("content", []) if part.get("text") != ""
        ]
        laws.same(streamed, whole)
    assert len(replies) >= 350


def test_clients_of_the_first_version_read_theirs() -> None:
    """Whole and in lines: the same text, why it ended, and what was used."""
    asked = CODEC.read_request({"model": "m", "message": "Hi"}, Asked("/v1/chat"))
    client = Client(asked, "m", "call-1", 1_700_000_000)
    replies = list(islice(replies_of(FAMILIES, 80), 150))
    pairs: list[tuple[str, Any]] = []
    for reply in replies:
        pairs.append(("first", CODEC.write_reply(reply, client, Losses("reply"))))
        writer = CODEC.writer(client, Losses("reply"))
        pairs.append(("first_stream", (writer.write(events_of(reply)) + writer.finish()).decode()))
    read = read_by_sdk("cohere_replies", pairs)
    for reply, whole, events in zip(replies, read[::2], read[1::2], strict=True):
        text = said(reply.answers[0].blocks, Text | Refused)
        assert whole["text"] == text
        assert "".join(event["text"] for event in events if event["event_type"] == "text-generation") == text
        assert (events[0]["event_type"], events[-1]["event_type"]) == ("stream-start", "stream-end")
        assert events[-1]["finish_reason"] == whole["finish_reason"]
        laws.same(events[-1]["response"], whole)
        assert whole["meta"]["tokens"]["output_tokens"] == (reply.usage.output_tokens or 0)
        assert whole["chat_history"] == [{"role": "USER", "message": "Hi"}, {"role": "CHATBOT", "message": text}]
    assert len(replies) == 150
