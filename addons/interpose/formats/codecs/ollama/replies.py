"""Ollama's whole replies <-> the neutral reply.

https://docs.ollama.com/api/chat and https://docs.ollama.com/api/generate: one answer, in which thinking, text and calls
are fields beside each other. Usage is two counters; for how long everything took says nothing to other formats.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed
from interpose.formats.codecs.leftovers import STRING, prefixed, take
from interpose.ir import (
    Answer,
    Block,
    Foreign,
    Losses,
    Media,
    Refused,
    Reply,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)

from .facts import GENERATE, NAME, REASONS, UNSAID, WORDS, lay_over, leftover, marks_of
from .parts import around, write_call, write_image
from .requests import read_said

DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
ANY_MEDIA = frozenset(("image",))

# Reading


def read_reply(body: Any) -> Reply:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    marks: list[str] = []
    said: list[str] = []
    message = body.get("message")
    if isinstance(message, dict):
        del body["message"]
        if message.get("role") == "assistant":
            del message["role"]
            said.append("role")
    elif isinstance(body.get("response"), str):
        message = generated(body)
        marks.append(GENERATE)
    else:
        raise Malformed("message", "the reply holds no message")
    blocks = read_said(message, "message", said)
    stop = stop_of(take(body, "done_reason", STRING), blocks)
    reply = Reply(NAME)
    rest: Json = {}
    prefixed(message, "message", rest)
    reply.answers = [Answer(blocks, stop, own=leftover(rest, said))]
    if (model := take(body, "model", STRING)) is not None:
        reply.model = model
        marks.append("model")
    if body.get("done") is True:
        del body["done"]
        marks.append("done")
    silent = take_silent(body)
    reply.created = seconds(silent.get("created_at"))
    reply.usage = take_usage(body)
    reply.own = leftover(body, marks, silent or None)
    return reply


def generated(body: Json) -> Json:
    """What /api/generate says, as a message of /api/chat; the keys keep their values, of whatever type."""
    message: Json = {"content": body.pop("response", "")}
    for key in ("thinking", "tool_calls"):
        if key in body:
            message[key] = body.pop(key)
    return message


def take_silent(body: Json) -> Json:
    """When it was said, how long everything took, and what was said in the model's own tokens: nothing to others."""
    silent = {key: body.pop(key) for key in DURATIONS if type(body.get(key)) is int}
    for key, kind in (("created_at", str), ("context", list)):
        if type(body.get(key)) is kind:
            silent[key] = body.pop(key)
    return silent


def take_usage(body: Json) -> Usage:
    """Counters that are left out were zero, or the prompt was in the cache: they are not told."""
    read = [
        body.pop(key) if type(count := body.get(key)) is int and count >= 0 else None
        for key in ("prompt_eval_count", "eval_count")
    ]
    return Usage(read[0], output_tokens=read[1])


def stop_of(raw: str | None, blocks: list[Block]) -> Stop:
    called = any(isinstance(block, ToolCall) for block in blocks)
    # Older servers say no reason.
    reason = REASONS.get(raw or "stop", "other")
    if called and reason == "end":
        reason = "tool_calls"
    return Stop(reason, None, NAME, raw)


def seconds(text: Any) -> int | None:
    """A time of RFC 3339 in seconds since 1970."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


# Writing


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    native = reply.format == NAME
    marks = marks_of(reply.own)
    written: Json = {}
    if not native or "model" in marks:
        written["model"] = client.model
    if not native:
        written["created_at"] = rfc3339(reply.created, client)
    answer = reply.answers[0] if reply.answers else Answer()
    for other in reply.answers[1:]:
        losses.dropped(f"choices[{other.index}]", "Ollama gives one answer")
    message = _write_message(answer, losses, native=native)
    generates = GENERATE in marks if native else is_generate(client)
    written |= as_generated(message, losses) if generates else {"message": message}
    if not native or "done" in marks:
        written["done"] = True
    stop = answer.stop
    if not native or (stop is not None and stop.raw is not None):
        written["done_reason"] = done_word(stop, losses)
    written |= write_usage(reply.usage, told=native)
    losses.own(reply.own, "", NAME)
    lay_over(written, reply.own)
    return written


def is_generate(client: Client) -> bool:
    """Whether the client had a prompt gone on with, and must be answered so."""
    return GENERATE in marks_of(client.request.own)


def _write_message(answer: Answer, losses: Losses, *, native: bool) -> Json:
    marks = marks_of(answer.own)
    message: Json = {"role": "assistant"} if not native or "role" in marks else {}
    shown = Shown(losses)
    for block in answer.blocks:
        shown.add(block)
    if shown.texts or "content:empty" in marks or not native:
        message["content"] = "".join(shown.texts)
    if shown.thoughts or "thinking:empty" in marks:
        message["thinking"] = "".join(shown.thoughts)
    if shown.images:
        message["images"] = shown.images
    if shown.calls:
        message["tool_calls"] = [write_call(call, losses, native=native) for call in shown.calls]
    if answer.own is not None:
        losses.own(answer.own, "message", NAME)
        outer: Json = {"message": message}
        lay_over(outer, answer.own, "message")
    return message


class Shown:
    """What of an answer's blocks Ollama's fields hold; the rest is told."""

    __slots__ = ("_last", "_losses", "calls", "images", "texts", "thoughts")

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._last = 0
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.images: list[str] = []
        self.calls: list[ToolCall] = []

    def add(self, block: Block) -> None:
        match block:
            case Text(text) | Refused(text):
                tell_said(block, self._losses)
                self.texts.append(text)
                self._in_order(1, block)
            case Thinking(text):
                tell_said(block, self._losses)
                if text:
                    self.thoughts.append(text)
                    self._in_order(0, block)
            case ToolCall():
                self.calls.append(block)
                self._in_order(2, block)
            case Media():
                if (image := shown_image(block, self._losses)) is not None:
                    self.images.append(image)
            case Foreign() | ToolResult():
                tell_unwritable(block, self._losses)

    def _in_order(self, place: int, block: Block) -> None:
        if place < self._last and not is_own(block):
            self._losses.approximated(block.at, "thinking, text and calls are beside each other: their order is lost")
        self._last = place


def is_own(block: Block) -> bool:
    """Whether it was Ollama that said it, whose streams may have it in another order than its replies."""
    return block.at.startswith("message")


def tell_said(block: Text | Refused | Thinking, losses: Losses) -> None:
    """What Ollama cannot have of what is said."""
    if isinstance(block, Refused):
        losses.approximated(block.at, "a refusal is said as text")
        losses.own(block.own, block.at, NAME)
        return
    if isinstance(block, Text) and block.citations:
        losses.dropped(block.at, "Ollama has no citations")
    around(block, losses)


def tell_unwritable(block: Foreign | ToolResult, losses: Losses) -> None:
    kind = block.kind if isinstance(block, Foreign) else "a tool's result"
    losses.dropped(block.at, f"a reply of Ollama's has no place for {kind}")


def shown_image(block: Media, losses: Losses) -> str | None:
    if block.kind != "image" or block.source.kind != "base64":
        losses.dropped(block.at, f"a reply of Ollama's has no place for {block.kind} but images in bytes")
        return None
    return write_image(block, losses, ANY_MEDIA)


def as_generated(message: Json, losses: Losses) -> Json:
    """A message as the fields of /api/generate."""
    told = {key: value for key, value in message.items() if key not in ("role", "content", "images")}
    if "images" in message:
        losses.dropped("message", "what goes on with a prompt has no place for images")
    return {"response": message.get("content", ""), **told}


def done_word(stop: Stop | None, losses: Losses) -> str:
    if stop is None:
        return "stop"
    if stop.format == NAME and stop.raw is not None:
        return stop.raw
    if stop.reason in UNSAID:
        losses.approximated("done_reason", f"Ollama has no word for {stop.raw or stop.reason}")
    if stop.sequence is not None:
        losses.dropped("done_reason", "Ollama does not say which sequence ended an answer")
    return WORDS.get(stop.reason, "stop")


def write_usage(usage: Usage, *, told: bool) -> Json:
    """The whole input and the whole output; zero where nothing was told, unless what was `told` is all."""
    counts = (("prompt_eval_count", usage.input_tokens), ("eval_count", usage.output_tokens))
    return {key: count or 0 for key, count in counts if count is not None or not told}


def rfc3339(created: int | None, client: Client) -> str:
    try:
        moment = datetime.fromtimestamp(client.now if created is None else created, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(client.now, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
