"""What a recorded reply answers, read the plain way from the whole recording: text, tool calls, why it ended.

Independent of the program's codecs, as `recorded_usage` is of its meters: whole bodies, one expression per format.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.corpus import Line
from tests.e2e.recorded_usage import FAMILIES, documents

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`end` is "end", "length" or "tools". Arguments are parsed. Tokens are the whole input and the whole output.

    What was thought is not compared: not every format shows it.
    """

    text: str
    calls: tuple[tuple[str, Any], ...]
    end: str
    input: int | None
    output: int | None
    thought: str = field(default="", compare=False)


class Reading(NamedTuple):
    text: str
    calls: list[tuple[str, Any]]
    end: str | None
    thought: str = ""


# What the plain reading below has no words for: recordings with anything else in them are not for this test.
def _chat(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, end, calls = "", "", None, dict[int, list[str]]()
    for event in events:
        for choice in event.get("choices") or []:
            message = choice.get("message" if whole else "delta") or {}
            if choice.get("index") or message.get("audio") or message.get("refusal") or message.get("annotations"):
                return None
            if message.get("function_call"):
                return None
            said = message.get("content") or ""
            for chunk in [{"type": "text", "text": said}] if isinstance(said, str) else said:
                if chunk["type"] == "thinking":
                    thought += "".join(part["text"] for part in chunk["thinking"])
                elif chunk["type"] != "text":
                    return None
                else:
                    text += chunk["text"]
            thought += message.get("reasoning_content") or ""
            for place, call in enumerate(message.get("tool_calls") or []):
                if (call.get("type") or "function") not in ("function", "null"):
                    return None
                found = calls.setdefault(call.get("index", place), ["", ""])
                found[0] += call["function"].get("name") or ""
                found[1] += call["function"].get("arguments") or ""
            end = choice.get("finish_reason") or end
    ends = {"stop": "end", "length": "length", "tool_calls": "tools"}
    found = [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]
    return Reading(text, found, ends.get(end or ""), thought)


def _responses(events: list[Json], *, whole: bool) -> Reading | None:
    reply = events[-1] if whole else events[-1].get("response") or {}
    text, thought, calls = "", "", []
    for item in reply.get("output") or []:
        if item["type"] == "message":
            if any(part["type"] != "output_text" or part.get("annotations") for part in item["content"]):
                return None
            text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "function_call":
            calls.append((item["name"], json.loads(item["arguments"] or "{}")))
        elif item["type"] == "reasoning":
            thought += "".join(part["text"] for part in [*item["summary"], *(item.get("content") or [])])
        else:
            return None
    if reply.get("status") == "incomplete":
        long = reply["incomplete_details"]["reason"] == "max_output_tokens"
        return Reading(text, calls, "length" if long else None, thought)
    end = ("tools" if calls else "end") if reply.get("status") == "completed" else None
    return Reading(text, calls, end, thought)


CLAUDE = {"end_turn": "end", "max_tokens": "length", "tool_use": "tools"}


def _anthropic(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, calls, end, pieces = "", "", list[tuple[str, Any]](), None, dict[int, list[str]]()
    if whole:
        for block in events[-1]["content"]:
            if block["type"] == "text" and not block.get("citations"):
                text += block["text"]
            elif block["type"] == "tool_use":
                calls.append((block["name"], block["input"]))
            elif block["type"] == "thinking":
                thought += block["thinking"]
            elif block["type"] != "redacted_thinking":
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
        elif delta.get("type") == "thinking_delta":
            thought += delta["thinking"]
        elif delta.get("type") == "input_json_delta" and event["index"] in pieces:
            pieces[event["index"]][1] += delta["partial_json"]
        elif delta.get("type") == "citations_delta":
            return None
        elif kind == "message_delta":
            end = delta.get("stop_reason")
    calls += [(name, json.loads(arguments or "{}")) for name, arguments in pieces.values()]
    return Reading(text, calls, CLAUDE.get(end or ""), thought)


def _gemini(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, calls, end = "", "", list[tuple[str, Any]](), None
    for event in events:
        for candidate in event.get("candidates") or []:
            if candidate.get("groundingMetadata") or candidate.get("citationMetadata") or candidate.get("index"):
                return None
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("thought"):
                    thought += part.get("text", "")
                    continue
                if part.keys() - {"text", "functionCall", "thoughtSignature"}:
                    return None
                text += part.get("text", "")
                if "functionCall" in part:
                    calls.append((part["functionCall"]["name"], part["functionCall"].get("args") or {}))
            end = candidate.get("finishReason") or end
    ended = {"STOP": "tools" if calls else "end", "MAX_TOKENS": "length"}.get(str(end))
    return Reading(text, calls, ended, thought)


def _converse(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, calls, end, pieces = "", "", list[tuple[str, Any]](), None, dict[int, list[str]]()
    if whole:
        end = events[-1]["stopReason"]
        for block in events[-1]["output"]["message"]["content"]:
            if "text" in block:
                text += block["text"]
            elif "toolUse" in block:
                calls.append((block["toolUse"]["name"], block["toolUse"]["input"]))
            elif "reasoningContent" in block:
                thought += block["reasoningContent"].get("reasoningText", {}).get("text", "")
            else:
                return None
    for event in [] if whole else events:
        place, delta = event.get("contentBlockIndex", 0), event.get("delta") or {}
        if event.get("start"):
            pieces[place] = [event["start"]["toolUse"]["name"], ""]
        elif "toolUse" in delta:
            pieces[place][1] += delta["toolUse"]["input"]
        elif "reasoningContent" in delta:
            thought += delta["reasoningContent"].get("text", "")
        elif delta:
            text += delta["text"]
        end = event.get("stopReason", end)
    calls += [(name, json.loads(arguments or "{}")) for name, arguments in pieces.values()]
    return Reading(text, calls, CLAUDE.get(end or ""), thought)


def _cohere(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, end, calls = "", "", None, dict[int, list[str]]()
    for event in events:
        message = event["message"] if whole else (event.get("delta") or {}).get("message") or {}
        if message.get("citations"):
            return None
        text += message.get("tool_plan") or ""
        content = message.get("content") or []
        for part in content if isinstance(content, list) else [content]:
            text += part.get("text") or ""
            thought += part.get("thinking") or ""
        called = message.get("tool_calls") or []
        for place, call in enumerate(called if isinstance(called, list) else [called]):
            found = calls.setdefault(event.get("index", place), ["", ""])
            found[0] += call["function"].get("name") or ""
            found[1] += call["function"].get("arguments") or ""
        end = event.get("finish_reason") or (event.get("delta") or {}).get("finish_reason") or end
    ends = {"COMPLETE": "end", "MAX_TOKENS": "length", "TOOL_CALL": "tools"}
    parsed = [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]
    return Reading(text, parsed, ends.get(end or ""), thought)


def _ollama(events: list[Json], *, whole: bool) -> Reading | None:
    text, thought, calls, end = "", "", list[tuple[str, Any]](), None
    for event in events:
        message = event["message"]
        text += message.get("content") or ""
        thought += message.get("thinking") or ""
        calls += [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
        end = event.get("done_reason", end)
    return Reading(text, calls, {"stop": "tools" if calls else "end", "length": "length"}.get(end or ""), thought)


READ: dict[str, Callable[..., Reading | None]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic_messages": _anthropic,
    "gemini_generate": _gemini,
    "bedrock_invoke": _anthropic,
    "bedrock_converse": _converse,
    "mistral_chat": _chat,
    "cohere_chat": _cohere,
    "ollama": _ollama,
}


def recorded_answer(line: Line) -> Answer | None:
    """What that reply answers; None if there is anything in it that this reading has no words for."""
    found = documents(line)
    if not line.ok or not found or any("error" in each and each["error"] for each in found):
        return None
    whole = line.reply_text is None and line.reply_b64 is None
    try:
        read = READ[line.family](found, whole=whole)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if read is None or read.end is None or not (read.text or read.calls):
        return None
    tokens = FAMILIES[line.family](found)
    if tokens.input is None or tokens.output is None:
        return None
    return Answer(read.text, tuple(read.calls), read.end, tokens.input, tokens.output, read.thought)
