"""Replies told in pieces: the events of a stream that amount to a reply, by each format's description of streams."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]


def pieces(text: str, chance: random.Random) -> list[str]:
    """The text in one to four pieces, none empty."""
    cuts = sorted(chance.sample(range(1, len(text)), min(chance.randint(0, 3), len(text) - 1))) if len(text) > 1 else []
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def chat(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://platform.openai.com/docs/api-reference/chat-streaming"""
    head = {key: reply[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint") if key in reply}
    head["object"] = "chat.completion.chunk"

    def chunk(index: int, delta: Json, **more: Any) -> Json:
        return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None, **more}]}

    for index, choice in enumerate(reply.get("choices", ())):
        message = choice["message"]
        yield chunk(index, {"role": "assistant", "content": ""})
        for key in ("content", "refusal"):
            if isinstance(message.get(key), str):
                yield from (chunk(index, {key: piece}) for piece in pieces(message[key], chance))
            elif isinstance(message.get(key), list):
                yield chunk(index, {key: message[key]})
            if key == "content" and message.get("annotations"):
                yield chunk(index, {"annotations": message["annotations"]})
        for place, call in enumerate(message.get("tool_calls") or ()):
            kind = "custom" if "custom" in call else "function"
            key = "input" if kind == "custom" else "arguments"
            inside = dict(call.get(kind) or {})
            said = inside.pop(key, "")
            yield chunk(index, {"tool_calls": [{**call, "index": place, kind: {**inside, key: ""}}]})
            for piece in pieces(said, chance) if isinstance(said, str) else [said]:
                yield chunk(index, {"tool_calls": [{"index": place, kind: {key: piece}}]})
        if isinstance(call := message.get("function_call"), dict):
            yield chunk(index, {"function_call": {"name": call["name"], "arguments": ""}})
            for piece in pieces(call["arguments"], chance):
                yield chunk(index, {"function_call": {"arguments": piece}})
        if isinstance(sound := message.get("audio"), dict):
            yield chunk(index, {"audio": {"id": sound["id"], "transcript": ""}})
            for piece in pieces(sound["transcript"], chance):
                yield chunk(index, {"audio": {"transcript": piece}})
            yield chunk(index, {"audio": {"data": sound["data"]}})
            yield chunk(index, {"audio": {"expires_at": sound["expires_at"]}})
        yield {**head, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}]}
    if "usage" in reply:
        yield {**head, "choices": [], "usage": reply["usage"]}


def completions(reply: Json, chance: random.Random) -> Iterator[Json]:
    head = {key: value for key, value in reply.items() if key not in ("choices", "usage")}
    for choice in reply["choices"]:
        for piece in pieces(choice["text"], chance):
            yield {**head, "choices": [{**choice, "text": piece, "finish_reason": None}]}
        yield {**head, "choices": [{**choice, "text": ""}]}
    if "usage" in reply:
        yield {**head, "choices": [], "usage": reply["usage"]}


# Where texts come in deltas: the item's type, its member, and what the event is called.
_SAID = {
    ("function_call", "arguments"): "response.function_call_arguments",
    ("custom_tool_call", "input"): "response.custom_tool_call_input",
    ("mcp_call", "arguments"): "response.mcp_call_arguments",
    ("code_interpreter_call", "code"): "response.code_interpreter_call_code",
}
_PARTS = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
    "summary_text": ("response.reasoning_summary_text", "text"),
}


def responses(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://platform.openai.com/docs/api-reference/responses-streaming"""
    number = 0

    def event(kind: str, **more: Any) -> Json:
        nonlocal number
        number += 1
        return {"type": kind, "sequence_number": number, **more}

    begun = {**reply, "output": [], "status": "in_progress", "usage": None, "error": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for place, item in enumerate(reply["output"]):
        at = {"output_index": place, "item_id": item.get("id", f"item{place}")}
        bare = {**item, **{key: [] for key in ("content", "summary") if isinstance(item.get(key), list)}}
        for kind, key in _SAID:
            if item["type"] == kind and isinstance(item.get(key), str):
                bare[key] = ""
        yield event("response.output_item.added", output_index=place, item=bare)
        for member, index in (("summary", "summary_index"), ("content", "content_index")):
            for inner, part in enumerate(item[member] if isinstance(item.get(member), list) else ()):
                if part.get("type") not in _PARTS:
                    continue
                name, key = _PARTS[part["type"]]
                whole = "response.reasoning_summary_part" if member == "summary" else "response.content_part"
                here = {**at, index: inner}
                yield event(
                    f"{whole}.added",
                    **here,
                    part={**part, key: "", **({"annotations": []} if "annotations" in part else {})},
                )
                for piece in pieces(part[key], chance):
                    yield event(f"{name}.delta", **here, delta=piece)
                for which, annotation in enumerate(part.get("annotations") or ()):
                    yield event(
                        "response.output_text.annotation.added", **here, annotation_index=which, annotation=annotation
                    )
                yield event(f"{name}.done", **here, **{key: part[key]})
                yield event(f"{whole}.done", **here, part=part)
        for (kind, key), name in _SAID.items():
            if item["type"] == kind and isinstance(item.get(key), str):
                for piece in pieces(item[key], chance):
                    yield event(f"{name}.delta", **at, delta=piece)
                yield event(f"{name}.done", **at, **{key: item[key]})
        yield event("response.output_item.done", output_index=place, item=item)
    end = {"failed": "response.failed", "incomplete": "response.incomplete"}.get(
        str(reply.get("status")), "response.completed"
    )
    yield event(end, response=reply)


def anthropic(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://docs.claude.com/en/docs/build-with-claude/streaming"""
    usage = reply["usage"]
    last = ("output_tokens", "output_tokens_details", "iterations", "server_tool_use")
    first = {key: value for key, value in usage.items() if key not in last} | {"output_tokens": 1}
    end = {key: value for key, value in usage.items() if key in last}
    yield {
        "type": "message_start",
        "message": {
            **reply,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": first,
        },
    }
    for index, block in enumerate(reply["content"]):
        bare, deltas = dict(block), list[Json]()
        if block["type"] == "text":
            bare |= {"text": "", "citations": None}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"], chance)]
            deltas += [{"type": "citations_delta", "citation": each} for each in block.get("citations") or ()]
        elif block["type"] == "thinking":
            bare |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"], chance)]
            deltas += [{"type": "signature_delta", "signature": block["signature"]}]
        elif block["type"] in ("tool_use", "server_tool_use", "mcp_tool_use"):
            bare["input"] = {}
            written = json.dumps(block["input"], ensure_ascii=False)
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(written, chance)]]
        elif block["type"] == "compaction":
            bare["content"] = None
            deltas = [
                {
                    "type": "compaction_delta",
                    **{key: block[key] for key in ("content", "encrypted_content") if key in block},
                }
            ]
        yield {"type": "content_block_start", "index": index, "content_block": bare}
        yield {"type": "ping"}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", "index": index}
    stop = {key: reply[key] for key in ("stop_reason", "stop_sequence", "stop_details", "container") if key in reply}
    more = {"context_management": reply["context_management"]} if "context_management" in reply else {}
    yield {"type": "message_delta", "delta": stop, "usage": end, **more}
    yield {"type": "message_stop"}


def gemini(reply: Json, chance: random.Random) -> Iterator[Json]:
    """Each part in a chunk of its own, texts in pieces; counters and reasons come with the last."""
    head = {key: reply[key] for key in ("modelVersion", "responseId", "createTime") if key in reply}
    for index, candidate in enumerate(reply.get("candidates") or ()):
        content = candidate.get("content") or {}
        role = {"role": content["role"]} if "role" in content else {}
        for part in content.get("parts") or ():
            split = [{**part, "text": piece} for piece in pieces(part["text"], chance)] if part.get("text") else [part]
            for each in split:
                yield {**head, "candidates": [{"index": index, "content": {**role, "parts": [each]}}]}
        rest = {key: value for key, value in candidate.items() if key != "content"}
        yield {**head, "candidates": [{**rest, "index": index, "finishReason": candidate.get("finishReason", "STOP")}]}
    yield {**head, **{key: reply[key] for key in ("usageMetadata", "promptFeedback") if key in reply}}


def cohere(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://docs.cohere.com/v2/docs/streaming"""
    message = reply["message"]
    yield {
        "type": "message-start",
        "id": reply["id"],
        "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}},
    }
    if message.get("tool_plan"):
        for piece in pieces(message["tool_plan"], chance):
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
    for index, part in enumerate(message.get("content") or ()):
        key = "thinking" if isinstance(part.get("thinking"), str) else "text"
        if not isinstance(part.get(key), str):
            continue
        yield {"type": "content-start", "index": index, "delta": {"message": {"content": {"type": key, key: ""}}}}
        for piece in pieces(part[key], chance):
            yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {key: piece}}}}
        yield {"type": "content-end", "index": index}
    for index, call in enumerate(message.get("tool_calls") or ()):
        said = dict(call.get("function") or {})
        written = said.pop("arguments", "") or ""
        yield {
            "type": "tool-call-start",
            "index": index,
            "delta": {"message": {"tool_calls": {**call, "function": {**said, "arguments": ""}}}},
        }
        for piece in pieces(written, chance):
            yield {
                "type": "tool-call-delta",
                "index": index,
                "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}},
            }
        yield {"type": "tool-call-end", "index": index}
    for index, cited in enumerate(message.get("citations") or ()):
        yield {"type": "citation-start", "index": index, "delta": {"message": {"citations": cited}}}
        yield {"type": "citation-end", "index": index}
    yield {
        "type": "message-end",
        "id": reply["id"],
        "delta": {"finish_reason": reply["finish_reason"], **({"usage": reply["usage"]} if "usage" in reply else {})},
    }


def converse(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html"""
    yield {"messageStart": {"role": "assistant"}}
    content = ((reply.get("output") or {}).get("message") or {}).get("content") or ()
    for index, block in enumerate(content):
        deltas: list[Json] = []
        if "text" in block:
            deltas = [{"text": piece} for piece in pieces(block["text"], chance)]
        elif "toolUse" in block:
            start = {key: value for key, value in block["toolUse"].items() if key != "input"}
            yield {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": start}}}
            deltas = [{"toolUse": {"input": piece}} for piece in pieces(json.dumps(block["toolUse"]["input"]), chance)]
        elif "reasoningContent" in block:
            told = block["reasoningContent"]
            if "reasoningText" in told:
                deltas = [
                    {"reasoningContent": {"text": piece}} for piece in pieces(told["reasoningText"]["text"], chance)
                ]
            else:
                deltas = [{"reasoningContent": told}]
        elif "citationsContent" in block:
            for part in block["citationsContent"].get("content") or ():
                deltas += [{"text": piece} for piece in pieces(part["text"], chance)]
            deltas += [{"citation": each} for each in block["citationsContent"].get("citations") or ()]
        yield from ({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in deltas)
        yield {"contentBlockStop": {"contentBlockIndex": index}}
    yield {"messageStop": {key: reply[key] for key in ("stopReason", "additionalModelResponseFields") if key in reply}}
    yield {
        "metadata": {
            key: reply[key] for key in ("usage", "metrics", "trace", "performanceConfig", "serviceTier") if key in reply
        }
    }


def ollama(reply: Json, chance: random.Random) -> Iterator[Json]:
    """https://docs.ollama.com/api/streaming"""
    head = {key: reply[key] for key in ("model", "created_at") if key in reply}
    message = reply.get("message") or {}
    for key in ("thinking", "content"):
        if message.get(key):
            for piece in pieces(message[key], chance):
                yield {**head, "message": {"role": "assistant", "content": "", key: piece}, "done": False}
    if message.get("tool_calls"):
        yield {
            **head,
            "message": {"role": "assistant", "content": "", "tool_calls": message["tool_calls"]},
            "done": False,
        }
    for key in ("thinking", "response"):
        if reply.get(key):
            for piece in pieces(reply[key], chance):
                yield {**head, key: piece, "done": False}
    rest = {key: value for key, value in reply.items() if key not in ("message", "response", "thinking")}
    yield {**rest, **({"message": {"role": "assistant", "content": ""}} if message else {"response": ""}), "done": True}


STREAMS: Mapping[str, Callable[[Json, random.Random], Iterator[Json]]] = {
    "openai chat": chat,
    "openai completions": completions,
    "openai responses": responses,
    "anthropic messages": anthropic,
    "gemini": gemini,
    "gemini array": gemini,
    "cohere chat": cohere,
    "bedrock converse": converse,
    "mistral chat": chat,
    "ollama chat": ollama,
    "ollama generate": ollama,
}


def well(reply: Json) -> Json:
    """A reply that has ended well, in whatever format: what a failed stream says behind its failure is lost."""
    for choice in (*(reply.get("choices") or ()), *(reply.get("candidates") or ())):
        for key in ("finish_reason", "finishReason"):
            if "message" in choice and not isinstance(choice["message"].get("content"), str):
                choice["message"].pop("annotations", None)  # of a text that is not there
            if key in choice:
                choice[key] = "STOP" if key == "finishReason" else "stop"
    if str(reply.get("finish_reason")).startswith(("ERROR", "TIMEOUT")):
        reply["finish_reason"] = "COMPLETE"
    if reply.get("object") == "response":
        reply |= {"status": "completed", "error": None, "incomplete_details": None}
    usage = reply.get("usage")
    if isinstance(usage, dict) and isinstance(made := usage.get("cache_creation"), dict):
        usage["cache_creation_input_tokens"] = sum(made.values())
    if isinstance(usage, dict) and "message" in reply:
        usage["tokens"] = {"input_tokens": 1, "output_tokens": 1, **usage.get("tokens", {})}
    return reply
