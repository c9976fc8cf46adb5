"""A stream read: https://platform.openai.com/docs/api-reference/responses-streaming

What a stream repeats when a part or an item is done fills in what its deltas did not bring, so that reading a stream
gives what reading the items gives. The words of an event that only says how far a server's tool is are not needed: its
item comes whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.formats.meters.reader import parse
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Own,
    Refused,
    Started,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from interpose.wire.error import WireError
from interpose.wire.sse import SseDecoder, SseEvent

from .errors import of_json, of_stream
from .items import CALLS, assistant_blocks
from .names import NAME
from .parts import read_citation, read_part
from .replies import head, tail

CUT = "the stream ended before its response was complete"


@dataclass(slots=True)
class _Part:
    """A block that has begun: `text` in pieces, and how many of its citations were told."""

    index: int
    block: Block
    pieces: list[str] = field(default_factory=list)
    citations: int = 0
    ended: bool = False
    own: Own | None = None


@dataclass(slots=True)
class _Item:
    """An item of the output while it lasts. `parts` stand in their order, by what its events call them."""

    id: str | None
    parts: dict[tuple[str, int], _Part] = field(default_factory=dict)
    done: bool = False


class Reader:
    """Complete with a terminal event; [DONE], which Open Responses adds, completes nothing by itself."""

    def __init__(self) -> None:
        self._sse = SseDecoder()
        self._events: list[Event] = []
        self._items: dict[int, _Item] = {}
        self._blocks: list[Block] = []
        self._started = False
        self._over = False
        self._model: str | None = None

    def feed(self, data: bytes) -> list[Event]:
        if self._over:
            return []
        try:
            for event in self._sse.feed(data):
                self._event(event)
        except WireError as error:
            self._fail(Failed(str(error)))
        return self._taken()

    def close(self) -> list[Event]:
        if self._over:
            return []
        try:
            for event in self._sse.finish():
                self._event(event)
        except WireError as error:
            self._fail(Failed(str(error)))
        if not self._over:
            self._fail(Failed(CUT))
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _fail(self, failed: Failed) -> None:
        if not self._over:
            self._over = True
            self._events.append(failed)

    def _event(self, event: SseEvent) -> None:
        if self._over or event.data[:6] == b"[DONE]" or not event.data:
            return
        try:
            told = parse(event.data)
        except ValueError as error:
            if event.terminated:  # else the cut is all that is wrong with it
                self._fail(Failed(f"an event of the stream is not JSON: {error}"))
            return
        if not isinstance(told, dict):
            return
        kind = told.get("type")
        if not isinstance(kind, str):
            kind = event.event.decode("latin-1")
        handle = HANDLERS.get(kind)
        if handle is not None:
            handle(self, told)
        elif isinstance(told.get("error"), dict) and not kind.startswith("response."):
            self._error(told)

    # The response

    def _begin(self, told: Json) -> None:
        response = told.get("response")
        if self._started or not isinstance(response, dict):
            return
        self._started = True
        reply = head(response)
        self._model = reply.model or None
        self._events.append(Started(reply.id, reply.model, reply.created, own=reply.own))

    def _finish(self, told: Json) -> None:
        response = told.get("response")
        if not isinstance(response, dict):
            self._fail(Failed(f"{told.get('type')} came without its response"))
            return
        self._begin({"response": dict(response)})
        output = response.pop("output", None)
        for place, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                self._item_done({"output_index": place, "item": item})
        for open_ in self._items.values():
            self._end_parts(open_, [])
        head(response)
        stop, usage, own = tail(response, self._blocks)
        self._events.append(Used(usage))
        self._events.append(Finished(stop, own=own))
        self._over = True

    def _failed(self, told: Json) -> None:
        response = told.get("response")
        self._fail(of_stream(response.get("error") if isinstance(response, dict) else None))

    def _cancelled(self, told: Json) -> None:
        self._fail(Failed("the response was cancelled", 499))

    def _error(self, told: Json) -> None:
        error = told.get("error")
        self._fail(of_stream(error if isinstance(error, dict) else told) if of_json(told, 502) else of_stream(None))

    # Items

    def _item_added(self, told: Json) -> None:
        index, item = told.get("output_index"), told.get("item")
        if type(index) is not int or not isinstance(item, dict) or index in self._items:
            return
        id_ = item.get("id")
        found = self._items[index] = _Item(id_ if isinstance(id_, str) else None)
        kind = item.get("type")
        if isinstance(kind, str) and kind in CALLS:
            call_id, name, text = item.get("call_id"), item.get("name"), item.get(CALLS[kind][1])
            if isinstance(call_id, str) and isinstance(name, str):
                said = text if isinstance(text, str) else ""
                block = ToolCall(
                    call_id, name, said, "custom" if kind == "custom_tool_call" else "function", at=f"output[{index}]"
                )
                self._start(found, ("call", 0), block)

    def _item_done(self, told: Json) -> None:
        index, item = told.get("output_index"), told.get("item")
        if type(index) is not int or not isinstance(item, dict):
            return
        found = self._items.get(index)
        if found is None:
            found = self._items[index] = _Item(None)
        if found.done:
            return
        self._end_parts(found, assistant_blocks(item, f"output[{index}]", self._model))

    def _end_parts(self, item: _Item, blocks: list[Block]) -> None:
        """Brings the item's parts to what it is at its end, and tells what had not begun."""
        if item.done:
            return
        item.done = True
        begun = iter(list(item.parts.values()))
        for block in blocks:
            part = None if isinstance(block, Foreign) else next(begun, None)
            if part is None:
                index = len(self._blocks)
                self._blocks.append(block)
                self._events.append(BlockStart(index, block))
                self._events.append(BlockEnd(index))
            elif not part.ended:
                self._end(part, block)
        for part in item.parts.values():
            if not part.ended:
                self._end(part, None)

    def _start(self, item: _Item, key: tuple[str, int], block: Block) -> _Part:
        for before in item.parts.values():
            if not before.ended:
                self._end(before, None)
        part = item.parts[key] = _Part(len(self._blocks), block)
        if not isinstance(block, Foreign):
            block.own = Own(NAME, silent=None if item.id is None else {"id": item.id})
        self._blocks.append(block)
        self._events.append(BlockStart(part.index, block))
        return part

    def _end(self, part: _Part, final: Block | None) -> None:
        """Ends a block; `final` is what it is at last, from which comes what is missing."""
        part.ended = True
        own: Own | None = part.own if part.own is not None else Own(NAME)
        if final is not None and type(final) is type(part.block):
            own = final.own
            self._fill(part, final.arguments if isinstance(final, ToolCall) else final.text)  # type: ignore[union-attr]
            if isinstance(final, Text):
                self._cite(part, final)
            if isinstance(final, Thinking) and final.opaque is not None:
                self._events.append(BlockDelta(part.index, opaque=final.opaque))
        self._events.append(BlockEnd(part.index, own=own))

    def _fill(self, part: _Part, whole: str) -> None:
        block = part.block
        said = block.arguments if isinstance(block, ToolCall) else getattr(block, "text", "")
        so_far = said + "".join(part.pieces)
        if len(whole) > len(so_far) and whole.startswith(so_far):
            rest = whole[len(so_far) :]
            part.pieces.append(rest)
            self._events.append(BlockDelta(part.index, rest))

    def _cite(self, part: _Part, final: Text) -> None:
        for citation in final.citations[part.citations :]:
            part.citations += 1
            self._events.append(BlockDelta(part.index, citation=citation))

    # Parts

    def _part(self, told: Json, kind: str, place: str, make: Callable[[], Block] | None) -> _Part | None:
        index, number = told.get("output_index"), told.get(place) if place else 0
        if type(index) is not int or type(number) is not int:
            return None
        item = self._items.get(index)
        if item is None:
            id_ = told.get("item_id")
            item = self._items[index] = _Item(id_ if isinstance(id_, str) else None)
        part = item.parts.get((kind, number))
        if part is None:
            if item.done or make is None:
                return None
            block = make()
            # Counted here: some servers number the parts of all items together.
            count = sum(1 for other, _ in item.parts if other == kind)
            block.at = f"output[{index}].{'summary' if kind == 'summary' else 'content'}[{count}]"
            part = self._start(item, (kind, number), block)
        return part

    def _delta(self, told: Json, kind: str, place: str, make: Callable[[], Block] | None) -> None:
        delta = told.get("delta")
        if not isinstance(delta, str) or not delta:
            return
        part = self._part(told, kind, place, make)
        if part is not None and not part.ended:
            part.pieces.append(delta)
            self._events.append(BlockDelta(part.index, delta))

    def _annotation(self, told: Json) -> None:
        annotation = told.get("annotation")
        if not isinstance(annotation, dict):
            return
        part = self._part(told, "content", "content_index", _text)
        if part is not None and not part.ended and isinstance(part.block, Text):
            part.citations += 1
            self._events.append(BlockDelta(part.index, citation=read_citation(annotation)))

    def _part_added(self, told: Json) -> None:
        given = told.get("part")
        make = PARTS.get(given.get("type")) if isinstance(given, dict) and isinstance(given.get("type"), str) else None
        if make is not None:
            kind, block = make
            self._part(told, kind, "content_index", block)

    def _part_done(self, told: Json) -> None:
        """What the part is at last, kept until the item goes on or is done."""
        given = told.get("part")
        kind = given.get("type") if isinstance(given, dict) else None
        make = PARTS.get(kind) if isinstance(kind, str) else None
        if make is None or make[0] != "content":
            return
        part = self._part(told, "content", "content_index", make[1])
        final = read_part(given, "output_text", "")
        if part is None or part.ended or type(final) is not type(part.block):
            return
        if isinstance(final, Text | Refused):
            self._fill(part, final.text)
            part.own = final.own
        if isinstance(final, Text):
            self._cite(part, final)

    def _summary_added(self, told: Json) -> None:
        self._part(told, "summary", "summary_index", _summary)


def _text() -> Block:
    return Text("")


def _refusal() -> Block:
    return Refused("")


def _summary() -> Block:
    return Thinking(summary=True)


def _words() -> Block:
    return Thinking()


PARTS: dict[Any, tuple[str, Callable[[], Block]]] = {
    "output_text": ("content", _text),
    "refusal": ("content", _refusal),
    "reasoning_text": ("words", _words),
}


def _deltas(kind: str, place: str, make: Callable[[], Block] | None = None) -> Callable[[Reader, Json], None]:
    return lambda reader, told: reader._delta(told, kind, place, make)


HANDLERS: dict[str, Callable[[Reader, Json], None]] = {
    "response.created": Reader._begin,
    "response.in_progress": Reader._begin,
    "response.queued": Reader._begin,
    "response.completed": Reader._finish,
    "response.incomplete": Reader._finish,
    "response.done": Reader._finish,
    "response.failed": Reader._failed,
    "response.cancelled": Reader._cancelled,
    "error": Reader._error,
    "response.output_item.added": Reader._item_added,
    "response.output_item.done": Reader._item_done,
    "response.content_part.added": Reader._part_added,
    "response.content_part.done": Reader._part_done,
    "response.reasoning_part.added": Reader._part_added,
    "response.reasoning_summary_part.added": Reader._summary_added,
    "response.output_text.annotation.added": Reader._annotation,
    "response.output_text.delta": _deltas("content", "content_index", _text),
    "response.refusal.delta": _deltas("content", "content_index", _refusal),
    "response.reasoning_text.delta": _deltas("words", "content_index", _words),
    "response.reasoning_summary_text.delta": _deltas("summary", "summary_index", _summary),
    "response.function_call_arguments.delta": _deltas("call", ""),
    "response.custom_tool_call_input.delta": _deltas("call", ""),
}
