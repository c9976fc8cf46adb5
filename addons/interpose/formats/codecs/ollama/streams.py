"""Ollama's stream -> events: lines of JSON, each a piece of the answer, until the one that is done.

https://docs.ollama.com/api/streaming. Thinking and text come in pieces; a call comes whole. An error is a line, too.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.chat.choices import merged
from interpose.formats.codecs.chat.errors import failed_of
from interpose.formats.codecs.chat.streams import TRUNCATED, parse
from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.leftovers import STRING, take
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Own,
    Started,
    Text,
    Thinking,
    Told,
    Used,
)
from interpose.wire.error import WireError
from interpose.wire.ndjson import NdjsonDecoder

from .facts import GENERATE, NAME, ORIGIN
from .parts import is_call, read_call, read_image
from .replies import generated, seconds, stop_of, take_silent, take_usage

_KNOWN = frozenset(("model", "created_at", "done", "done_reason", "prompt_eval_count", "eval_count"))


class Reader:
    __slots__ = (
        "_called",
        "_decoder",
        "_ended",
        "_fields",
        "_marks",
        "_message",
        "_next",
        "_open",
        "_open_at",
        "_started",
    )

    def __init__(self) -> None:
        self._decoder = NdjsonDecoder()
        self._started = self._ended = False
        self._next = self._open_at = 0
        self._open = ""
        self._called: list[Block] = []
        self._marks: set[str] = set()
        self._message: Json = {}
        self._fields: Json = {}

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            lines = self._decoder.feed(data)
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return out
        for line in lines:
            if not self._ended:
                self._line(line, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        try:
            lines = [] if self._ended else self._decoder.finish()
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return out
        for line in lines:
            self._line(line, out)
        if not self._ended:
            self._fail(Failed(TRUNCATED, code="truncated"), out)
        return out

    def _line(self, line: bytes, out: list[Event]) -> None:
        chunk = parse(line)
        if type(chunk) is not dict:
            self._fail(Failed(f"a line of the provider's stream could not be read: {line[:80]!r}"), out)
            return
        if chunk.get("error"):
            self._fail(failed_of(chunk), out)
            return
        message = chunk.pop("message", None)
        # Thoughts may come in lines of their own.
        generates = type(message) is not dict and str in (type(chunk.get("response")), type(chunk.get("thinking")))
        if generates:
            message = generated(chunk)
        if not self._started:
            self._start(chunk, out, generates=generates)
        if type(message) is dict:
            self._say(message, out)
        done = chunk.get("done") is True
        if len(chunk) > 3 or done:
            self._rest(chunk)
        if done:
            self._finish(chunk, out)

    def _start(self, chunk: Json, out: list[Event], *, generates: bool) -> None:
        self._started = True
        model, created = chunk.get("model"), seconds(chunk.get("created_at"))
        marks = frozenset((GENERATE, "model", "done") if generates else ("model", "done"))
        out.append(Started("", model if type(model) is str else "", created, own=Own(NAME, {}, marks)))

    def _rest(self, chunk: Json) -> None:
        """What a line has beside: log probabilities grow, of the rest the last counts."""
        silent = frozenset(take_silent(dict(chunk)))
        for key, value in chunk.items():
            if key not in _KNOWN and key not in silent and value is not None:
                self._fields[key] = merged(self._fields.get(key), value, joined=False)

    # What is said

    def _say(self, message: Json, out: list[Event]) -> None:
        thinking, content = message.pop("thinking", None), message.pop("content", None)
        if message.pop("role", None) == "assistant":
            self._marks.add("role")
        if type(thinking) is str:
            if thinking:
                self._piece("thinking", thinking, out)
        elif thinking is not None:
            self._message["thinking"] = thinking
        if type(content) is str:
            if content:
                self._piece("text", content, out)
            else:
                self._marks.add("content:empty")
        elif content is not None:
            self._message["content"] = content
        if message:
            self._others(message, out)

    def _others(self, message: Json, out: list[Event]) -> None:
        images, calls = message.get("images"), message.get("tool_calls")
        if type(images) is list and images and all(type(image) is str for image in images):
            del message["images"]
            for image in images:
                self._whole(read_image(image, "message.images"), out)
        if type(calls) is list and calls and all(is_call(call) for call in calls):
            del message["tool_calls"]
            for call in calls:
                block = read_call(call, f"message.tool_calls[{len(self._called)}]")
                self._called.append(block)
                self._whole(block, out)
        for key, value in message.items():
            if value is not None:
                self._message[key] = merged(self._message.get(key), value, joined=True)

    def _piece(self, kind: str, text: str, out: list[Event]) -> None:
        if self._open != kind:
            self._close(out)
            self._open, self._open_at = kind, self._next
            self._next += 1
            block: Any = (
                Text("", at="message.content") if kind == "text" else Thinking("", opaque=ORIGIN, at="message.thinking")
            )
            out.append(BlockStart(self._open_at, block))
        out.append(BlockDelta(self._open_at, text))

    def _whole(self, block: Block, out: list[Event]) -> None:
        self._close(out)
        out += (BlockStart(self._next, block), BlockEnd(self._next))
        self._next += 1

    def _close(self, out: list[Event]) -> None:
        if self._open:
            out.append(BlockEnd(self._open_at))
            self._open = ""

    # Ends

    def _finish(self, chunk: Json, out: list[Event]) -> None:
        self._ended = True
        self._close(out)
        stop = stop_of(take(chunk, "done_reason", STRING), self._called)
        fields = {f"message.{key}": value for key, value in self._message.items()}
        out.append(Finished(stop, own=Own(NAME, fields, frozenset(self._marks))))
        if usage := take_usage(chunk):
            out.append(Used(usage))
        out.append(Told(NAME, self._fields, silent=take_silent(chunk) or None))

    def _fail(self, failed: Failed, out: list[Event]) -> None:
        if not self._ended:
            self._ended = True
            out.append(failed)
