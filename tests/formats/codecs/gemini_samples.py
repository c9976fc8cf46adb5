"""What the tests of the Gemini codec have in common: conversations, chunks and streams made by hand."""

from __future__ import annotations

import json
from typing import Any

from google.genai import types
from hypothesis import strategies as st
from tests.formats.codecs import laws

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Client, Target, Written
from interpose.formats.codecs.gemini import CODEC
from interpose.ir import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Finished,
    Losses,
    Media,
    Message,
    Opaque,
    Ping,
    Refused,
    Reply,
    Request,
    Source,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    ToolResult,
    Usage,
    Used,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STREAM = Asked("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "alt=sse")


def written(request: Request, model: str = "gemini-2.5-flash", **able: Any) -> tuple[Written, list[tuple[str, str]]]:
    """What is written, and the losses as (severity, path)."""
    losses = Losses()
    found = CODEC.write_request(request, Target(model, Capabilities(**able)), losses)
    accepted(found.body)
    return found, [(loss.severity.value, loss.path) for loss in losses]


def accepted(body: dict[str, Any]) -> None:
    """The SDK's own types take it; they forbid what they do not know."""
    for content in [*body["contents"], *([body["systemInstruction"]] if "systemInstruction" in body else [])]:
        types.Content.model_validate(content)
        assert content["parts"]
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    if "toolConfig" in body:
        types.ToolConfig.model_validate(body["toolConfig"])
    if "generationConfig" in body:
        types.GenerationConfig.model_validate(body["generationConfig"])
    unknown = set(body) - {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
    assert not unknown, unknown


def ask(*messages: Message, **more: Any) -> Request:
    return Request("openai", "gpt-9", list(messages), **more)


def user(*blocks: Any) -> Message:
    return Message("user", list(blocks))


def client(request: Request | None = None, model: str = "gemini-2.5-flash") -> Client:
    return Client(request or Request("gemini", model, []), model, "id-1", 1_700_000_000)


def chunk(*parts: dict[str, Any], **more: Any) -> bytes:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    return (
        b"data: "
        + json.dumps({"candidates": [candidate], "modelVersion": "m", "responseId": "r"}).encode()
        + b"\r\n\r\n"
    )


def read(data: bytes) -> Reply:
    found = laws.collected(CODEC, laws.every_split(CODEC, data))
    assert found.failure is None, found.failure
    return found.reply


def events(*, end: bool = True) -> list[Event]:
    """A stream of another format's: blocks side by side, pings, usage at the end."""
    found: list[Event] = [
        Started("msg_1", "claude", usage=Usage(input_tokens=5)),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "hm"),
        BlockDelta(0, opaque=Opaque("anthropic", "signature", "sig")),
        BlockEnd(0),
        Ping(),
        BlockStart(1, Text("")),
        BlockDelta(1, "he"),
        BlockStart(2, ToolCall("toolu_1", "f", "")),
        BlockStart(3, ToolCall("toolu_2", "g", "")),
        BlockDelta(3, '{"b"'),
        BlockDelta(2, '{"a":'),
        BlockDelta(1, "llo", citation=Citation("https://example.com", "E", "q")),
        BlockDelta(3, ":2}"),
        BlockEnd(3),
        BlockEnd(1),
        BlockDelta(2, "1}"),
        BlockEnd(2),
        Told("anthropic", {"fingerprint": "x"}),
    ]
    if end:
        found += [Finished(Stop("tool_calls")), Used(Usage(input_tokens=5, output_tokens=9))]
    return found


def write(found: list[Event], request: Request | None = None) -> tuple[bytes, Losses]:
    losses = Losses("reply")
    writer = CODEC.writer(client(request), losses)
    data = b"".join(writer.write([event]) for event in found)
    return data + writer.finish(), losses


BLOCKS = st.one_of(
    st.builds(Text, st.text(max_size=5)),
    st.builds(Thinking, st.text(max_size=5), opaque=st.none() | st.just(Opaque("anthropic", "signature", "s"))),
    st.builds(ToolCall, st.sampled_from(["a", "b", "c"]), st.sampled_from(["f", "g"]), st.just("{}")),
    st.builds(ToolResult, st.sampled_from(["a", "b", "z"]), st.lists(st.builds(Text, st.text(max_size=5)), max_size=2)),
    st.just(Media("image", Source("base64", PNG), "image/png")),
    st.builds(Refused, st.text(max_size=5)),
)
MESSAGES = st.lists(
    st.builds(
        Message, st.sampled_from(["system", "developer", "user", "assistant", "tool"]), st.lists(BLOCKS, max_size=3)
    ),
    max_size=8,
)
