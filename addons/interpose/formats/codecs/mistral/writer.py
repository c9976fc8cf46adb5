"""Events -> Mistral's stream of chunks.

https://docs.mistral.ai/api/endpoint/chat. Text and thinking are written as they come. A call is written whole: its
clients hold a call without a name, or without arguments, to be broken. The last chunk tells usage, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from interpose.formats.codecs.chat.counts import write_own_usage, write_usage
from interpose.formats.codecs.chat.envelope import DONE, PING, head_of
from interpose.formats.codecs.chat.writer import CHUNK
from interpose.formats.codecs.codec import Client, Json, encoded
from interpose.formats.codecs.opened import Opened
from interpose.ir import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Losses,
    Own,
    Ping,
    Refused,
    Started,
    Text,
    Thinking,
    Told,
    ToolCall,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .calls import call_id, write_call
from .chunks import ChunkWriter
from .errors import write_error
from .facts import NAME
from .replies import answered, finish_word, reply_id


class Writer:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._chunks = ChunkWriter(losses, native=False)
        self._head = b""
        self._id = ""
        self._native = False
        self._open: dict[tuple[int, int], Opened] = {}
        self._calls: dict[int, int] = {}
        self._ends: dict[int, Json] = {}
        self._answers: dict[int, None] = {}
        self._usage = Usage()
        self._own_usage: Told | None = None
        self._fields: Json = {}
        self._failed = False

    def write(self, events: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if self._failed:
                break
            _WRITERS[type(event)](self, event, out)
        return b"".join(out)

    def finish(self) -> bytes:
        if self._failed:
            return b""
        out: list[bytes] = []
        if not self._head:
            self._started(Started(), out)
        answers = list(self._answers) or [0]
        for index in answers:
            choice = self._ends.get(index)
            if choice is None:
                word = finish_word(None, self._losses, "", called=bool(self._calls.get(index)))
                choice = {"index": index, "delta": {"content": ""}, "finish_reason": word}
            rest: Json = {}
            if index == answers[-1]:
                rest = {**self._fields, "usage": self._told_usage()}
            tail = b"]," + encoded(rest)[1:] if rest else b"]}"
            out.append(self._head + encoded(choice) + tail + b"\n\n")
        out.append(DONE)
        return b"".join(out)

    def _told_usage(self) -> Json:
        told = self._own_usage
        if told is None:
            return write_usage(self._usage)
        return write_own_usage(self._usage, {**told.fields, **(told.silent or {})}, told.marks)

    # Chunks

    def _started(self, event: Started, out: list[bytes]) -> None:
        client = self._client
        self._id = reply_id(event.id, client)
        self._usage = overlay(self._usage, event.usage)
        self._native = event.own is not None and event.own.format == NAME
        self._chunks = ChunkWriter(self._losses, native=self._native)
        self._head = head_of(event, self._id, NAME, CHUNK, client, self._losses)

    def _say(self, answer: int, delta: Json, out: list[bytes]) -> None:
        choice = b'{"index":%d,"delta":%b,"finish_reason":null}]}\n\n' % (answer, encoded(delta))
        out.append(self._head + choice)

    def _begin(self, answer: int, out: list[bytes]) -> None:
        if answer not in self._answers:
            self._answers[answer] = None
            self._say(answer, {"role": "assistant", "content": ""}, out)

    # Blocks

    def _start(self, event: BlockStart, out: list[bytes]) -> None:
        self._begin(event.answer, out)
        block = event.block
        opened = self._open[event.answer, event.index] = Opened(block)
        match block:
            case Text(text) | Thinking(text) | Refused(text):
                if isinstance(block, Refused):
                    self._losses.approximated(block.at, "a refusal is said as text")
                if isinstance(block, Text):
                    self._chunks.around(block, {})
                self._said(opened, text, event.answer, out)
            case ToolCall(arguments=arguments):
                opened.pieces.append(arguments)
            case _:
                for shown in answered([block], self._losses):
                    if (chunk := self._chunks.chunk(shown)) is not None:
                        self._say(event.answer, {"content": [chunk]}, out)

    def _said(self, opened: Opened, text: str, answer: int, out: list[bytes]) -> None:
        if not text:
            return
        if isinstance(opened.block, Thinking):
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            self._say(answer, {"content": [thought]}, out)
        else:
            self._say(answer, {"content": text}, out)

    def _more(self, event: BlockDelta, out: list[bytes]) -> None:
        opened = self._open.get((event.answer, event.index))
        if opened is None:
            return
        if event.citation is not None:
            self._losses.dropped(opened.block.at, "Mistral takes no citations back")
        if event.opaque is not None:
            opened.opaque = event.opaque
        if isinstance(opened.block, ToolCall):
            opened.pieces.append(event.text)
        else:
            self._said(opened, event.text, event.answer, out)

    def _close(self, event: BlockEnd, out: list[bytes]) -> None:
        opened = self._open.pop((event.answer, event.index), None)
        if opened is None:
            return
        block = opened.block
        if isinstance(block, ToolCall):
            self._call(block, opened, event, out)
            return
        if isinstance(block, Thinking):
            own = block.own if event.own is None else event.own
            closing = self._chunks.thinking(replace(block, text="", opaque=opened.opaque, own=own))
            if len(closing) > 2:
                self._say(event.answer, {"content": [closing]}, out)
        else:
            opened.tell_bound(self._losses, NAME)

    def _call(self, block: ToolCall, opened: Opened, event: BlockEnd, out: list[bytes]) -> None:
        place = self._calls.get(event.answer, 0)
        self._calls[event.answer] = place + 1
        whole = opened.whole(block, event)
        seed = f"{self._id}:{event.answer}:{place}:{block.name}"
        id_ = call_id(block.id, seed, native=self._native)
        call = write_call(whole, id_, self._losses, native=self._native)
        call["index"] = place
        self._say(event.answer, {"tool_calls": [call]}, out)

    # Ends

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        """Held back until usage is known, which the last chunk tells."""
        self._begin(event.answer, out)
        at = f"choices[{event.answer}]"
        called = bool(self._calls.get(event.answer))
        word = finish_word(event.stop, self._losses, at, called=called)
        choice: Json = {"index": event.answer, "delta": {"content": ""}, "finish_reason": word}
        self._losses.own(event.own, at, NAME)
        if event.own is not None and event.own.format == NAME:
            for key, value in event.own.fields.items():
                name, dot, rest = key.partition(".")
                if dot and name == "message":
                    choice["delta"].setdefault(rest, value)
                else:
                    choice.setdefault(key, value)
        self._ends[event.answer] = choice

    def _used(self, event: Used, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _told(self, event: Told, out: list[bytes]) -> None:
        if event.format != NAME:
            self._losses.own(Own(event.format, event.fields), "", NAME)
        elif "usage" in event.marks:
            self._own_usage = event
        else:
            self._fields |= event.fields

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        out.append(PING)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self._failed = True
        out.append(b"data: " + encoded(write_error(event)) + b"\n\n")


_WRITERS: dict[type, Callable[[Writer, Any, list[bytes]], None]] = {
    Started: Writer._started,
    BlockStart: Writer._start,
    BlockDelta: Writer._more,
    BlockEnd: Writer._close,
    Finished: Writer._finished,
    Used: Writer._used,
    Told: Writer._told,
    Ping: Writer._ping,
    Failed: Writer._fail,
}
