"""Where the content of a stream begins, for `hold: content`: what comes before it says nothing, in every format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interpose.formats.meters import meter_for

from .test_meters import AWS, CONVERSE, SSE, START, chunk, frame, sse

LINES = "application/x-ndjson"


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **fields}}


ROLE = delta(role="assistant", content="", refusal=None, tool_calls=[])
CALLED = delta(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}])
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m", "output": [], "error": None}}
COHERE = {"type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}}

# wire: what says nothing, then events each of which is a beginning.
BEGINNINGS: dict[str, tuple[str, bytes, list[bytes]]] = {
    "openai-chat": (
        SSE,
        b": ping\n\n" + sse({"choices": [], "prompt_filter_results": []}, ROLE),
        [
            sse(delta(content="H")),
            sse(delta(reasoning_content="H")),
            sse(CALLED),
            sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}),
        ],
    ),
    "openai-responses": (
        SSE,
        sse(
            CREATED,
            CREATED | {"type": "response.in_progress"},
            {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
            {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
        ),
        [
            sse({"type": "response.output_text.delta", "delta": "H"}),
            sse({"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}),
            sse({"type": "response.output_item.done", "item": {"type": "reasoning", "summary": []}}),
            sse({"type": "response.incomplete", "response": {"output": []}}),
        ],
    ),
    "anthropic": (
        SSE,
        sse(START, {"type": "ping"}, block("thinking", thinking="", signature=""), block("text", text="")),
        [
            sse({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "H"}}),
            sse({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "H"}}),
            sse({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}}),
            sse(block("tool_use", id="t", name="f", input={})),
            sse({"type": "message_stop"}),
        ],
    ),
    "gemini": (
        SSE,
        sse({"candidates": [{"content": {"parts": [{"text": ""}]}}], "usageMetadata": {"promptTokenCount": 4}}),
        [
            sse({"candidates": [{"content": {"parts": [{"text": "H"}]}}]}),
            sse({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]}),
            sse({"candidates": [{"content": {"parts": [{"inlineData": {"data": "AA=="}}]}}]}),
            sse({"promptFeedback": {"blockReason": "SAFETY"}}),
        ],
    ),
    "gemini-interactions": (
        SSE,
        sse(
            {"event_type": "interaction.created", "interaction": {"model": "g"}},
            {"event_type": "step.start", "step": {"type": "model_output"}},
        ),
        [
            sse({"event_type": "step.delta", "delta": {"type": "text", "text": "H"}}),
            sse({"event_type": "step.start", "step": {"type": "function_call", "name": "f"}}),
        ],
    ),
    "bedrock-converse": (
        AWS,
        frame("messageStart", {"role": "assistant"}) + frame("contentBlockStart", {"start": {}}),
        [
            frame("contentBlockDelta", {"delta": {"text": "H"}}),
            frame("contentBlockDelta", {"delta": {"reasoningContent": {"signature": "x"}}}),
            frame("contentBlockStart", {"start": {"toolUse": {"name": "f", "toolUseId": "t"}}}),
            b"".join(CONVERSE),
        ],
    ),
    "bedrock-invoke": (
        AWS,
        chunk(START) + chunk(block("text", text="")),
        [
            chunk({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "H"}}),
            chunk(block("tool_use", id="t", name="f", input={})),
        ],
    ),
    "cohere": (
        SSE,
        sse(COHERE, {"type": "content-start", "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        [
            sse({"type": "content-delta", "delta": {"message": {"content": {"text": "H"}}}}),
            sse({"type": "tool-call-start", "delta": {"message": {"tool_calls": {"function": {"name": "f"}}}}}),
            sse({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}),
        ],
    ),
    "ollama": (
        LINES,
        lines({"model": "l", "message": {"role": "assistant", "content": ""}, "done": False}),
        [
            lines({"message": {"role": "assistant", "content": "H"}}),
            lines({"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}}),
            lines({"done": True}),
        ],
    ),
    "openai-other": (
        SSE,
        sse({"type": "transcript.started"}),
        [
            sse({"type": "transcript.text.delta", "delta": "H"}),
            sse({"type": "image_generation.partial_image", "b64_json": "AA=="}),
        ],
    ),
}
CASES = [
    pytest.param(wire, kind, before, event, id=f"{wire}-{number}")
    for wire, (kind, before, events) in BEGINNINGS.items()
    for number, event in enumerate(events)
]


@pytest.mark.parametrize(("wire", "kind", "before", "event"), CASES)
def test_content_begins_with_its_first_event(wire: str, kind: str, before: bytes, event: bytes) -> None:
    """Not with the preamble, however it is cut, and with the first text, thought or call of a tool."""
    for step in (1, 7, len(before)):
        meter = meter_for(wire, kind)
        for start in range(0, len(before), step):
            meter.feed(before[start : start + step])
            assert not meter.begun
        assert meter.error is None
        meter.feed(event)
        assert meter.begun


@pytest.mark.parametrize("wire", ["anthropic", "openai-chat", "gemini"])
def test_an_error_is_no_content(wire: str) -> None:
    """It is told as one, and nothing has begun."""
    meter = meter_for(wire, SSE)
    meter.feed(BEGINNINGS[wire][1] + sse({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}))
    assert (meter.begun, meter.error) == (False, "Busy")


def test_what_cannot_be_read_is_let_go() -> None:
    """A stream whose framing is broken, or a body that nobody reads, is not withheld."""
    broken = meter_for("bedrock-converse", AWS)
    broken.feed(b"\0" * 64)
    assert broken.begun
    assert meter_for("none", SSE).begun
