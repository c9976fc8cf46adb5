"""Events -> Cohere's stream of named events.

https://docs.cohere.com/v2/docs/streaming. Everything is written as it comes, but for the arguments of a call that must
be wrapped. `message-end` tells why it ended and what was used; behind it stands `[DONE]`, as Cohere's servers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from interpose.formats.codecs.chat.envelope import DONE, PING
from interpose.formats.codecs.codec import Client, Json
from interpose.formats.codecs.ollama.writer import line_json as to_json
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Opaque,
    Own,
    Ping,
    Refused,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    ToolResult,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .calls import is_planned, write_call
from .citations import place_of, write_citation
from .errors import write_error
from .facts import NAME, SIGNATURE, lay_over
from .parts import PartWriter
from .replies import finish_word, reply_call_id
from .usage import write_own_usage, write_usage


def event(kind: str, body: bytes) -> bytes:
    """One event, whose JSON begins with its own name."""
    name = kind.encode()
    return b"event: " + name + b'\ndata: {"type":"' + name + b'"' + body + b"}\n\n"


class _Open:
    """A block that is being written: `kind` is "text", "thinking", "plan", "call", "held" (a call whose arguments must
    be whole) or "" for what was left out; `index` its number in Cohere's words, `said` whether arguments have come.
    """

    __slots__ = ("block", "index", "kind", "opaque", "pieces", "said")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.kind = ""
        self.index = 0
        self.opaque: Opaque | None = getattr(block, "opaque", None)
        self.pieces: list[str] = []
        self.said = False


class Writer:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._id = ""
        self._native = self._started = self._failed = self._called = False
        self._parts = PartWriter(losses, native=False)
        self._open: dict[int, _Open] = {}
        self._contents = self._calls = self._cited = 0
        self._stop: Stop | None = None
        self._usage = Usage()
        self._own_usage: Json | None = None
        self._fields: Json = {}

    def write(self, events: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        for each in events:
            if self._failed:
                break
            _WRITERS[type(each)](self, each, out)
        return b"".join(out)

    def finish(self) -> bytes:
        if self._failed:
            return b""
        out: list[bytes] = []
        self._begin(Started(), out)
        delta: Json = {}
        if not self._native or (self._stop is not None and self._stop.raw is not None):
            delta["finish_reason"] = finish_word(self._stop, self._losses, called=self._called)
        if self._own_usage is not None:
            delta["usage"] = write_own_usage(self._usage, self._own_usage)
        elif not self._native:
            delta["usage"] = write_usage(self._usage)
        delta |= self._fields
        out.append(event("message-end", b',"delta":' + to_json(delta)))
        out.append(DONE)
        return b"".join(out)

    def _begin(self, started: Started, out: list[bytes]) -> None:
        if not self._started:
            self._begun(started, out)

    def _begun(self, started: Started, out: list[bytes]) -> None:
        self._started = True
        self._usage = overlay(self._usage, started.usage)
        if started.own is not None:
            self._native = started.own.format == NAME
            self._losses.own(started.own, "", NAME)
            self._keep(started.own)
        self._parts = PartWriter(self._losses, native=self._native)
        self._id = started.id or self._client.id
        message: Json = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        head = b',"id":' + to_json(self._id) + b',"delta":{"message":' + to_json(message) + b"}"
        out.append(event("message-start", head))

    def _keep(self, own: Own) -> None:
        if own.format == NAME:
            self._fields |= own.fields
            if own.silent and isinstance(usage := own.silent.get("usage"), dict):
                self._own_usage = usage

    # Blocks

    def _start(self, start: BlockStart, out: list[bytes]) -> None:
        if start.answer:
            self._losses.dropped(f"choices[{start.answer}]", "Cohere gives one answer")
            return
        self._begin(Started(), out)
        opened = self._open[start.index] = _Open(start.block)
        match start.block:
            case Text() | Refused() | Thinking():
                self._content(opened, out)
            case ToolCall():
                self._call(opened, out)
            case Foreign() if start.block.format == NAME and isinstance(start.block.value, dict):
                opened.index = self._contents
                self._contents += 1
                value = to_json(start.block.value)
                out.append(_content("content-start", opened.index, value))
                out.append(event("content-end", _index(opened.index)))
            case Media() | Foreign() | ToolResult():
                kind = start.block.kind
                self._losses.dropped(start.block.at, f"a reply of Cohere's has no place for {kind}")

    def _content(self, opened: _Open, out: list[bytes]) -> None:
        block = opened.block
        if isinstance(block, Refused):
            self._losses.approximated(block.at, "a refusal is said as text")
            self._losses.own(block.own, block.at, NAME)
        elif isinstance(block, Text | Thinking):
            self._parts.around(replace(block, opaque=None), {})
        if self._called and not self._native:
            self._losses.approximated(block.at, "calls are beside the content: that it stood behind one is lost")
        text = getattr(block, "text", "")
        if is_planned(block):
            opened.kind = "plan"
        else:
            opened.kind = "thinking" if isinstance(block, Thinking) else "text"
            opened.index = self._contents
            self._contents += 1
            kind = opened.kind.encode()
            out.append(_content("content-start", opened.index, b'{"type":"' + kind + b'","' + kind + b'":""}'))
        for citation in getattr(block, "citations", ()):
            self._cite(opened, citation, out)
        self._said(opened, text, out)

    def _said(self, opened: _Open, text: str, out: list[bytes]) -> None:
        if not text:
            return
        if opened.kind == "plan":
            out.append(event("tool-plan-delta", b',"delta":{"message":{"tool_plan":' + to_json(text) + b"}}"))
        elif opened.kind:
            said = b'{"' + opened.kind.encode() + b'":' + to_json(text) + b"}"
            out.append(_content("content-delta", opened.index, said))

    def _more(self, delta: BlockDelta, out: list[bytes]) -> None:
        opened = None if delta.answer else self._open.get(delta.index)
        if opened is None:
            return
        if delta.opaque is not None:
            opened.opaque = delta.opaque
        if delta.citation is not None:
            self._cite(opened, delta.citation, out)
        if opened.kind == "call":
            self._argued(opened, delta.text, out)
        elif opened.kind == "held":
            opened.pieces.append(delta.text)
        else:
            self._said(opened, delta.text, out)

    def _cite(self, opened: _Open, citation: Any, out: list[bytes]) -> None:
        if place_of(citation) is not None:
            value = citation.own.fields
        else:
            index = None if opened.kind == "plan" else opened.index
            value = write_citation(citation, index, self._losses, opened.block.at)
        numbered = _index(self._cited)
        self._cited += 1
        told = b',"delta":{"message":{"citations":' + to_json(value) + b"}}"
        out += (event("citation-start", numbered + told), event("citation-end", numbered))

    def _close(self, end: BlockEnd, out: list[bytes]) -> None:
        opened = None if end.answer else self._open.pop(end.index, None)
        if opened is None or not opened.kind:
            return
        block = opened.block
        if isinstance(block, ToolCall):
            self._called_whole(opened, block, out)
            return
        state = self._state(opened)
        if opened.kind == "plan":
            return
        if state:
            said = b'{"' + opened.kind.encode() + b'":"","' + SIGNATURE.encode() + b'":' + state + b"}"
            out.append(_content("content-delta", opened.index, said))
        out.append(event("content-end", _index(opened.index)))

    def _state(self, opened: _Open) -> bytes:
        """Another model's state, packed; b"" where there is none, or where it cannot travel."""
        opaque, block = opened.opaque, opened.block
        if opaque is None or opaque.format == NAME:
            return b""
        if not self._native:
            if isinstance(block, Text):
                self._losses.bound(opaque, block.at, NAME)
                return b""
            self._losses.carried(block.at, opaque.kind)
        return to_json(pack(opaque))

    # Calls

    def _call(self, opened: _Open, out: list[bytes]) -> None:
        block = opened.block
        assert isinstance(block, ToolCall)
        opened.index = self._calls
        self._calls += 1
        self._called = True
        opened.kind = "held" if block.kind == "custom" else "call"
        id_ = reply_call_id(block, self._id, opened.index, native=self._native)
        # It begins without arguments; what a custom tool takes is wrapped when it is whole.
        bare = replace(block, arguments="", kind="function", opaque=None)
        call = write_call(bare, id_, self._losses, native=True, carries=True)
        self._losses.own(block.own, block.at, NAME)
        told = b',"delta":{"message":{"tool_calls":' + to_json(call) + b"}}"
        out.append(event("tool-call-start", _index(opened.index) + told))
        if opened.kind == "held":
            opened.pieces.append(block.arguments)
        else:
            self._argued(opened, block.arguments, out)

    def _argued(self, opened: _Open, text: str, out: list[bytes]) -> None:
        if text:
            opened.said = opened.said or bool(text.strip())
            self._call_delta(opened, {"function": {"arguments": text}}, out)

    def _call_delta(self, opened: _Open, call: Json, out: list[bytes]) -> None:
        told = b',"delta":{"message":{"tool_calls":' + to_json(call) + b"}}"
        out.append(event("tool-call-delta", _index(opened.index) + told))

    def _called_whole(self, opened: _Open, block: ToolCall, out: list[bytes]) -> None:
        if opened.kind == "held":
            whole = replace(block, arguments="".join(opened.pieces), own=None, opaque=None, cache=None)
            call = write_call(whole, block.id, self._losses, native=self._native, carries=True)
            self._argued(opened, call["function"]["arguments"], out)
        elif not opened.said and not self._native:
            self._argued(opened, "{}", out)
        if state := self._state(opened):
            told = b',"delta":{"message":{"tool_calls":{"' + SIGNATURE.encode() + b'":' + state
            out.append(event("tool-call-delta", _index(opened.index) + told + b',"function":{"arguments":""}}}}'))
        out.append(event("tool-call-end", _index(opened.index)))

    # Ends

    def _finished(self, finished: Finished, out: list[bytes]) -> None:
        """Held back until usage is known, which the last event tells."""
        if finished.answer:
            return
        self._stop = finished.stop
        self._losses.own(finished.own, "message", NAME)
        if finished.own is None or finished.own.format != NAME:
            return
        outer: Json = {}
        lay_over(outer, finished.own, "message")
        citations = outer.get("message", {}).pop("citations", None)
        for citation in citations if isinstance(citations, list) else ():
            numbered = _index(self._cited)
            self._cited += 1
            told = b',"delta":{"message":{"citations":' + to_json(citation) + b"}}"
            out += (event("citation-start", numbered + told), event("citation-end", numbered))

    def _used(self, used: Used, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, used.usage)

    def _told(self, told: Told, out: list[bytes]) -> None:
        own = Own(told.format, told.fields, told.marks, told.silent)
        if told.format == NAME:
            self._keep(own)
        else:
            self._losses.own(own, "", NAME)

    def _ping(self, ping: Ping, out: list[bytes]) -> None:
        out.append(PING)

    def _fail(self, failed: Failed, out: list[bytes]) -> None:
        """The last event says it: https://docs.cohere.com/v2/reference/chat-stream"""
        self._failed = True
        delta = {"finish_reason": "ERROR", "error": write_error(failed)["message"]}
        out.append(event("message-end", b',"delta":' + to_json(delta)))


def _index(index: int) -> bytes:
    return b',"index":%d' % index


def _content(kind: str, index: int, value: bytes) -> bytes:
    return event(kind, b',"index":%d,"delta":{"message":{"content":' % index + value + b"}}")


_WRITERS: dict[type, Callable[[Writer, Any, list[bytes]], None]] = {
    Started: Writer._begun,
    BlockStart: Writer._start,
    BlockDelta: Writer._more,
    BlockEnd: Writer._close,
    Finished: Writer._finished,
    Used: Writer._used,
    Told: Writer._told,
    Ping: Writer._ping,
    Failed: Writer._fail,
}
