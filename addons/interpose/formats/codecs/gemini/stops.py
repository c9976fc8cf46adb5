"""Why an answer ended: https://ai.google.dev/api/generate-content#FinishReason and #BlockReason."""

from __future__ import annotations

from typing import Any

from interpose.ir import Block, Stop, ToolCall

from .spelling import NAME

# What a number stands for, where a client had asked for numbers. Above 5 Google AI and Vertex differ; these are Google
# AI's: https://github.com/googleapis/googleapis/blob/master/google/ai/generativelanguage/v1beta/generative_service.proto
NUMBERS = (
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
)
# The zero value of an enum in proto3: not a reason.
UNSPECIFIED = frozenset(("", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"))

_REASONS: dict[str, Any] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "JAILBREAK": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "MALFORMED_RESPONSE": "error",
    "CONTINUATION": "pause",
}
_WORDS = {
    "end": "STOP",
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}


def word_of(told: object) -> str | None:
    """The reason's name, from a name or a number; None for none."""
    if type(told) is int:
        return (NUMBERS[told] if told < len(NUMBERS) else str(told)) if told > 0 else None
    return told if isinstance(told, str) and told not in UNSPECIFIED else None


def stop_of(word: str, blocks: list[Block]) -> Stop:
    """Gemini says STOP when it calls functions too."""
    reason = _REASONS.get(word, "other")
    if word == "STOP" and any(isinstance(block, ToolCall) for block in blocks):
        reason = "tool_calls"
    return Stop(reason, format=NAME, raw=word)


def blocked(word: str) -> Stop:
    """For a prompt that was blocked, whatever for."""
    return Stop("content_filter", format=NAME, raw=word)


def word_for(stop: Stop) -> str:
    if stop.format == NAME and stop.raw is not None:
        return stop.raw
    return _WORDS.get(stop.reason, "OTHER")
