"""Whole replies, both ways: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Client, Malformed
from interpose.formats.codecs.ids import BEDROCK, fit, make
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
from .blocks_out import input_of, native_text, write_citation, write_reasoning
from .names import CITED, EMPTY, FORMAT, FORMATS, STOPS, WORDS, Json, hush, is_ours, lay_over, marked, own, silent
from .usage import take_usage, write_usage

# What is told about the call, and says nothing about the answer.
QUIET = frozenset(("metrics", "performanceConfig", "serviceTier"))
CONTENT = "output.message.content"
NO_USAGE = "usage:absent"
NO_ROLE = "role:absent"


def read_reply(body: Json) -> Reply:
    """Raises Malformed for what is no message (an error object, say)."""
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    if not isinstance(output, dict) or not isinstance(message, dict):
        raise Malformed("output.message", "a reply has a message")
    blocks = read_blocks(message.get("content"), CONTENT, READERS)
    del message["content"]
    marks = [] if isinstance(body.get("usage"), dict) else [NO_USAGE]
    if "role" not in message:
        marks.append(NO_ROLE)
    elif message["role"] == "assistant":
        del message["role"]
    if not message:
        del output["message"]
    if not output:
        del body["output"]
    answer = Answer(blocks, take_stop(body))
    usage, quiet = take_usage(body)
    quiet |= hush(body, QUIET)
    return Reply(FORMAT, answers=[answer], usage=usage, own=own(body, *marks, silent=quiet))


def take_stop(node: Json) -> Stop | None:
    word = node.get("stopReason")
    if not isinstance(word, str):
        return None
    del node["stopReason"]
    return Stop(STOPS.get(word, "other"), None, FORMAT, word)


def write_stop(stop: Stop | None, losses: Losses) -> str:
    if stop is None:
        losses.synthesised("stopReason", "clients of Bedrock demand one, and the provider told none")
        return "end_turn"
    if stop.raw is not None and stop.format == FORMAT:
        return stop.raw
    if stop.reason in ("other", "pause", "error", "refusal"):
        losses.approximated("stopReason", f"Bedrock has no word for {stop.raw or stop.reason!r}")
    if stop.reason == "stop" and stop.sequence is None:
        return "end_turn"
    return WORDS[stop.reason]


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    answer = reply.answers[0] if reply.answers else Answer()
    for other in reply.answers[1:]:
        losses.dropped(f"answers[{other.index}]", "Bedrock gives one answer to a request")
    content: list[Json] = []
    for place, block in enumerate(answer.blocks):
        content += write_block(block, f"{CONTENT}[{place}]", client, place, losses)
    message: Json = {"content": content} if marked(reply.own, NO_ROLE) else {"role": "assistant", "content": content}
    body: Json = {"output": {"message": message}}
    ours = reply.format == FORMAT
    if answer.stop is not None or not ours:
        body["stopReason"] = write_stop(answer.stop, losses)
    if not marked(reply.own, NO_USAGE):
        body["usage"] = write_usage(reply.usage, silent(reply.own, "usage"))
    if not ours:
        body["metrics"] = NO_METRICS
    for of in (reply.own, answer.own):
        losses.own(of, "", FORMAT)
        lay_over(body, without_usage(of))
    return body


# How long it took Bedrock is not known here; clients in Java and Rust demand a number.
NO_METRICS: Json = {"latencyMs": 0}


def without_usage(of: Own | None) -> Own | None:
    """What is left over, less the usage's own, which is laid over the usage."""
    if of is None or not of.silent or "usage" not in of.silent:
        return of
    return Own(of.format, of.fields, of.marks, {key: told for key, told in of.silent.items() if key != "usage"})


# Blocks: what one of them is to a client of Bedrock's. More than one node where state of another provider's has no
# field: then redacted reasoning behind it carries it, which clients send back as it is.


def write_block(block: Block, at: str, client: Client, place: int, losses: Losses) -> list[Json]:
    node = _WRITERS[type(block)](block, at, client, place, losses)
    opaque = getattr(block, "opaque", None)
    carried = [] if opaque is None or isinstance(block, Thinking) else [carrier(opaque, at, losses)]
    return carried if node is None else [node, *carried]


def carrier(opaque: Opaque, at: str, losses: Losses) -> Json:
    """Another provider's state behind a block, in the field for redacted reasoning, which is bytes."""
    losses.carried(at, f"state of {opaque.format}'s travels as redacted reasoning")
    return {"reasoningContent": {"redactedContent": base64.b64encode(pack(opaque).encode()).decode()}}


def call_id(call: ToolCall, client: Client, place: int) -> str:
    return fit(call.id, BEDROCK) if call.id else make(f"{client.id} {place}", BEDROCK)


def is_nothing(block: Text) -> bool:
    """An empty text, which Bedrock would not take back."""
    return not block.text and not block.citations and not marked(block.own, EMPTY) and not marked(block.own, CITED)


def cite(citation: Citation, at: str, losses: Losses) -> Json:
    losses.own(citation.own, f"{at}.citations", FORMAT)
    return write_citation(citation)


def signature_of(opaque: Opaque, at: str, losses: Losses) -> str:
    if opaque.format == FORMAT:
        return opaque.payload
    losses.carried(at, f"state of {opaque.format}'s travels as the signature")
    return pack(opaque)


def _text(block: Text, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    losses.own(block.own, at, FORMAT)
    if is_ours(block.own) and (spelt := native_text(block)) is not None:
        return spelt
    if block.citations:
        told = [cite(one, at, losses) for one in block.citations]
        return {"citationsContent": {"content": [{"text": block.text}], "citations": told}}
    if is_nothing(block):
        return None
    node: Json = {"text": block.text}
    lay_over(node, block.own)
    return node


def _refused(block: Refused, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    losses.own(block.own, at, FORMAT)
    if not block.text:
        return None
    losses.approximated(at, "a refusal is text to clients of Bedrock")
    return {"text": block.text}


def _thinking(block: Thinking, at: str, client: Client, place: int, losses: Losses) -> Json:
    losses.own(block.own, at, FORMAT)
    opaque = block.opaque
    if opaque is None or opaque.format == FORMAT:
        return write_reasoning(block)
    return {"reasoningContent": {"reasoningText": {"text": block.text, "signature": signature_of(opaque, at, losses)}}}


def _tool_call(block: ToolCall, at: str, client: Client, place: int, losses: Losses) -> Json:
    losses.own(block.own, at, FORMAT)
    given = {"input": block.arguments} if block.kind == "custom" else input_of(block, losses, at)
    node: Json = {"toolUseId": call_id(block, client, place), "name": block.name, "input": given}
    lay_over(node, block.own)
    return {"toolUse": node}


def _media(block: Media, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    losses.own(block.own, at, FORMAT)
    word = FORMATS["image"].get(block.media_type) if block.kind == "image" else None
    if word is None or block.source.kind != "base64":
        losses.dropped(at, f"Bedrock answers with no {block.kind} of this kind")
        return None
    node: Json = {"format": word, "source": {"bytes": block.source.value}}
    lay_over(node, block.own)
    return {"image": node}


def _foreign(block: Foreign, at: str, client: Client, place: int, losses: Losses) -> Json | None:
    if block.format == FORMAT and isinstance(block.value, dict):
        return block.value
    losses.dropped(at, f"Bedrock has no {block.kind} of {block.format}'s")
    return None


def _never(block: ToolResult, at: str, client: Client, place: int, losses: Losses) -> None:
    losses.dropped(at, "Bedrock answers with no tool result")


_WRITERS: Mapping[type, Callable[[Any, str, Client, int, Losses], Json | None]] = {
    Text: _text,
    Refused: _refused,
    Thinking: _thinking,
    ToolCall: _tool_call,
    ToolResult: _never,
    Media: _media,
    Foreign: _foreign,
}
