"""A provider's stream read: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html

messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata. Only metadata, which comes
after messageStop, ends it well; what is told of the end is held until then, so that no client hears of a good end that
did not come.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interpose.formats.codecs.anthropic.errors import EXCEPTIONS
from interpose.formats.codecs.anthropic.framing import Unreadable, parse_object
from interpose.formats.codecs.codec import Malformed, loads
from interpose.formats.codecs.opaque import unpack
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Opaque,
    Own,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    Used,
)
from interpose.wire.error import WireError
from interpose.wire.eventstream import EventStreamDecoder, Message

from .blocks_in import READERS, read_blocks, read_citation
from .names import CITED, CONTENTLESS, EMPTY, FORMAT, TEXTLESS, Json, hush, own
from .replies import CONTENT, QUIET, take_stop
from .usage import take_usage

_TYPE = frozenset(("type",))


@dataclass(slots=True)
class _Open:
    """A block that is being told: piece by piece (`block`), or of ours and told when it is complete (`whole`). `place`
    is its own among the blocks of the reply, which is no concern of the index that the wire gives it.
    """

    block: Block | None
    place: int = -1
    said: bool = False
    cited: bool = False
    silent: Json | None = None
    whole: Json = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)


class ConverseReader:
    def __init__(self) -> None:
        self._decoder = EventStreamDecoder()
        self._events: list[Event] = []
        self._started = False
        self._open: dict[int, _Open] = {}
        self._seen: set[int] = set()
        self._places = 0
        self._stop: Stop | None = None
        self._left: Json = {}
        self._done = False

    def feed(self, data: bytes) -> list[Event]:
        if self._done:
            return []
        events: list[Event] = []
        self._events = events
        try:
            for message in self._decoder.feed(data):
                if not self._goes_on(message):
                    break
        except (WireError, Unreadable) as error:
            self._fail(Failed(f"The provider's stream cannot be read: {error}"))
        except Malformed as error:
            self._fail(Failed(f"The provider's stream is malformed: {error}"))
        return events

    def close(self) -> list[Event]:
        if self._done:
            return []
        self._events = []
        self._fail(Failed("The provider's stream ended before its metadata."))
        return self._events

    def _fail(self, failed: Failed) -> None:
        self._done = True
        self._events.append(failed)

    def _goes_on(self, message: Message) -> bool:
        self._message(message)
        return not self._done

    def _message(self, message: Message) -> None:
        headers, payload = message
        kind = headers.get(":message-type")
        if kind == "event":
            node = parse_object(payload) if payload else {}
            node.pop("p", None)  # padding, against the guessing of lengths
            self._event(str(headers.get(":event-type", "")), node)
        elif kind == "exception":
            self._fail(_exception(str(headers.get(":exception-type", "")), payload))
        else:
            # https://smithy.io/2.0/aws/amazon-eventstream.html: an error that no model describes
            told, code = headers.get(":error-message"), headers.get(":error-code")
            self._fail(Failed(str(told or code or "The provider's stream ended in an error."), 502, str(code or "")))

    def _event(self, name: str, node: Json) -> None:
        if self._started == (name == "messageStart"):
            raise Malformed(name, "came twice" if self._started else "came before messageStart")
        handler = HANDLERS.get(name)
        if handler is None:
            self._events.append(Told(FORMAT, {f"event:{name}": node}))
        else:
            handler(self, node)

    def _message_start(self, node: Json) -> None:
        if node.pop("role", "assistant") != "assistant":
            raise Malformed("messageStart.role", "is not the assistant's")
        self._started = True
        self._events.append(Started(own=own(node)))

    def _index(self, node: Json) -> int:
        index = node.get("contentBlockIndex", 0)
        if type(index) is not int or self._stop is not None:
            raise Malformed("contentBlockIndex", "is no number, or came after messageStop")
        return index

    def _block_start(self, node: Json) -> None:
        index, start = self._index(node), node.get("start")
        if index in self._seen or not isinstance(start, dict):
            raise Malformed("contentBlockStart", "has no start, or began before")
        self._seen.add(index)
        call = start.get("toolUse")
        if isinstance(call, dict) and len(start) == 1 and call.get("type", "tool_use") == "tool_use":
            id_, name = call.pop("toolUseId", None), call.pop("name", None)
            if not isinstance(id_, str) or not isinstance(name, str):
                raise Malformed("contentBlockStart.start.toolUse", "has no toolUseId and name")
            quiet = hush(call, _TYPE)
            self._begin(index, ToolCall(id_, name, "", "function", None, None, "", own(call, silent=quiet)))
        else:
            self._open[index] = _Open(None, whole=start)

    def _begin(self, index: int, block: Block) -> _Open:
        place = self._place()
        block.at = f"{CONTENT}[{place}]"
        self._open[index] = opened = _Open(block, place)
        self._events.append(BlockStart(place, block))
        return opened

    def _place(self) -> int:
        place = self._places
        self._places += 1
        return place

    def _block_delta(self, node: Json) -> None:
        index, delta = self._index(node), node.get("delta")
        if not isinstance(delta, dict) or len(delta) != 1:
            raise Malformed("contentBlockDelta.delta", "is not one of the deltas")
        [(kind, value)] = delta.items()
        opened = self._open.get(index)
        if opened is None:
            if index in self._seen:
                raise Malformed("contentBlockDelta", "came after its block's end")
            self._seen.add(index)
            opened = self._first(index, kind, value)
        elif kind in _STARTLESS and not _goes_on(opened, kind, value):
            # Reasoning and text under one index are two blocks all the same.
            self._end(opened)
            opened = self._first(index, kind, value)
        if opened.block is None:
            _hold(opened, kind, value)
        elif kind in DELTAS and isinstance(opened.block, DELTAS[kind][0]):
            DELTAS[kind][1](self, opened, value)
        else:
            self._events.append(Told(FORMAT, {"event:contentBlockDelta": node}))

    def _first(self, index: int, kind: str, value: object) -> _Open:
        """Only tools and images begin with a start."""
        if kind == "reasoningContent" and not _is_redacted(value):
            return self._begin(index, Thinking())
        if kind in ("text", "citation"):
            return self._begin(index, Text(""))
        self._open[index] = opened = _Open(None)
        return opened

    def _text(self, opened: _Open, value: object) -> None:
        if not isinstance(value, str):
            raise Malformed("contentBlockDelta.delta.text", "is no text")
        opened.said = opened.said or bool(value)
        self._events.append(BlockDelta(opened.place, value))

    def _citation(self, opened: _Open, value: object) -> None:
        if not isinstance(value, dict):
            raise Malformed("contentBlockDelta.delta.citation", "is no object")
        opened.cited = True
        self._events.append(BlockDelta(opened.place, citation=read_citation(value)))

    def _reasoning(self, opened: _Open, value: object) -> None:
        if isinstance(value, dict):
            text, signature = value.get("text"), value.get("signature")
            if isinstance(text, str):
                opened.said = True
                self._events.append(BlockDelta(opened.place, text))
            elif signature == "":
                opened.silent = {"signature": ""}
            elif isinstance(signature, str):
                opaque = unpack(signature) or Opaque(FORMAT, "signature", signature)
                self._events.append(BlockDelta(opened.place, opaque=opaque))
            else:
                raise Malformed("contentBlockDelta.delta.reasoningContent", "is neither text nor a signature")
        else:
            raise Malformed("contentBlockDelta.delta.reasoningContent", "is no object")

    def _input(self, opened: _Open, value: object) -> None:
        given = value.get("input") if isinstance(value, dict) else None
        if not isinstance(given, str):
            raise Malformed("contentBlockDelta.delta.toolUse.input", "is no text")
        if given:
            opened.said = True
            self._events.append(BlockDelta(opened.place, given))

    def _block_stop(self, node: Json) -> None:
        index = self._index(node)
        opened = self._open.pop(index, None)
        if opened is None:
            if index in self._seen:
                raise Malformed("contentBlockStop", "came twice")
            self._seen.add(index)
            opened = self._begin(index, Text(""))
            del self._open[index]
        self._end(opened)

    def _end(self, opened: _Open) -> None:
        block = opened.block
        if block is None:
            for block in read_blocks([_complete(opened)] if opened.whole or opened.pieces else [], "", READERS):
                place = self._place()
                block.at = f"{CONTENT}[{place}]"
                self._events += [BlockStart(place, block), BlockEnd(place)]
            return
        told: Own | None = None
        if isinstance(block, ToolCall):
            if not opened.said:
                self._events.append(BlockDelta(opened.place, "{}"))
        elif isinstance(block, Thinking):
            told = own({}, *(() if opened.said else (TEXTLESS,)), silent=opened.silent)
        elif opened.cited:
            told = own({}, *((CITED,) if opened.said else (CITED, CONTENTLESS)))
        elif not opened.said:
            told = own({}, EMPTY)
        self._events.append(BlockEnd(opened.place, 0, told))

    def _message_stop(self, node: Json) -> None:
        stop = take_stop(node)
        if stop is None or self._stop is not None:
            raise Malformed("messageStop", "has no stopReason, or came twice")
        for index in sorted(self._open):
            self._end(self._open.pop(index))
        self._stop, self._left = stop, node

    def _metadata(self, node: Json) -> None:
        if self._stop is None:
            raise Malformed("metadata", "came before messageStop")
        usage, quiet = take_usage(node)
        quiet |= hush(node, QUIET)
        self._events += [Told(FORMAT, {**self._left, **node}, silent=quiet), Finished(self._stop), Used(usage)]
        self._done = True


HANDLERS: Mapping[str, Callable[[ConverseReader, Json], None]] = {
    "contentBlockDelta": ConverseReader._block_delta,
    "contentBlockStart": ConverseReader._block_start,
    "contentBlockStop": ConverseReader._block_stop,
    "messageStart": ConverseReader._message_start,
    "messageStop": ConverseReader._message_stop,
    "metadata": ConverseReader._metadata,
}
# A delta, the block to which it may belong, and who takes it.
DELTAS: Mapping[str, tuple[type, Callable[[ConverseReader, _Open, object], None]]] = {
    "text": (Text, ConverseReader._text),
    "citation": (Text, ConverseReader._citation),
    "reasoningContent": (Thinking, ConverseReader._reasoning),
    "toolUse": (ToolCall, ConverseReader._input),
}


_STARTLESS = frozenset(("text", "citation", "reasoningContent"))


def _goes_on(opened: _Open, kind: str, value: object) -> bool:
    """Whether such a delta belongs to the block that is open under its index; to a tool's call, all do."""
    hidden = kind == "reasoningContent" and _is_redacted(value)
    if opened.block is None:
        return hidden or "reasoningContent" not in opened.whole
    return isinstance(opened.block, ToolCall) or (isinstance(opened.block, DELTAS[kind][0]) and not hidden)


def _is_redacted(value: object) -> bool:
    return isinstance(value, dict) and "redactedContent" in value


def _exception(kind: str, payload: bytes) -> Failed:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html"""
    try:
        node = parse_object(payload) if payload else {}
    except Unreadable:
        node = {}
    message, status = node.get("message"), node.get("originalStatusCode")
    known = EXCEPTIONS.get(kind)
    if known is None:
        known = status if type(status) is int and 400 <= status < 600 else 502
    return Failed(message if isinstance(message, str) and message else kind, known, kind)


def _hold(opened: _Open, kind: str, value: object) -> None:
    """A part of a block that is told when complete: input in pieces, a list that grows, anything else laid over."""
    whole = opened.whole
    if kind == "toolUse" and isinstance(value, dict) and isinstance(text := value.get("input"), str):
        opened.pieces.append(text)
    elif kind == "reasoningContent" and isinstance(value, dict) and isinstance(value.get("redactedContent"), str):
        opened.pieces.append(value["redactedContent"])
        whole.setdefault(kind, {})
    elif isinstance(value, list) and isinstance(held := whole.setdefault(kind, {}), dict):
        grown = held.setdefault("content", [])
        if isinstance(grown, list):
            grown += value
    elif isinstance(value, dict) and isinstance(held := whole.setdefault(kind, {}), dict):
        held |= value
    else:
        whole[kind] = value


def _complete(opened: _Open) -> Json:
    whole = opened.whole
    call, hidden = whole.get("toolUse"), whole.get("reasoningContent")
    if isinstance(call, dict):
        call["input"] = _value("".join(opened.pieces))
    elif isinstance(hidden, dict) and opened.pieces:
        hidden["redactedContent"] = _joined(opened.pieces)
    return whole


def _value(text: str) -> Any:
    try:
        return loads(text) if text.strip() else {}
    except ValueError:
        return text


def _joined(pieces: list[str]) -> str:
    """Each piece is base64 of its own."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return binascii.b2a_base64(b"".join(map(binascii.a2b_base64, pieces)), newline=False).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)
