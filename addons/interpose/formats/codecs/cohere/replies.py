"""Cohere's whole replies <-> the neutral reply.

https://docs.cohere.com/v2/reference/chat: one answer, whose thinking and text stand in `content` in their order, with
the plan of calls, the calls and the citations beside them. It names no model.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.formats.codecs.leftovers import STRING, prefixed, take
from interpose.ir import Answer, Block, Losses, Media, Reply, Stop, Text, ToolCall

from .calls import call_id, split_plan, write_call
from .citations import write_citations
from .facts import NAME, REASONS, UNSAID, WORDS, lay_over, leftover, marks_of
from .parts import PartWriter
from .requests import read_said
from .usage import read_usage, write_own_usage, write_usage

# Reading


def read_reply(body: Any) -> Reply:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    message = body.get("message")
    if not isinstance(message, dict):
        raise Malformed("message", "the reply holds no message")
    del body["message"]
    marks: list[str] = []
    said: list[str] = []
    if message.get("role") == "assistant":
        del message["role"]
        said.append("role")
    blocks = read_said(message, "message", said)
    stop = stop_of(take(body, "finish_reason", STRING), called=any(isinstance(block, ToolCall) for block in blocks))
    rest: Json = {}
    prefixed(message, "message", rest)
    reply = Reply(NAME)
    reply.answers = [Answer(blocks, stop, own=leftover(rest, said))]
    if (id_ := take(body, "id", STRING)) is not None:
        reply.id = id_
        marks.append("id")
    silent = None
    if isinstance(usage := body.get("usage"), dict):
        del body["usage"]
        reply.usage, left = read_usage(usage)
        silent = {"usage": left}
    reply.own = leftover(body, marks, silent)
    return reply


def stop_of(raw: str | None, *, called: bool) -> Stop:
    reason = REASONS.get(raw or "COMPLETE", "other")
    if called and reason == "end":
        reason = "tool_calls"
    return Stop(reason, None, NAME, raw)


# Writing


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    native = reply.format == NAME
    marks = marks_of(reply.own)
    written: Json = {}
    if not native or "id" in marks:
        written["id"] = reply.id if native else reply.id or client.id
    answer = reply.answers[0] if reply.answers else Answer()
    for other in reply.answers[1:]:
        losses.dropped(f"choices[{other.index}]", "Cohere gives one answer")
    stop = answer.stop
    called = any(isinstance(block, ToolCall) for block in answer.blocks)
    if not native or (stop is not None and stop.raw is not None):
        written["finish_reason"] = finish_word(stop, losses, called=called)
    written["message"] = _write_message(answer, reply.id or client.id, losses, native=native)
    losses.own(reply.own, "", NAME)
    if not native:
        written["usage"] = write_usage(reply.usage)
        return written
    lay_over(written, reply.own)
    if reply.own is not None and reply.own.silent and "usage" in reply.own.silent:
        written["usage"] = write_own_usage(reply.usage, reply.own.silent["usage"])
    return written


def _write_message(answer: Answer, id_: str, losses: Losses, *, native: bool) -> Json:
    marks = marks_of(answer.own)
    message: Json = {"role": "assistant"} if not native or "role" in marks else {}
    parts = PartWriter(losses, native=native)
    said: list[Block] = [block for block in answer.blocks if not isinstance(block, ToolCall)]
    calls = [block for block in answer.blocks if isinstance(block, ToolCall)]
    if not native:
        said = answered(said, parts, losses)
        in_order(answer.blocks, losses)
    plan, content = split_plan(said)
    shown = parts.content(content, marks if native else marks | {"content:parts"})
    if shown is not None:
        message["content"] = shown
    if plan or "plan:empty" in marks:
        message["tool_plan"] = "".join([block.text for block in plan])
    if calls:
        message["tool_calls"] = [
            write_call(call, reply_call_id(call, id_, place, native=native), losses, native=native, carries=True)
            for place, call in enumerate(calls)
        ]
    if answer.own is not None:
        losses.own(answer.own, "message", NAME)
        lay_over({"message": message}, answer.own, "message")
    write_citations(said, message, losses)
    return message


def answered(blocks: list[Block], parts: PartWriter, losses: Losses) -> list[Block]:
    """What an answer's content can hold: texts and thinking."""
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Media):
            losses.dropped(block.at, f"a reply of Cohere's has no place for {block.kind}")
        elif isinstance(block, Text) and not block.text and len(blocks) > 1:
            parts.around(block, {})
        else:
            kept.append(block)
    return kept


def in_order(blocks: list[Block], losses: Losses) -> None:
    called = False
    for block in blocks:
        if isinstance(block, ToolCall):
            called = True
        elif called and not (isinstance(block, Text) and not block.text):
            losses.approximated(block.at, "calls are beside the content: that it stood behind one is lost")


def reply_call_id(call: ToolCall, id_: str, place: int, *, native: bool) -> str:
    return call_id(call.id, f"{id_}:{place}:{call.name}", native=native)


def finish_word(stop: Stop | None, losses: Losses, *, called: bool) -> str:
    """Cohere's word for why an answer ended."""
    if stop is None:
        return "TOOL_CALL" if called else "COMPLETE"
    if stop.format == NAME and stop.raw is not None:
        return stop.raw
    if called and stop.reason in ("end", "stop", "tool_calls", "pause"):
        return "TOOL_CALL"
    if stop.reason in UNSAID:
        losses.approximated("finish_reason", f"Cohere has no word for {stop.raw or stop.reason}")
    if stop.sequence is not None:
        losses.dropped("finish_reason", "Cohere does not say which sequence ended an answer")
    return WORDS[stop.reason]
