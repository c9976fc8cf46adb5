"""Mistral's whole replies <-> the neutral reply.

https://docs.mistral.ai/api/endpoint/chat. Thinking and text stand in `content` in their order, calls beside them.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.chat.counts import read_usage
from interpose.formats.codecs.chat.envelope import read_envelope, write_envelope
from interpose.formats.codecs.chat.replies import OBJECT, stop_of
from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.formats.codecs.leftovers import INTEGER, STRING, prefixed, take
from interpose.ir import Answer, Block, Losses, Media, Own, Reply, Stop, Text, ToolCall, Usage

from .calls import call_id, read_calls, write_call
from .chunks import ChunkWriter, read_content
from .facts import NAME, UNSAID, WORDS, lay_over, leftover, marks_of

# Reading


def read_reply(body: Any) -> Reply:
    marks: list[str] = []
    reply = read_envelope(body, NAME, OBJECT, marks, _read_choice)
    silent = None
    if isinstance(usage := body.get("usage"), dict):
        del body["usage"]
        reply.usage, silent = usage_of(usage, body, marks)
    reply.own = Own(NAME, body, frozenset(marks), silent)
    return reply


def usage_of(usage: Json, rest: Json, marks: list[str]) -> tuple[Usage, Json | None]:
    """Usage, and what is silent of it: the tier by which it is billed is a handle of Mistral's own."""
    marks.append("usage")
    found = read_usage(usage, rest, marks)
    if "usage.service_tier" in rest:
        return found, {"usage.service_tier": rest.pop("usage.service_tier")}
    return found, None


def _read_choice(choice: Any, place: int) -> Answer:
    at = f"choices[{place}]"
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        raise Malformed(f"{at}.message", "a choice must have a message")
    del choice["message"]
    marks: list[str] = []
    index = take(choice, "index", INTEGER)
    if index is None:
        index = place
        marks.append("index:absent")
    if message.get("role") == "assistant":
        del message["role"]
        marks.append("role")
    blocks = read_content(message, f"{at}.message", marks)
    read_calls(message, f"{at}.message", blocks)
    stop = mistral_stop(take(choice, "finish_reason", STRING), choice, calls=_calls(blocks))
    prefixed(message, "message", choice)
    return Answer(blocks, stop, index, leftover(choice, marks))


def _calls(blocks: list[Block]) -> bool:
    return any(isinstance(block, ToolCall) for block in blocks)


def mistral_stop(raw: str | None, choice: Json, *, calls: bool) -> Stop:
    stop = stop_of(raw, choice, calls=calls)
    stop.format = NAME
    return stop


# Writing


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    choices = [_write_choice(answer, reply, client, losses) for answer in reply.answers]
    return write_envelope(choices, reply, reply_id(reply.id, client), NAME, OBJECT, client, losses)


def reply_id(id_: str, client: Client) -> str:
    return id_ or client.id


def _write_choice(answer: Answer, reply: Reply, client: Client, losses: Losses) -> Json:
    native = reply.format == NAME
    at = f"choices[{answer.index}]"
    marks = marks_of(answer.own)
    message: Json = {"role": "assistant"} if not native or "role" in marks else {}
    said: list[Block] = [block for block in answer.blocks if not isinstance(block, ToolCall)]
    content = ChunkWriter(losses, native=native).content(answered(said, losses), marks)
    if content is not None or not native:
        message["content"] = "" if content is None else content
    calls = [block for block in answer.blocks if isinstance(block, ToolCall)]
    if calls:
        message["tool_calls"] = [
            write_call(call, reply_call_id(call, reply, client, answer.index, place), losses, native=native)
            for place, call in enumerate(calls)
        ]
    choice: Json = {"message": message}
    if "index:absent" not in marks:
        choice["index"] = answer.index
    if not native or (answer.stop is not None and answer.stop.raw is not None):
        choice["finish_reason"] = finish_word(answer.stop, losses, at, called=bool(calls))
    losses.own(answer.own, at, NAME)
    lay_over(choice, answer.own, "message")
    return choice


def answered(blocks: list[Block], losses: Losses) -> list[Block]:
    """What an answer's content can show: sound and files of a model's have no chunk in a reply."""
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Media) and (block.kind != "image" or block.source.kind == "file"):
            losses.dropped(block.at, f"a reply of Mistral's has no place for {block.kind}")
        elif not (isinstance(block, Text) and not block.text and len(blocks) > 1):
            kept.append(block)
    return kept


def reply_call_id(call: ToolCall, reply: Reply, client: Client, answer: int, place: int) -> str:
    native = reply.format == NAME
    return call_id(call.id, f"{reply.id or client.id}:{answer}:{place}:{call.name}", native=native)


def finish_word(stop: Stop | None, losses: Losses, at: str, *, called: bool) -> str:
    """Mistral's word for why an answer ended."""
    if stop is None:
        return "tool_calls" if called else "stop"
    if stop.format == NAME and stop.raw is not None:
        return stop.raw
    if called and stop.reason in ("end", "stop", "tool_calls", "pause"):
        return "tool_calls"
    if stop.reason in UNSAID:
        losses.approximated(f"{at}.finish_reason", f"Mistral has no word for {stop.raw or stop.reason}")
    if stop.sequence is not None:
        losses.dropped(f"{at}.finish_reason", "Mistral does not say which sequence ended an answer")
    return WORDS[stop.reason]
