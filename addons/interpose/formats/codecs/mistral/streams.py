"""Mistral's stream -> events: Chat's chunks, whose content is a text or a list of typed chunks.

https://docs.mistral.ai/api/endpoint/chat. Thinking comes in pieces, each a chunk; the pieces that follow on each other
are one block.
"""

from __future__ import annotations

from interpose.formats.codecs.chat.calls import Calls
from interpose.formats.codecs.chat.choices import merged
from interpose.formats.codecs.chat.errors import failed_of
from interpose.formats.codecs.chat.streams import Reader
from interpose.formats.codecs.codec import Json, dumps
from interpose.ir import Block, BlockDelta, BlockEnd, BlockStart, Event, Failed, Finished, Own, Stop, Text, Thinking
from interpose.ir.reply import Told

from .chunks import is_signed, origin, plain_thoughts, read_chunk
from .errors import details
from .facts import NAME
from .replies import mistral_stop, usage_of

_KNOWN = frozenset(("index", "delta", "message", "finish_reason"))
_THINKING = frozenset(("type", "thinking", "closed", "signature"))


class Choice:
    """One answer of a stream that is read."""

    __slots__ = (
        "_at",
        "_calls",
        "_closed",
        "_fields",
        "_index",
        "_message",
        "_next",
        "_open",
        "_open_at",
        "_rest",
        "_stop",
        "finished",
    )

    def __init__(self, index: int) -> None:
        self._index = index
        self._at = f"choices[{index}].message"
        self._next = 0
        self._open = ""
        self._open_at = 0
        self._closed: bool | None = None
        self._rest: Json = {}
        self._calls = Calls(index)
        self._fields: Json = {}
        self._message: Json = {}
        self._stop: str | None = None
        self.finished = False

    def read(self, choice: Json, out: list[Event]) -> Failed | None:
        delta = choice.get("delta")
        if type(delta) is not dict:
            delta = choice.get("message")
        if type(delta) is dict:
            self._delta(delta, out)
        for key, value in choice.items():
            if key not in _KNOWN and value is not None:
                self._fields[key] = merged(self._fields.get(key), value, joined=False)
        reason = choice.get("finish_reason")
        if type(reason) is str and reason:
            if reason == "error":
                return failed_of(
                    choice if choice.get("error") else {"message": "the provider's answer ended in an error"}
                )
            self._stop, self.finished = reason, True
            self._finish_blocks(out)
        return None

    def end(self, out: list[Event]) -> None:
        self._finish_blocks(out)
        calls = bool(self._calls)
        if self._stop is None:
            stop = Stop("tool_calls" if calls else "end", None, NAME)
        else:
            stop = mistral_stop(self._stop, self._fields, calls=calls)
        fields = {**self._fields, **{f"message.{key}": value for key, value in self._message.items()}}
        # What a whole reply says where nothing was said.
        out.append(Finished(stop, self._index, Own(NAME, fields, frozenset(("role", "content:empty")))))

    def _finish_blocks(self, out: list[Event]) -> None:
        self._close(out)
        start = len(out)
        self._next = self._calls.close(self._next, out)
        for event in out[start:]:
            if isinstance(event, BlockEnd) and event.own is not None:
                event.own.format = NAME

    def _delta(self, delta: Json, out: list[Event]) -> None:
        delta.pop("role", None)
        content = delta.pop("content", None)
        if type(content) is str:
            if content:
                self._piece("text", Text("", at=f"{self._at}.content"), content, out)
        elif type(content) is list:
            for chunk in content:
                if type(chunk) is dict:
                    self._chunk(chunk, out)
        calls = delta.pop("tool_calls", None)
        if type(calls) is list and calls:
            self._close(out)
            for call in calls:
                inner = call.get("function") if type(call) is dict else None
                if type(inner) is dict and type(inner.get("arguments")) is dict:
                    inner["arguments"] = dumps(inner["arguments"])
            self._next = self._calls.read(calls, self._next, out)
        for key, value in delta.items():
            if value is not None:
                self._message[key] = merged(self._message.get(key), value, joined=True)

    def _chunk(self, chunk: Json, out: list[Event]) -> None:
        kind = chunk.get("type")
        if kind == "text" and type(text := chunk.get("text")) is str and len(chunk) == 2:
            if text:
                self._piece("text", Text("", at=f"{self._at}.content"), text, out)
            return
        if kind == "thinking" and (texts := plain_thoughts(chunk.get("thinking"))) is not None:
            if type(closed := chunk.get("closed")) is bool:
                self._closed = closed
            text, signed = "".join(texts), is_signed(chunk)
            if text or signed:
                self._piece("thinking", Thinking("", opaque=origin(), at=f"{self._at}.content"), text, out)
            if signed:
                out.append(BlockDelta(self._open_at, opaque=origin(chunk["signature"]), answer=self._index))
            for key, value in chunk.items():
                if key not in _THINKING and value is not None:
                    self._rest[key] = value
            return
        self._close(out)
        out.append(BlockStart(self._next, read_chunk(chunk, f"{self._at}.content"), self._index))
        out.append(BlockEnd(self._next, self._index))
        self._next += 1

    def _piece(self, kind: str, block: Block, text: str, out: list[Event]) -> None:
        if self._open != kind:
            self._close(out)
            self._open, self._open_at = kind, self._next
            self._next += 1
            out.append(BlockStart(self._open_at, block, self._index))
        if text:
            out.append(BlockDelta(self._open_at, text, answer=self._index))

    def _close(self, out: list[Event]) -> None:
        if not self._open:
            return
        own = None
        if self._open == "thinking" and (self._closed is not None or self._rest):
            own = Own(NAME, self._rest, silent=None if self._closed is None else {"closed": self._closed})
            self._closed, self._rest = None, {}
        out.append(BlockEnd(self._open_at, self._index, own))
        self._open = ""


class MistralReader(Reader):
    """Chat's reader of chunks, over Mistral's choices."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Choice, NAME)

    def _chunk(self, chunk: Json, out: list[Event]) -> None:
        # Padding against the reading of lengths.
        chunk.pop("p", None)
        super()._chunk(chunk, out)

    def _told_usage(self, usage: Json) -> Told:
        rest: Json = {}
        marks: list[str] = []
        _, silent = usage_of(usage, rest, marks)
        return Told(NAME, rest, frozenset(marks), silent)

    def _failure(self, chunk: Json, event: bytes) -> Failed | None:
        failed = super()._failure(chunk, event)
        if failed is not None:
            details(failed, chunk)
        return failed
