"""What a recorded reply answers, read the plain way from the whole recording: text, tool calls, why it ended.

Independent of the program's codecs, as `recorded_usage` is of its meters: whole bodies, one expression per format.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.corpus import Line
from tests.e2e.recorded_usage import documents, recorded_tokens

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`end` is "end", "length" or "tools". Arguments are parsed. Tokens are the whole input and the whole output."""

    text: str
    calls: tuple[tuple[str, Any], ...]
    end: str
    input: int | None
    output: int | None


# What the plain reading below has no words for: recordings with anything else in them are not for this test.
def _chat(events: list[Json], *, whole: bool) -> tuple[str, list[tuple[str, Any]], str | None] | None:
    text, end, calls = "", None, dict[int, list[str]]()
    for event in events:
        for choice in event.get("choices") or []:
            message = choice.get("message" if whole else "delta") or {}
            if choice.get("index") or message.get("audio") or message.get("refusal") or message.get("annotations"):
                return None
            if message.get("function_call"):
                return None
            text += message.get("content") or ""
            for place, call in enumerate(message.get("tool_calls") or []):
                if call.get("type", "function") != "function":
                    return None
                found = calls.setdefault(call.get("index", place), ["", ""])
                found[0] += call["function"].get("name") or ""
                found[1] += call["function"].get("arguments") or ""
            end = choice.get("finish_reason") or end
    ends = {"stop": "end", "length": "length", "tool_calls": "tools"}
    return text, [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()], ends.get(end or "")


def _responses(events: list[Json], *, whole: bool) -> tuple[str, list[tuple[str, Any]], str | None] | None:
    reply = events[-1] if whole else events[-1].get("response") or {}
    text, calls = "", []
    for item in reply.get("output") or []:
        if item["type"] == "message":
            if any(part["type"] != "output_text" or part.get("annotations") for part in item["content"]):
                return None
            text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "function_call":
            calls.append((item["name"], json.loads(item["arguments"] or "{}")))
        elif item["type"] != "reasoning":
            return None
    if reply.get("status") == "incomplete":
        return text, calls, "length" if reply["incomplete_details"]["reason"] == "max_output_tokens" else None
    return text, calls, ("tools" if calls else "end") if reply.get("status") == "completed" else None


def _anthropic(events: list[Json], *, whole: bool) -> tuple[str, list[tuple[str, Any]], str | None] | None:
    text, calls, end, pieces = "", list[tuple[str, Any]](), None, dict[int, list[str]]()
    if whole:
        for block in events[-1]["content"]:
            if block["type"] == "text" and not block.get("citations"):
                text += block["text"]
            elif block["type"] == "tool_use":
                calls.append((block["name"], block["input"]))
            elif block["type"] not in ("thinking", "redacted_thinking"):
                return None
        end = events[-1]["stop_reason"]
    for event in [] if whole else events:
        kind, delta = event.get("type"), event.get("delta") or {}
        if kind == "content_block_start":
            block = event["content_block"]
            if block["type"] not in ("text", "tool_use", "thinking", "redacted_thinking"):
                return None
            if block["type"] == "tool_use":
                pieces[event["index"]] = [block["name"], ""]
        elif delta.get("type") == "text_delta":
            text += delta["text"]
        elif delta.get("type") == "input_json_delta" and event["index"] in pieces:
            pieces[event["index"]][1] += delta["partial_json"]
        elif delta.get("type") == "citations_delta":
            return None
        elif kind == "message_delta":
            end = delta.get("stop_reason")
    calls += [(name, json.loads(arguments or "{}")) for name, arguments in pieces.values()]
    return text, calls, {"end_turn": "end", "max_tokens": "length", "tool_use": "tools"}.get(end or "")


def _gemini(events: list[Json], *, whole: bool) -> tuple[str, list[tuple[str, Any]], str | None] | None:
    text, calls, end = "", list[tuple[str, Any]](), None
    for event in events:
        for candidate in event.get("candidates") or []:
            if candidate.get("groundingMetadata") or candidate.get("citationMetadata") or candidate.get("index"):
                return None
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("thought"):
                    continue
                if part.keys() - {"text", "functionCall", "thoughtSignature"}:
                    return None
                text += part.get("text", "")
                if "functionCall" in part:
                    calls.append((part["functionCall"]["name"], part["functionCall"].get("args") or {}))
            end = candidate.get("finishReason") or end
    ended = {"STOP": "tools" if calls else "end", "MAX_TOKENS": "length"}.get(str(end))
    return text, calls, ended


READ: dict[str, Callable[..., tuple[str, list[tuple[str, Any]], str | None] | None]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic_messages": _anthropic,
    "gemini_generate": _gemini,
}


def recorded_answer(line: Line) -> Answer | None:
    """What that reply answers; None if there is anything in it that this reading has no words for."""
    found = documents(line)
    if not line.ok or not found or any("error" in each and each["error"] for each in found):
        return None
    whole = line.reply_text is None
    try:
        read = READ[line.family](found, whole=whole)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if read is None or read[2] is None or not (read[0] or read[1]):
        return None
    tokens = recorded_tokens(line)
    if tokens is None or tokens.input is None or tokens.output is None:
        return None
    return Answer(read[0], tuple(read[1]), read[2], tokens.input, tokens.output)
