"""What was said in a recorded call, read without any of the codecs: every text of its request, and of its reply, whole
or streamed (then put together by the few rules of each format). A yardstick for transcripts; it knows no roles.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.corpus import Line

# Where words stand, in any format.
WORDS = frozenset(
    (
        *("text", "content", "thinking", "reasoning", "reasoning_content", "refusal", "output", "input", "message"),
        *("prompt", "instructions", "system", "systemInstruction", "preamble", "tool_plan", "response", "question"),
    )
)
# Below these, nothing is anybody's words: schemas, settings, what only a provider can read, vectors, sources.
OTHER = frozenset(
    (
        *("tools", "functions", "toolConfig", "tool_config", "tool_choice", "response_format", "text_format"),
        *("generationConfig", "safetySettings", "output_format", "output_config", "include", "labels", "meta"),
        *("signature", "data", "encrypted_content", "thoughtSignature", "thought_signature", "redactedContent"),
        *("logprobs", "annotations", "citations", "embedding", "embeddings", "documents", "results", "obfuscation"),
        *("input_audio", "source", "image_url", "file", "inlineData", "reasoning_details", "response_metadata"),
        *("additionalModelRequestFields", "additionalModelResponseFields", "metadata", "usage", "groundingMetadata"),
        *("prompt_filter_results", "content_filter_results", "content_filter_result"),
    )
)
# Whose values are an object of a tool's: every text in it counts.
ARGUMENTS = frozenset(("arguments", "args", "parameters"))


def texts(value: Any, key: str = "") -> Iterator[str]:
    """The texts of a document."""
    if isinstance(value, str):
        if key in ARGUMENTS:
            yield from _inside(value)
        elif key in WORDS:
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, key)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in OTHER:
                continue
            if name in ARGUMENTS or (name == "input" and value.get("type") == "tool_use"):
                yield from _leaves(each) if not isinstance(each, str) else _inside(each)
            else:
                yield from texts(each, name)


def _inside(written: str) -> Iterator[str]:
    try:
        yield from _leaves(json.loads(written))
    except ValueError:
        yield written


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)


# --- streams ----------------------------------------------------------------------------------------------------------


def events(line: Line) -> list[Any]:
    """The events of a streamed reply, whatever frames them."""
    body = line.reply_bytes()
    if body[:1] == b"\0":
        return list(_frames(body))
    found = []
    for row in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        data = row.removeprefix("data:").strip() if row.startswith("data:") else row.strip()
        if data.startswith("{"):
            try:
                found.append(json.loads(data))
            except ValueError:  # some recordings break off
                continue
    return found


def _frames(body: bytes) -> Iterator[Any]:
    """https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html"""
    at = 0
    while at < len(body):
        total, headers = struct.unpack_from(">II", body, at)
        payload = body[at + 12 + headers : at + total - 4]
        value = json.loads(payload) if payload else {}
        yield json.loads(base64.b64decode(value["bytes"])) if "bytes" in value else value
        at += total


def document(line: Line) -> dict[str, Any] | None:
    """The reply, if it is one document."""
    if line.reply_json is None and line.reply_text is not None and line.reply_text.lstrip()[:1] == "{":
        try:
            found = json.loads(line.reply_text)
        except ValueError:  # lines of them
            return None
        return found if "done" not in found or len(found) > 1 else None
    return line.reply_json if isinstance(line.reply_json, dict) else None


WHOLE = ("whole",)


def streamed(line: Line) -> Iterator[str]:
    """The texts of a stream: what its deltas of one place come to."""
    if (whole := document(line)) is not None:
        # Responses echoes what was asked, with what a stored prompt has put into it.
        yield from texts({key: value for key, value in whole.items() if key != "instructions"})
        return
    joined: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    begun = 0
    for number, event in enumerate(events(line)):
        begun += event.get("type") == "message_start"
        if event.get("type") == "response.completed":
            break  # some recordings hold several replies, one behind the other
        for place, piece in _pieces(event):
            # What comes whole is joined with nothing.
            joined[(number, len(joined)) if place == WHOLE else (begun, *place)].append(piece)
    for place, pieces in joined.items():
        whole = "".join(pieces)
        yield from _inside(whole) if place[-1] == "arguments" else [whole]


def _pieces(event: dict[str, Any]) -> Iterator[tuple[tuple[object, ...], str]]:
    kind = event.get("type", "")
    if kind.startswith("response."):
        if kind.endswith(".delta") and isinstance(event.get("delta"), str) and "audio.delta" not in kind:
            what = "arguments" if "arguments" in kind else kind
            place = (event.get(key) for key in ("output_index", "content_index", "summary_index", "command_index"))
            yield (*place, what), event["delta"]
        return
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        for key in ("content", "reasoning_content", "reasoning", "refusal"):
            if isinstance(delta.get(key), str):
                yield (choice.get("index"), key), delta[key]
        if isinstance(choice.get("text"), str):
            yield (choice.get("index"), "text"), choice["text"]
        for call in delta.get("tool_calls") or ():
            arguments = (call.get("function") or {}).get("arguments")
            if isinstance(arguments, str):
                yield (choice.get("index"), call.get("index"), "arguments"), arguments
    for candidate in event.get("candidates") or ():
        for part in (candidate.get("content") or {}).get("parts") or ():
            yield from ((WHOLE, text) for text in texts(part))
    if "contentBlockIndex" in event or kind == "content_block_delta":
        delta = event.get("delta") or {}
        place = event.get("contentBlockIndex", event.get("index"))
        for key in ("text", "thinking"):
            if isinstance(delta.get(key), str):
                yield (place, key), delta[key]
        for written in (delta.get("partial_json"), (delta.get("toolUse") or {}).get("input")):
            if isinstance(written, str):
                yield (place, "arguments"), written
        if isinstance(reasoning := delta.get("reasoningContent"), dict) and "text" in reasoning:
            yield (place, "reasoning"), reasoning["text"]
    if kind in ("content-delta", "tool-plan-delta", "tool-call-delta"):
        message = (event.get("delta") or {}).get("message") or {}
        content = message.get("content") if isinstance(message.get("content"), dict) else {}
        for key in ("text", "thinking"):
            if isinstance(content.get(key), str):
                yield (event.get("index"), key), content[key]
        if isinstance(message.get("tool_plan"), str):
            yield ("tool_plan",), message["tool_plan"]
        if isinstance(call := message.get("tool_calls"), dict):
            yield (event.get("index"), "arguments"), call["function"]["arguments"]
    if event.get("event_type") == "text-generation":
        yield ("text",), event["text"]
    if isinstance(message := event.get("message"), dict) and "done" in event:
        for key in ("content", "thinking"):
            if isinstance(message.get(key), str):
                yield (key,), message[key]
        for call in message.get("tool_calls") or ():
            yield from ((WHOLE, text) for text in _leaves(call["function"]["arguments"]))
