"""Events -> Chat's stream of chunks.

https://platform.openai.com/docs/api-reference/chat-streaming. Every event is written as it comes. The chunk with usage
comes only if the client asked for it, and `[DONE]` only if nothing failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from interpose.formats.codecs.codec import Client, Json, encoded
from interpose.formats.codecs.leftovers import NO_MARKS
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Losses,
    Media,
    Opaque,
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

from .counts import write_own_usage, write_usage
from .envelope import DONE, PING, head_of
from .errors import write_error
from .facts import DETAIL_TEXTS, EXTRA, NAME, OURS, REASONING_DETAILS, REASONING_FIELDS
from .layout import line_of
from .replies import call_id, cited, finish_word, is_legacy, reply_id, tell_unwritable, write_media
from .turns import reasoning_field, write_call, write_detail

# What tells one detail from another, and is said with each of its pieces.
DETAIL_NAMES = frozenset(("type", "format", "index", "id"))
_SILENT = frozenset(("text:absent",))
CHUNK = "chat.completion.chunk"


class _Open:
    """A block that is being written."""

    __slots__ = ("block", "call", "citations", "detail", "field", "opaque", "size", "start")

    def __init__(self, block: Block, start: int) -> None:
        self.block = block
        self.start = start
        self.size = 0
        self.detail: Json | None = None
        self.citations: list[Citation] = []
        self.opaque: Opaque | None = getattr(block, "opaque", None)
        self.call = 0
        self.field = ""


class _Answer:
    """One answer so far: how many calls, how much text, and the layout of its blocks by their place."""

    __slots__ = ("calls", "finished", "layout", "said", "state")

    def __init__(self) -> None:
        self.calls = 0
        self.said = 0
        self.state = False
        self.finished = False
        self.layout: dict[int, str] = {}


class Writer:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._head = self._middle = self._tail = b""
        self._answers: dict[int, _Answer] = {}
        self._open: dict[tuple[int, int], _Open] = {}
        self._usage = Usage()
        self._asked = client.request.include_usage is True
        self._legacy = is_legacy(client)
        self._failed = False
        self._native = False
        self._id = ""
        self._fields: Json = {}
        self._own_usage: Own | None = None

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
        for index in list(self._answers):
            if not self._answers[index].finished:
                self._end(index, finish_word(None, self._called(self._answers[index]), self._losses, ""), {}, out)
        if self._asked:
            out.append(self._head + b"]" + self._end_of({"usage": self._told_usage()}))
        out.append(DONE)
        return b"".join(out)

    def _told_usage(self) -> Json:
        own = self._own_usage
        return write_usage(self._usage) if own is None else write_own_usage(self._usage, own.fields, own.marks)

    # Chunks

    def _started(self, event: Started, out: list[bytes]) -> None:
        client = self._client
        self._id = reply_id(event.id, client)
        self._usage = overlay(self._usage, event.usage)
        self._native = event.own is not None and event.own.format == NAME
        self._head = head_of(event, self._id, NAME, CHUNK, client, self._losses)
        # OpenAI says null in every chunk but the one that tells it.
        self._tail = b'],"usage":null}\n\n' if self._asked else b"]}\n\n"
        self._middle = b',"finish_reason":null}' + self._tail

    def _end_of(self, fields: Json) -> bytes:
        return b"," + encoded(fields)[1:] + b"\n\n"

    def _delta(self, answer: int, delta: bytes, out: list[bytes]) -> None:
        out.append(b'%b{"index":%d,"delta":%b%b' % (self._head, answer, delta, self._middle))

    def _say(self, answer: int, delta: Json, out: list[bytes]) -> None:
        self._delta(answer, encoded(delta), out)

    def _answer(self, index: int, out: list[bytes]) -> _Answer:
        found = self._answers.get(index)
        if found is None:
            found = self._answers[index] = _Answer()
            self._delta(index, b'{"role":"assistant","content":""}', out)
        return found

    # Blocks

    def _start(self, event: BlockStart, out: list[bytes]) -> None:
        answer = self._answer(event.answer, out)
        block = event.block
        opened = _Open(block, answer.said)
        self._open[event.answer, event.index] = opened
        match block:
            case Text(text, citations):
                opened.field = "content"
                opened.citations += citations
                if text:
                    self._text(opened, answer, text, event.answer, out)
            case Thinking(text):
                opened.field = self._field_of(block, opened)
                if text:
                    self._text(opened, answer, text, event.answer, out)
            case Refused(text):
                opened.field = "refusal"
                if text:
                    self._text(opened, answer, text, event.answer, out)
            case ToolCall():
                self._call(block, opened, answer, event.answer, out)
            case Media():
                message: Json = {}
                write_media(block, message, self._losses)
                if message:
                    self._say(event.answer, message, out)
            case _:
                tell_unwritable(block, self._losses)

    def _field_of(self, block: Thinking, opened: _Open) -> str:
        """Where reasoning is shown: where it came from, else where most clients of Chat look."""
        field = reasoning_field(block)
        if field in REASONING_FIELDS:
            return field
        if field is None:
            self._losses.carried(block.at, f"reasoning is in {REASONING_FIELDS[0]}, as compatible servers have it")
            return REASONING_FIELDS[0]
        detail = write_detail(block, _SILENT)
        opened.detail = {key: value for key, value in detail.items() if key in DETAIL_NAMES}
        return REASONING_DETAILS

    def _call(self, block: ToolCall, opened: _Open, answer: _Answer, index: int, out: list[bytes]) -> None:
        opened.call = answer.calls
        answer.calls += 1
        if self._legacy:
            if opened.call:
                self._losses.dropped(block.at, "a client that speaks of functions takes one call")
                opened.field = ""
                return
            self._say(index, {"function_call": {"name": block.name, "arguments": block.arguments}}, out)
            opened.field = "function_call"
            return
        id_ = call_id(block, NAME if self._native else "", f"{self._id}:{index}:{opened.call}")
        call = write_call(block, id_)
        call.pop(EXTRA, None)
        call.pop("index", None)
        self._losses.own(block.own, block.at, NAME)
        self._say(index, {"tool_calls": [{"index": opened.call, **call}]}, out)
        opened.field = "input" if block.kind == "custom" else "arguments"

    def _more(self, event: BlockDelta, out: list[bytes]) -> None:
        opened = self._open.get((event.answer, event.index))
        if opened is None:
            return
        if event.text:
            self._text(opened, self._answers[event.answer], event.text, event.answer, out)
        if event.citation is not None:
            opened.citations.append(event.citation)
        if event.opaque is not None:
            opened.opaque = event.opaque

    def _text(self, opened: _Open, answer: _Answer, text: str, index: int, out: list[bytes]) -> None:
        field = opened.field
        opened.size += len(text)
        if field == "content":
            answer.said += len(text)
            self._delta(index, b'{"content":%b}' % encoded(text), out)
        elif field in ("arguments", "input"):
            inner = b'"custom":{"input":' if field == "input" else b'"function":{"arguments":'
            self._delta(index, b'{"tool_calls":[{"index":%d,%b%b}}]}' % (opened.call, inner, encoded(text)), out)
        elif field == "function_call":
            self._say(index, {"function_call": {"arguments": text}}, out)
        elif opened.detail is not None:
            # OpenRouter says it twice: once for those who know of details.
            said = {**opened.detail, DETAIL_TEXTS.get(opened.detail["type"], "text"): text}
            self._say(index, {REASONING_FIELDS[1]: text, REASONING_DETAILS: [said]}, out)
        elif field:
            self._say(index, {field: text}, out)

    def _close(self, event: BlockEnd, out: list[bytes]) -> None:
        opened = self._open.pop((event.answer, event.index), None)
        if opened is None:
            return
        answer, block, opaque = self._answers[event.answer], opened.block, opened.opaque
        foreign = opaque is not None and opaque.format != NAME
        match block:
            case Text() | Thinking():
                summary = isinstance(block, Thinking) and block.summary
                kind = "text" if isinstance(block, Text) else "summary" if summary else "thinking"
                answer.layout[event.index] = line_of(kind, opened.size, opaque)
                answer.state = answer.state or foreign
                if isinstance(block, Text):
                    self._cite(opened, event.answer, out)
                elif opened.detail is not None:
                    self._detail(block, opened, event, out)
            case ToolCall():
                answer.layout[event.index] = "call"
                if opened.field == "arguments" and not (self._native or opened.size or block.arguments.strip()):
                    self._text(opened, answer, "{}", event.answer, out)
                if opaque is not None and opened.field != "function_call":
                    extra = {OURS: pack(opaque)} if foreign else {"google": {"thought_signature": opaque.payload}}
                    # The SDK's accumulator asserts that every piece of a call has a function.
                    call = {"index": opened.call, "function": {"arguments": ""}, EXTRA: extra}
                    if block.kind == "custom":
                        call = {"index": opened.call, "custom": {"input": ""}, EXTRA: extra}
                    self._say(event.answer, {"tool_calls": [call]}, out)
                    if foreign:
                        self._losses.carried(block.at, opaque.kind)

    def _detail(self, block: Thinking, opened: _Open, event: BlockEnd, out: list[bytes]) -> None:
        """The end of one of OpenRouter's details: what it has beside its text, or all of it if it has none."""
        marks = event.own.marks if event.own is not None and event.own.format == NAME else NO_MARKS
        detail = write_detail(Thinking("", block.summary, opened.opaque), marks)
        if not opened.size or detail.keys() - DETAIL_NAMES - set(DETAIL_TEXTS.values()):
            self._say(event.answer, {REASONING_DETAILS: [detail]}, out)

    def _cite(self, opened: _Open, index: int, out: list[bytes]) -> None:
        end = opened.start + opened.size
        at = opened.block.at
        annotations = [
            annotation
            for citation in opened.citations
            if (annotation := cited(citation, opened.start, end, at, self._losses)) is not None
        ]
        if annotations:
            self._say(index, {"annotations": annotations}, out)

    # Ends

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        answer = self._answer(event.answer, out)
        at = f"choices[{event.answer}]"
        fields: Json = {}
        if event.own is not None:
            self._losses.own(event.own, at, NAME)
            if event.own.format == NAME:
                fields = {key: value for key, value in event.own.fields.items() if not key.startswith("message.")}
                rest = {key[8:]: value for key, value in event.own.fields.items() if key.startswith("message.")}
                if any(value is not None for value in rest.values()):
                    self._say(event.answer, rest, out)
        self._end(event.answer, finish_word(event.stop, self._called(answer), self._losses, at), fields, out)

    def _called(self, answer: _Answer) -> str | None:
        if not answer.calls:
            return None
        return "function_call" if self._legacy else "tool_calls"

    def _end(self, index: int, word: str, fields: Json, out: list[bytes]) -> None:
        answer = self._answers[index]
        if answer.finished:
            return
        answer.finished = True
        if answer.state:
            layout = [answer.layout[place] for place in sorted(answer.layout)]
            self._say(index, {EXTRA: {OURS: layout}}, out)
            self._losses.carried(f"choices[{index}].message", "the order and the opaque state of its blocks")
        choice = {"index": index, "delta": {}, "finish_reason": word, **fields}
        tail = self._tail
        if self._fields:
            tail = tail[:-3] + self._end_of(self._fields)
            self._fields = {}
        out.append(self._head + encoded(choice) + tail)

    def _used(self, event: Used, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _told(self, event: Told, out: list[bytes]) -> None:
        if event.format != NAME:
            self._losses.own(Own(event.format, event.fields), "", NAME)
            return
        if "usage" in event.marks:
            self._own_usage = Own(NAME, event.fields, event.marks)
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
