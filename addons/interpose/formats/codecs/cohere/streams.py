"""Cohere's stream -> events: named events, each a piece of content, of the plan, of a call, or a citation.

https://docs.cohere.com/v2/docs/streaming. It ends with `message-end`; a `[DONE]` behind it says nothing more, and one
without it is no end. Content, calls and citations are numbered apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.chat.streams import DONE, TRUNCATED, parse
from interpose.formats.codecs.codec import Json
from interpose.ir import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Own,
    Started,
    Text,
    Thinking,
    Told,
    ToolCall,
    Used,
)
from interpose.ir.blocks import Block
from interpose.ir.reply import NOT_TOLD
from interpose.wire.error import WireError
from interpose.wire.sse import SseDecoder, SseEvent

from .calls import planned
from .citations import cited, read_citation
from .errors import failed_of
from .facts import NAME, ORIGIN, REASONS, SIGNATURE, carried
from .replies import stop_of
from .usage import read_usage

_NO_DELTA: Json = {}
_ENDS = frozenset(("finish_reason", "usage", "error"))


class Reader:
    """`_content` and `_calls` are the blocks that Cohere's numbers stand for; `_open` those that have not ended.

    The end of a text waits for what comes behind it: its citations may.
    """

    def __init__(self) -> None:
        self._decoder = SseDecoder()
        self._started = self._ended = False
        self._next = 0
        self._content: dict[int, int] = {}
        self._texts: dict[int, None] = {}
        self._calls: dict[int, int] = {}
        self._open: dict[int, None] = {}
        self._waiting: dict[int, None] = {}
        self._plan: int | None = None
        self._citations = 0
        self._uncited: list[Any] = []
        self._marks: set[str] = set()
        self._message: Json = {}
        self._fields: Json = {}
        self._strange: list[Json] = []

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            events = self._decoder.feed(data)
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return out
        for event in events:
            if not self._ended:
                self._event(event, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        try:
            events = [] if self._ended else self._decoder.finish()
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return out
        for event in events:
            if not self._ended:
                self._event(event, out)
        if not self._ended:
            self._fail(Failed(TRUNCATED, code="truncated"), out)
        return out

    def _event(self, event: SseEvent, out: list[Event]) -> None:
        data = event.data
        if not data.strip() or (len(data) < 32 and data.strip() == DONE):
            return
        chunk = parse(data)
        if type(chunk) is not dict:
            self._fail(Failed(f"an event of the provider's stream could not be read: {data[:80]!r}"), out)
            return
        kind = chunk.get("type")
        handler = _EVENTS.get(kind) if type(kind) is str else None
        if handler is None:
            if kind is None and (chunk.get("message") or chunk.get("error")):
                self._fail(failed_of(chunk), out)
            else:
                self._strange.append(chunk)
            return
        if not self._started and kind != "message-start":
            self._started = True
            out.append(Started())
        delta = chunk.get("delta")
        handler(self, chunk, delta if type(delta) is dict else _NO_DELTA, out)

    # What is said

    def _start(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        if self._started:
            self._strange.append(chunk)
            return
        self._started = True
        id_ = chunk.get("id")
        message = delta.get("message")
        if type(message) is dict:
            for key, value in message.items():
                if key == "role" and value == "assistant":
                    self._marks.add("role")
                elif value not in (None, "", [], {}):
                    self._message[key] = value
        marks = frozenset(("id",) if isinstance(id_, str) else ())
        out.append(Started(id_ if isinstance(id_, str) else "", own=Own(NAME, {}, marks)))

    def _content_start(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index, content = _numbered(chunk), _inner(delta, "content")
        if index is None or content is None or index in self._content:
            self._strange.append(chunk)
            return
        kind = content.get("type")
        self._open_content(index, kind if type(kind) is str else "", content, out)

    def _open_content(self, index: int, kind: str, content: Json, out: list[Event]) -> int:
        block: Block
        at = f"message.content[{index}]"
        if kind == "text" and type(content.get("text", "")) is str:
            block = Text(content.get("text", ""), opaque=carried(content), at=at)
            self._texts[index] = None
        elif kind == "thinking" and type(content.get("thinking", "")) is str:
            block = Thinking(content.get("thinking", ""), opaque=carried(content) or ORIGIN, at=at)
        else:
            block = Foreign(NAME, kind or "part", content, at=at)
        place = self._content[index] = self._begin(block, out)
        self._marks.add("content:parts")
        return place

    def _begin(self, block: Block, out: list[Event]) -> int:
        self._settle(out)
        place = self._next
        self._next += 1
        self._open[place] = None
        out.append(BlockStart(place, block))
        return place

    def _content_delta(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index, content = _numbered(chunk), _inner(delta, "content")
        if index is None or content is None:
            self._strange.append(chunk)
            return
        kind = "thinking" if "thinking" in content else "text"
        text = content.get(kind)
        if type(text) is not str or (len(content) > 1 and content.keys() - {kind, SIGNATURE}):
            self._strange.append(chunk)
            return
        place = self._content.get(index)
        if place is None:
            place = self._open_content(index, kind, {}, out)
        if "logprobs" in chunk:
            self._fields.setdefault("logprobs", []).append(chunk["logprobs"])
        if place not in self._open:
            self._strange.append(chunk)
            return
        opaque = carried(content) if len(content) > 1 else None
        if text or opaque is not None:
            out.append(BlockDelta(place, text, opaque=opaque))

    def _content_end(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index = _numbered(chunk)
        place = None if index is None else self._content.get(index)
        if place is not None and place in self._open:
            self._waiting[place] = None

    def _settle(self, out: list[Event]) -> None:
        """Ends what was only waiting for citations, and the plan."""
        if self._plan is not None and self._plan in self._open:
            self._waiting[self._plan] = None
        for place in self._waiting:
            self._end(place, out)
        self._waiting.clear()

    def _end(self, place: int, out: list[Event]) -> None:
        if place in self._open:
            del self._open[place]
            out.append(BlockEnd(place))

    def _planned(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        message = delta.get("message")
        text = message.get("tool_plan") if type(message) is dict else None
        if type(text) is not str or (self._plan is not None and self._plan not in self._open):
            self._strange.append(chunk)
            return
        if self._plan is None:
            self._plan = self._begin(planned("", "message.tool_plan"), out)
        if text:
            out.append(BlockDelta(self._plan, text))

    # Calls

    def _call_start(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index, call = _numbered(chunk), _inner(delta, "tool_calls")
        inner = call.get("function") if call is not None else None
        if index is None or call is None or index in self._calls or type(inner) is not dict:
            self._strange.append(chunk)
            return
        name, arguments = inner.get("name"), inner.get("arguments", "")
        if type(name) is not str or type(arguments) is not str:
            self._strange.append(chunk)
            return
        self._call(index, call, inner, out)

    def _call(self, index: int, call: Json, inner: Json, out: list[Event]) -> None:
        name, arguments, id_ = inner.pop("name"), inner.pop("arguments", ""), call.pop("id", None)
        marks: list[str] = [] if call.pop("type", None) == "function" else ["type:other"]
        if type(id_) is not str:
            marks.append("id:absent")
            id_ = ""
        del call["function"]
        opaque = carried(call)
        fields = {**call, **{f"function.{key}": value for key, value in inner.items()}}
        own = Own(NAME, fields, frozenset(marks)) if fields or marks else None
        at = f"message.tool_calls[{len(self._calls)}]"
        self._calls[index] = self._begin(ToolCall(id_, name, arguments, opaque=opaque, at=at, own=own), out)

    def _call_delta(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index, call = _numbered(chunk), _inner(delta, "tool_calls")
        place = None if index is None else self._calls.get(index)
        inner = call.get("function", _NO_DELTA) if call is not None else None
        text = inner.get("arguments", "") if type(inner) is dict else None
        if call is None or place is None or place not in self._open or type(text) is not str:
            self._strange.append(chunk)
            return
        opaque = carried(call) if len(call) > 1 else None
        if text or opaque is not None:
            out.append(BlockDelta(place, text, opaque=opaque))

    def _call_end(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        index = _numbered(chunk)
        place = None if index is None else self._calls.get(index)
        if place is not None:
            self._end(place, out)

    # Citations

    def _cite(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        message = delta.get("message")
        told = message.get("citations") if type(message) is dict else None
        for citation in told if type(told) is list else [told]:
            index = cited(citation)
            place: int | None = None
            if index is None:
                place = self._plan
            elif index is not False:
                number = next(iter(self._texts), None) if index == -1 else index if index in self._texts else None
                place = None if number is None else self._content.get(number)
            if place is not None and place in self._open:
                out.append(BlockDelta(place, citation=read_citation(citation, self._citations)))
            else:
                self._uncited.append(citation)
            self._citations += 1

    def _nothing(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        pass

    # Ends

    def _finish(self, chunk: Json, delta: Json, out: list[Event]) -> None:
        raw, error = delta.get("finish_reason"), delta.get("error")
        raw = raw if type(raw) is str else None
        if error or REASONS.get(raw or "") == "error":
            told = error if type(error) is str and error else f"the provider's answer ended in {raw or 'an error'}"
            self._fail(Failed(told, 504 if raw == "TIMEOUT" else 502, type=raw), out)
            return
        self._settle(out)
        for place in list(self._open):
            self._end(place, out)
        self._ended = True
        if self._uncited:
            self._message["citations"] = self._uncited
        fields = {f"message.{key}": value for key, value in self._message.items()}
        out.append(Finished(stop_of(raw, called=bool(self._calls)), own=Own(NAME, fields, frozenset(self._marks))))
        usage = delta.get("usage")
        silent = None
        if type(usage) is dict:
            read, left = read_usage(usage)
            silent = {"usage": left}
            if read != NOT_TOLD:
                out.append(Used(read))
        self._fields |= {key: value for key, value in delta.items() if key not in _ENDS}
        if self._strange:
            self._fields["events"] = self._strange
        out.append(Told(NAME, self._fields, silent=silent))

    def _fail(self, failed: Failed, out: list[Event]) -> None:
        if not self._ended:
            self._ended = True
            out.append(failed)


def _numbered(chunk: Json) -> int | None:
    """Which one of its kind; the first where it is not said."""
    index = chunk.get("index", 0)
    return index if type(index) is int and 0 <= index < 1 << 32 else None


def _inner(delta: Json, key: str) -> Json | None:
    message = delta.get("message")
    inner = message.get(key) if type(message) is dict else None
    return inner if type(inner) is dict else None


_EVENTS: dict[str, Callable[[Reader, Json, Json, list[Event]], None]] = {
    "message-start": Reader._start,
    "content-start": Reader._content_start,
    "content-delta": Reader._content_delta,
    "content-end": Reader._content_end,
    "tool-plan-delta": Reader._planned,
    "tool-call-start": Reader._call_start,
    "tool-call-delta": Reader._call_delta,
    "tool-call-end": Reader._call_end,
    "citation-start": Reader._cite,
    "citation-end": Reader._nothing,
    "message-end": Reader._finish,
}
