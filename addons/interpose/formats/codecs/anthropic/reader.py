"""A provider's stream read: https://platform.claude.com/docs/en/build-with-claude/streaming

message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop, and pings.
Only message_stop ends it well. What is told of the end is held until then, so that no client hears of a good end that
did not come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interpose.formats.codecs.codec import Malformed, dumps
from interpose.formats.codecs.opaque import unpack
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Opaque,
    Own,
    Ping,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    Usage,
    Used,
)

from .blocks_in import READERS, read_blocks, read_citation
from .errors import failed_event
from .framing import Frames, Unreadable, parse, unreadable
from .names import EMPTY, FORMAT, SIGNATURELESS, UNSIGNED, Json, hush, own, take_stop
from .replies import QUIET
from .usage import INPUTS, take_counters, usage_of

# A delta's type, by the block to which it may belong.
DELTAS: Mapping[str, type] = {
    "text_delta": Text,
    "citations_delta": Text,
    "thinking_delta": Thinking,
    "signature_delta": Thinking,
    "input_json_delta": ToolCall,
}


@dataclass(slots=True)
class _Open:
    """A block that is being told. `said` is whether a delta of its main text has come; `given` is the input that came
    with a call's start; `left` what no neutral field stands for; `whole` the block of ours that is told when complete.
    """

    block: Block
    said: bool = False
    unsigned: bool = False
    replaced: bool = False
    given: Json = field(default_factory=dict)
    left: Json = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    quiet: Json | None = None
    whole: Json | None = None


class MessagesReader:
    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._events: list[Event] = []
        self._id: str | None = None
        self._open: dict[int, _Open] = {}
        self._seen: set[int] = set()
        self._stop: Stop | None = None
        self._counters: dict[str, int] = {}
        self._rest: Json = {}
        self._done = False

    def feed(self, data: bytes) -> list[Event]:
        return self._read(lambda: self._frames.feed(data))

    def close(self) -> list[Event]:
        events = self._read(self._frames.finish)
        if not self._done:
            self._done = True
            events.append(Failed("The provider's stream ended before its message_stop."))
        return events

    def _read(self, frames: Callable[[], list[Json | Failed]]) -> list[Event]:
        if self._done:
            return []
        events: list[Event] = []
        self._events = events
        try:
            for event in frames():
                if not self._goes_on(event):
                    break
        except Unreadable as error:
            self._fail(unreadable(error))
        except Malformed as error:
            self._fail(Failed(f"The provider's stream is malformed: {error}"))
        return events

    def _goes_on(self, event: Json | Failed) -> bool:
        if isinstance(event, Failed):
            self._fail(event)
        else:
            self._event(event)
        return not self._done

    def _fail(self, failed: Failed) -> None:
        self._done = True
        self._events.append(failed)

    def _event(self, event: Json) -> None:
        kind = event.get("type")
        handler = HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            if "error" in event:
                self._fail(failed_event(event))
                return
            if not isinstance(kind, str):
                raise Malformed("type", "an event says its type")
            self._events.append(Told(FORMAT, {f"event:{kind}": event}))
            return
        if self._id is None and handler not in _BEFORE_START:
            raise Malformed(str(kind), "came before message_start")
        handler(self, event)

    def _message_start(self, event: Json) -> None:
        message = event.get("message")
        if not isinstance(message, dict) or message.get("content"):
            raise Malformed("message_start", "has no message that begins empty")
        id_ = message.get("id")
        if self._id is not None:
            # Gateways have been seen to say it twice; another message in the middle of this one is another matter.
            if self._seen or id_ != self._id:
                raise Malformed("message_start", "came twice")
            return
        self._id = id_ if isinstance(id_, str) else ""
        model = message.get("model")
        for key in ("id", "type", "role", "content"):
            message.pop(key, None)
        if isinstance(model, str):
            del message["model"]
        for key in ("stop_reason", "stop_sequence"):
            if message.get(key, "") is None:
                del message[key]
        usage = message.get("usage")
        if isinstance(usage, dict):
            self._counters = take_counters(usage)
            self._rest = usage
            if not usage:
                del message["usage"]
        started = usage_of(self._counters)
        told = own(message, silent=hush(message, QUIET))
        self._events.append(Started(self._id, model if isinstance(model, str) else "", None, started, told))

    def _block_start(self, event: Json) -> None:
        index, node = event.get("index"), event.get("content_block")
        if not isinstance(index, int) or index in self._seen or not isinstance(node, dict):
            raise Malformed("content_block_start", "has no new index and block")
        self._seen.add(index)
        given = self._given(node)
        block = read_blocks([node], "content", READERS)[0]
        block.at = f"content[{index}]"
        self._open[index] = opened = _Open(block)
        if isinstance(block, Foreign):
            opened.whole = block.value
            return  # told when it is whole
        if isinstance(block, ToolCall):
            opened.given, block.arguments = given, ""
        if block.own is not None:
            # A block that begins empty is not marked as empty until it ends so.
            opened.unsigned = UNSIGNED in block.own.marks
            opened.left |= block.own.fields
            opened.quiet = block.own.silent
            block.own = own(block.own.fields, silent=block.own.silent)
        self._events.append(BlockStart(index, block))

    @staticmethod
    def _given(node: Json) -> Json:
        """The input of a call, which most often begins as {} and comes in deltas that replace it."""
        given = node.get("input")
        if node.get("type") == "tool_use":
            node["input"] = {}
        return given if isinstance(given, dict) else {}

    def _block_delta(self, event: Json) -> None:
        delta, index = event.get("delta"), event.get("index")
        opened = self._open.get(index) if isinstance(index, int) else None
        if opened is None or not isinstance(delta, dict) or not isinstance(index, int):
            raise Malformed("content_block_delta", "belongs to no open block")
        kind = delta.get("type")
        if opened.whole is not None:
            _whole_delta(opened, delta)
            return
        if isinstance(kind, str) and isinstance(opened.block, DELTAS.get(kind, ())):
            told = _DELTAS[kind](opened, index, delta)
            if told is not None:
                self._events.append(told)
                return
        opened.left[str(kind)] = {name: value for name, value in delta.items() if name != "type"}

    def _block_stop(self, event: Json) -> None:
        index = event.get("index")
        if not isinstance(index, int) or index not in self._open:
            raise Malformed("content_block_stop", "belongs to no open block")
        self._end(index)

    def _end(self, index: int) -> None:
        opened = self._open.pop(index)
        block, events = opened.block, self._events
        if opened.whole is not None:
            if opened.pieces:
                opened.whole["input"] = _input_of("".join(opened.pieces))
            events.append(BlockStart(index, block))
            events.append(BlockEnd(index))
            return
        if isinstance(block, ToolCall) and not opened.said:
            events.append(BlockDelta(index, dumps(opened.given)))
        events.append(BlockEnd(index, 0, _own_at_end(opened)))

    def _message_delta(self, event: Json) -> None:
        for index in sorted(self._open):
            self._end(index)  # some leave content_block_stop out
        del event["type"]
        delta, usage = event.pop("delta", None), event.pop("usage", None)
        told = event
        quiet = hush(told, QUIET) or {}
        if isinstance(delta, dict):
            self._stop = take_stop(delta) or self._stop
            for key in ("stop_reason", "stop_sequence"):
                if delta.get(key, "") is None:
                    del delta[key]
            quiet |= hush(delta, QUIET) or {}
            told |= delta
        if isinstance(usage, dict):
            self._count(take_counters(usage))
            rest = {name: value for name, value in (self._rest | usage).items() if name not in self._counters}
            if rest != self._rest:
                quiet["usage"] = self._rest = rest
        if told or quiet:
            self._events.append(Told(FORMAT, told, silent=quiet or None))

    def _count(self, counters: dict[str, int]) -> None:
        """Later values replace earlier ones. A gateway that fills up with zeros does not know the input."""
        if not any(counters.get(name) for name in INPUTS) and any(self._counters.get(name) for name in INPUTS):
            counters = {name: value for name, value in counters.items() if name not in INPUTS}
        self._counters |= counters

    def _message_stop(self, event: Json) -> None:
        for index in sorted(self._open):
            self._end(index)
        del event["type"]
        if event:
            quiet = hush(event, QUIET)  # Bedrock's metrics
            self._events.append(Told(FORMAT, event, silent=quiet))
        if self._stop is not None:
            self._events.append(Finished(self._stop))
        usage = usage_of(self._counters)
        if usage != Usage():
            self._events.append(Used(usage))
        self._done = True

    def _ping(self, event: Json) -> None:
        self._events.append(Ping())

    def _error(self, event: Json) -> None:
        self._fail(failed_event(event))


HANDLERS: Mapping[str, Callable[[MessagesReader, Json], None]] = {
    "content_block_delta": MessagesReader._block_delta,
    "content_block_start": MessagesReader._block_start,
    "content_block_stop": MessagesReader._block_stop,
    "message_start": MessagesReader._message_start,
    "message_delta": MessagesReader._message_delta,
    "message_stop": MessagesReader._message_stop,
    "ping": MessagesReader._ping,
    "error": MessagesReader._error,
}
_BEFORE_START = (HANDLERS["message_start"], HANDLERS["ping"], HANDLERS["error"])


def _own_at_end(opened: _Open) -> Own | None:
    block = opened.block
    if isinstance(block, Text) and not opened.said and not block.text and not block.citations:
        return own(opened.left, EMPTY, silent=opened.quiet)
    if isinstance(block, Thinking) and block.opaque is None:
        return own(opened.left, UNSIGNED if opened.unsigned else SIGNATURELESS, silent=opened.quiet)
    if opened.replaced and not opened.left:
        return Own(FORMAT)  # the empty list that the start had told is no more
    return own(opened.left, silent=opened.quiet)


def _whole_delta(opened: _Open, delta: Json) -> None:
    """Of a block that is told whole: a server tool's input comes in pieces, all else replaces what there was."""
    if delta.pop("type", None) == "input_json_delta" and isinstance(delta.get("partial_json"), str):
        opened.pieces.append(delta["partial_json"])
    elif opened.whole is not None:
        opened.whole.update(delta)


def _input_of(text: str) -> Any:
    if not text.strip():
        return {}
    try:
        return parse(text.encode("utf-8", "surrogatepass"))
    except Unreadable:
        return {"arguments": text}


def _text_delta(opened: _Open, index: int, delta: Json) -> BlockDelta | None:
    text = delta.get("text")
    if not isinstance(text, str):
        return None
    opened.said = opened.said or bool(text)
    return BlockDelta(index, text)


def _citations_delta(opened: _Open, index: int, delta: Json) -> BlockDelta | None:
    citation = delta.get("citation")
    if not isinstance(citation, dict):
        return None
    opened.said = True
    if opened.left.pop("citations", None) is not None:
        opened.replaced = True
    return BlockDelta(index, citation=read_citation(citation))


def _thinking_delta(opened: _Open, index: int, delta: Json) -> BlockDelta | None:
    """`estimated_tokens`, which may come with it, is an estimate on the way of what usage tells in the end."""
    text = delta.get("thinking")
    return BlockDelta(index, text) if isinstance(text, str) else None


def _signature_delta(opened: _Open, index: int, delta: Json) -> BlockDelta | None:
    signature = delta.get("signature")
    if not isinstance(signature, str):
        return None
    opaque = unpack(signature) or Opaque(FORMAT, "signature", signature)
    if isinstance(opened.block, Thinking):
        opened.block = Thinking(opaque=opaque)
    return BlockDelta(index, opaque=opaque)


def _input_json_delta(opened: _Open, index: int, delta: Json) -> BlockDelta | None:
    text = delta.get("partial_json")
    if not isinstance(text, str):
        return None
    opened.said = opened.said or bool(text)
    return BlockDelta(index, text)


_DELTAS: Mapping[str, Callable[[_Open, int, Json], BlockDelta | None]] = {
    "text_delta": _text_delta,
    "citations_delta": _citations_delta,
    "thinking_delta": _thinking_delta,
    "signature_delta": _signature_delta,
    "input_json_delta": _input_json_delta,
}
