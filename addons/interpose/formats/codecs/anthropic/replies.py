"""Whole replies: https://platform.claude.com/docs/en/api/messages (Message)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Client, Malformed, arguments_object
from interpose.formats.codecs.ids import CLAUDE, IdRule, fit, make
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    Answer,
    Block,
    Citation,
    Foreign,
    Losses,
    Media,
    Opaque,
    Own,
    Refused,
    Reply,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

from .blocks_in import READERS, read_blocks
from .blocks_out import write_citation
from .names import EMPTY, FORMAT, SIGNATURELESS, WORDS, Json, hush, lay_over, marked, own, silent, take_stop
from .usage import take_counters, usage_of, write_usage

# Marks of a reply: keys that were not there at all.
NO_SEQUENCE = "stop_sequence:absent"
NO_USAGE = "usage:absent"
# What says nothing to others: of the price beside the tokens (tiers, iterations, server tools), of the time it took, of
# a container that the provider keeps, and of the edits that it made to the context.
QUIET = frozenset(("usage", "amazon-bedrock-invocationMetrics", "container", "context_management"))
MESSAGE_ID = IdRule(CLAUDE.pattern, "msg_", 24)


def read_reply(body: Json) -> Reply:
    """Raises Malformed for what is no message (an error object, say)."""
    content = body.get("content")
    if body.get("type") != "message" or not isinstance(content, list):
        raise Malformed("type", "is no message of Anthropic's")
    del body["type"], body["content"]
    marks = [] if "stop_sequence" in body else [NO_SEQUENCE]
    reply = Reply(FORMAT)
    reply.id, reply.model = _take_text(body, "id"), _take_text(body, "model")
    if body.get("role") == "assistant":
        del body["role"]
    stop = take_stop(body)
    if stop is None and body.get("stop_reason") is None:
        body.pop("stop_reason", None)
    if body.get("stop_sequence", "") is None:
        del body["stop_sequence"]
    usage = body.get("usage")
    if isinstance(usage, dict):
        reply.usage = usage_of(take_counters(usage))
        if not usage:
            del body["usage"]
    else:
        marks.append(NO_USAGE)
    reply.answers = [Answer(read_blocks(content, "content", READERS), stop)]
    reply.own = own(body, *marks, silent=hush(body, QUIET))
    return reply


def _take_text(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        return ""
    del body[key]
    return value


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    answers = reply.answers
    answer = answers[0] if answers else Answer()
    for other in answers[1:]:
        losses.dropped(f"answers[{other.index}]", "Claude gives one answer to a request")
    content: list[Json] = []
    for place, block in enumerate(answer.blocks):
        content += write_block(block, f"content[{place}]", client, place, losses)
    body: Json = {
        "id": reply.id or make(client.id, MESSAGE_ID),
        "type": "message",
        "role": "assistant",
        "model": client.model,
        "content": content,
        **write_stop(answer.stop, losses),
    }
    if not marked(reply.own, NO_USAGE):
        body["usage"] = write_usage(reply.usage, silent(reply.own, "usage"))
    if marked(reply.own, NO_SEQUENCE) and body["stop_sequence"] is None:
        del body["stop_sequence"]
    for of, at in ((reply.own, ""), (answer.own, "")):
        if of is not None:
            losses.own(of, at, FORMAT)
            if of.format == FORMAT:
                body |= of.fields
                body |= {name: value for name, value in (of.silent or {}).items() if name not in body}
    return body


def write_stop(stop: Stop | None, losses: Losses) -> Json:
    """`stop_reason`, `stop_sequence`, and details where the word alone would mislead."""
    if stop is None:
        return {"stop_reason": None, "stop_sequence": None}
    if stop.format == FORMAT and stop.raw is not None:
        return {"stop_reason": stop.raw, "stop_sequence": stop.sequence}
    word = WORDS[stop.reason]
    node: Json = {"stop_reason": word, "stop_sequence": stop.sequence}
    if stop.reason == "stop" and stop.sequence is None:
        node["stop_reason"] = "end_turn"
    if stop.reason in ("error", "other"):
        losses.approximated("stop_reason", f"Claude has no word for {stop.raw or stop.reason!r}")
    if stop.reason == "error":
        told = f"The provider ended the answer with {stop.raw or 'an error'}."
        node["stop_details"] = {"type": "refusal", "category": None, "explanation": told}
    return node


# Blocks: what one of them is to a client of Anthropic's. More than one node where state of another provider's has no
# field: then a redacted_thinking block behind it carries it, which clients send back as it is.


def write_block(block: Block, at: str, client: Client, place: int, losses: Losses) -> list[Json]:
    node = _WRITERS[type(block)](block, at, client, place, losses)
    if node is None:
        return []
    state = getattr(block, "opaque", None)
    if isinstance(block, Thinking) or state is None:
        return [node]
    return [node, carrier(state, at, losses)]


def carrier(state: Opaque, at: str, losses: Losses) -> Json:
    losses.carried(at, f"state of {state.format}'s travels in a redacted_thinking block")
    return {"type": "redacted_thinking", "data": pack(state)}


def start_text(block: Text) -> Json:
    return {"type": "text", "text": block.text}


def _text(block: Text, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    if is_nothing(block):
        return None
    node = start_text(block)
    cited = [told for one in block.citations if (told := cite(one, at, losses)) is not None]
    if cited:
        node["citations"] = cited
    return close(node, block.own, at, losses)


def is_nothing(block: Text) -> bool:
    """An empty text, which Claude would not take back: https://platform.claude.com/docs/en/api/errors"""
    return not block.text and not block.citations and not marked(block.own, EMPTY)


def cite(citation: Citation, at: str, losses: Losses) -> Json | None:
    """Another format's as a web search's result, which it nearly always is; what points nowhere is left out."""
    if citation.own is not None and citation.own.format == FORMAT:
        return write_citation(citation)
    losses.own(citation.own, f"{at}.citations", FORMAT)
    if citation.url is None:
        losses.dropped(f"{at}.citations", "Claude's citations point into documents or to a URL")
        return None
    losses.approximated(f"{at}.citations", "a link is cited as the result of a web search")
    return {
        "type": "web_search_result_location",
        "cited_text": citation.quoted or "",
        "url": citation.url,
        "title": citation.title,
        "encrypted_index": "",
    }


def close(node: Json, of: Own | None, at: str, losses: Losses) -> Json:
    if of is not None:
        lay_over(node, of)
        losses.own(of, at, FORMAT)
    return node


def _refused(block: Refused, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    if not block.text:
        return None
    losses.approximated(at, "a refusal is text to clients of Claude")
    return close({"type": "text", "text": block.text}, block.own, at, losses)


def _thinking(block: Thinking, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    opaque = block.opaque
    if opaque is not None and opaque.format == FORMAT and opaque.kind == "redacted":
        return close({"type": "redacted_thinking", "data": opaque.payload}, block.own, at, losses)
    node: Json = {"type": "thinking", "thinking": block.text}
    signed = signature_of(opaque, block.own, at, losses)
    if signed is not None:
        node["signature"] = signed
    return close(node, block.own, at, losses)


def signature_of(opaque: Opaque | None, of: Own | None, at: str, losses: Losses) -> str | None:
    """None where our own format told none; clients want one from all others, if only an empty one."""
    if opaque is None:
        return None if marked(of, SIGNATURELESS) else ""
    if opaque.format == FORMAT:
        return opaque.payload
    losses.carried(f"{at}.signature", f"state of {opaque.format}'s travels as the signature")
    return pack(opaque)


def call_id(call: ToolCall, client: Client, place: int) -> str:
    return fit(call.id, CLAUDE) if call.id else make(f"{client.id} {place}", CLAUDE)


def _tool_call(block: ToolCall, at: str, client: Client, place: int, losses: Losses) -> Json:
    if block.kind == "custom":
        given: Json = {"input": block.arguments}
    else:
        given = arguments_object(block.arguments, losses, f"{at}.input")
    node: Json = {"type": "tool_use", "id": call_id(block, client, place), "name": block.name, "input": given}
    return close(node, block.own, at, losses)


def _foreign(block: Foreign, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    if block.format == FORMAT and isinstance(block.value, dict):
        return block.value
    losses.dropped(at, f"Claude has no {block.kind} of {block.format}'s")
    return None


def _never(block: Media | ToolResult, at: str, client: Client, place: int, losses: Losses) -> None:
    what = block.kind if isinstance(block, Media) else "tool result"
    losses.dropped(at, f"Claude answers with no {what}")


_WRITERS: Mapping[type, Callable[[Any, str, Client, int, Losses], Json | None]] = {
    Text: _text,
    Refused: _refused,
    Thinking: _thinking,
    ToolCall: _tool_call,
    ToolResult: _never,
    Media: _never,
    Foreign: _foreign,
}
