"""The output of a stream as it is told: items begin, grow and are done, several side by side if their blocks are.

Texts that stand together are one message, thoughts up to the state that ends them one reasoning item, as in a whole
reply (`turns.Turn`), and from the same functions. Nothing here knows of the response around the items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from interpose.formats.codecs.codec import Json
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Foreign,
    Losses,
    Media,
    Own,
    Refused,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

from .names import NAME, PART, Out, foreign, item_id, marked, own_of
from .parts import write_part
from .turns import call_item, ends, image_item, is_custom, message_item, missing, reasoning_item, speaks, state_item

NO_TEXT: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
EMPTY: dict[str, Json] = {
    "message": {"type": "message", "status": "in_progress", "role": "assistant", "content": []},
    "reasoning": {"type": "reasoning", "summary": []},
}


def encode(value: Any) -> bytes:
    """JSON; a lone surrogate, which orjson refuses, is escaped."""
    try:
        return orjson.dumps(value)
    except TypeError:
        import json

        return json.dumps(value, separators=(",", ":")).encode()


class Lines:
    """Events in the order in which they are told, each with its number."""

    __slots__ = ("_number", "_pieces")

    def __init__(self) -> None:
        self._number = 0
        self._pieces: list[bytes] = []

    def send(self, event: Json) -> None:
        event["sequence_number"] = self._number
        self._number += 1
        self._pieces.append(b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n")

    def delta(self, before: bytes, text: str, behind: bytes) -> None:
        """The common event, of which all but the text and the number is known beforehand."""
        self._pieces.append(b"%b%b%b%d}\n\n" % (before, encode(text), behind, self._number))
        self._number += 1

    def comment(self) -> None:
        self._pieces.append(b": ping\n\n")

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


@dataclass(slots=True)
class _Part:
    """A block that is told: its place in its item, and what stands before and behind the text of each delta."""

    block: Block
    item: _Item
    place: int
    before: bytes = b""
    behind: bytes = b""
    pieces: list[str] = field(default_factory=list)
    held: bool = False  # its text is told whole, at its end


@dataclass(slots=True)
class _Item:
    """An item of the output. `sealed`: no block will join it; it is done when `open` of its blocks are none."""

    index: int
    id: str
    kind: str
    blocks: list[Any] = field(default_factory=list)
    open: int = 0
    sealed: bool = False
    value: Json | None = None


class Output:
    """The items, and what of them is open. A block's index is its place in the provider's answer."""

    def __init__(self, lines: Lines, out: Out) -> None:
        self._lines = lines
        self._out = out
        self._quiet = replace(out, losses=Losses())  # for what is written twice
        self._items: list[_Item] = []
        self._parts: dict[int, _Part] = {}
        self._current: _Item | None = None  # the message or reasoning item that more may join

    def items(self) -> list[Json]:
        """Those that are done."""
        return [item.value for item in self._items if item.value is not None]

    def close(self) -> None:
        """Ends what was left open."""
        for index in list(self._parts):
            self.end(BlockEnd(index))
        self._seal()

    def _add(self, kind: str, own: Own | None, value: Json) -> _Item:
        """A new item: `own` may bring its id, `value` is what it is at first."""
        index = len(self._items)
        silent = own.silent if own is not None and own.format == NAME else None
        id_ = silent.get("id") if silent else None
        item = _Item(index, id_ if isinstance(id_, str) else item_id(self._out.seed or "", index, kind), kind)
        self._items.append(item)
        self._lines.send(
            {"type": "response.output_item.added", "output_index": index, "item": {"id": item.id, **value}}
        )
        return item

    def _done(self, item: _Item, value: Json | None) -> None:
        if value is None:
            value = {"id": item.id, **EMPTY[item.kind], "status": "completed"}
        item.value = value
        self._lines.send({"type": "response.output_item.done", "output_index": item.index, "item": value})

    def _seal(self) -> None:
        """Nothing more joins the current item."""
        item, self._current = self._current, None
        if item is not None:
            item.sealed = True
            self._settle(item)

    def _settle(self, item: _Item) -> None:
        if not item.sealed or item.open or item.value is not None:
            return
        last = item.blocks[-1]
        if item.kind == "message":
            self._done(item, message_item(item.blocks, "assistant", self._out, item.id))
            self._state(last)
        else:
            self._done(item, reasoning_item(item.blocks, self._out, item.id))

    def _state(self, block: Block) -> None:
        """What the state of a block of another format needs behind it."""
        opaque = block.opaque if isinstance(block, Text | ToolCall | Media) else None
        if opaque is not None and opaque.format != NAME:
            item = self._add("reasoning", None, EMPTY["reasoning"])
            self._done(item, state_item(opaque, block.at, self._out, item.id))

    # Blocks

    def start(self, event: BlockStart) -> None:
        block = event.block
        kind = "message" if speaks(block) else "reasoning" if isinstance(block, Thinking) else ""
        if self._current is not None and self._current.kind != kind:
            self._seal()
        STARTS[type(block)](self, event.index, block)

    def _join(self, kind: str, block: Block) -> _Item:
        """The item that the block is a part of."""
        item = self._current
        if item is None:
            item = self._current = self._add(kind, own_of(block), EMPTY[kind])
        item.open += 1
        item.blocks.append(block)
        return item

    def _open(self, index: int, block: Block, item: _Item, place: int, kind: str, **where: int) -> _Part:
        """Prepares what each delta of the block says around its text."""
        part = self._parts[index] = _Part(block, item, place)
        head = encode({"type": kind, "item_id": item.id, "output_index": item.index, **where})
        part.before = b"event: " + kind.encode() + b"\ndata: " + head[:-1] + b',"delta":'
        part.behind = b',"logprobs":[],"sequence_number":' if "output_text" in kind else b',"sequence_number":'
        return part

    def _say(self, part: _Part, text: str) -> None:
        if not text:
            return
        part.pieces.append(text)
        if not part.held:
            self._lines.delta(part.before, text, part.behind)

    def _text_start(self, index: int, block: Text | Refused) -> None:
        block, said = replace(block, text=""), block.text
        if isinstance(block, Text):
            block.citations = list(block.citations)
        item = self._join("message", block)
        place = len(item.blocks) - 1
        kind = "response.output_text.delta" if isinstance(block, Text) else "response.refusal.delta"
        part = self._open(index, block, item, place, kind, content_index=place)
        if isinstance(block, Text):
            self._at(part, "response.content_part.added", part={**NO_TEXT})
        else:
            self._at(part, "response.content_part.added", part={"type": "refusal", "refusal": ""})
        self._say(part, said)

    def _at(self, told: _Part, kind: str, /, **more: Any) -> None:
        where = {"item_id": told.item.id, "output_index": told.item.index, "content_index": told.place}
        self._lines.send({"type": kind, **where, **more})

    def _text_end(self, part: _Part) -> None:
        block = part.block
        assert isinstance(block, Text | Refused)
        block.text = "".join(part.pieces)
        written = write_part(block, "output_text", self._quiet)
        if isinstance(block, Text):
            assert written is not None
            for place, annotation in enumerate(written.get("annotations") or ()):
                self._at(part, "response.output_text.annotation.added", annotation=annotation, annotation_index=place)
            logprobs = written.get("logprobs") or []
            self._at(part, "response.output_text.done", text=block.text, logprobs=logprobs)
        else:
            self._at(part, "response.refusal.done", refusal=block.text)
        self._at(part, "response.content_part.done", part=written)

    def _thought_start(self, index: int, block: Thinking) -> None:
        block, said = replace(block, text=""), block.text
        item = self._join("reasoning", block)
        ours = own_of(block) is not None
        summary = block.summary or not ours
        place = sum(1 for other in item.blocks[:-1] if (other.summary or not ours) == summary)
        if summary:
            part = self._open(index, block, item, place, "response.reasoning_summary_text.delta", summary_index=place)
        else:
            part = self._open(index, block, item, place, "response.reasoning_text.delta", content_index=place)
        self._say_thought(part, said, summary=summary)

    def _say_thought(self, part: _Part, text: str, *, summary: bool) -> None:
        if not text:
            return
        if not part.pieces:
            if summary:
                self._summary(part, "response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""})
            else:
                self._at(part, "response.content_part.added", part={"type": "reasoning_text", "text": ""})
        self._say(part, text)

    def _summary(self, told: _Part, kind: str, /, **more: Any) -> None:
        where = {"item_id": told.item.id, "output_index": told.item.index, "summary_index": told.place}
        self._lines.send({"type": kind, **where, **more})

    def _thought_end(self, part: _Part) -> None:
        block = part.block
        assert isinstance(block, Thinking)
        block.text = "".join(part.pieces)
        if not part.pieces:
            return
        if b"summary" in part.before:
            self._summary(part, "response.reasoning_summary_text.done", text=block.text)
            said = {"type": "summary_text", "text": block.text}
            self._summary(part, "response.reasoning_summary_part.done", part=said)
        else:
            self._at(part, "response.reasoning_text.done", text=block.text)
            self._at(part, "response.content_part.done", part={"type": "reasoning_text", "text": block.text})

    def _call_start(self, index: int, block: ToolCall) -> None:
        block, said = replace(block, arguments=""), block.arguments
        custom = is_custom(block, self._out)
        value = call_item(block, self._quiet, "")
        del value["id"]
        value["status"] = "in_progress"
        value["input" if custom else "arguments"] = ""
        kind = "custom_tool_call" if custom else "function_call"
        block.id = value["call_id"]
        item = self._add(kind, own_of(block), value)
        item.blocks.append(block)
        delta = "response.custom_tool_call_input.delta" if custom else "response.function_call_arguments.delta"
        part = self._open(index, block, item, 0, delta)
        part.held = custom and block.kind != "custom"
        self._say(part, said)

    def _call_end(self, part: _Part) -> None:
        block, item = part.block, part.item
        assert isinstance(block, ToolCall)
        block.arguments = "".join(part.pieces)
        value = call_item(block, self._out, item.id)
        where = {"item_id": item.id, "output_index": item.index}
        if item.kind == "custom_tool_call":
            if part.held:
                part.held = False
                self._say(part, value["input"])
            self._lines.send({"type": "response.custom_tool_call_input.done", **where, "input": value["input"]})
        else:
            if own_of(block) is None:
                self._say(part, missing(block.arguments))
            done = {"name": block.name, "arguments": value["arguments"]}
            self._lines.send({"type": "response.function_call_arguments.done", **where, **done})
        self._done(item, value)
        self._state(block)

    def _foreign_start(self, index: int, block: Foreign) -> None:
        if block.format != NAME:
            foreign(block, self._out)
        elif marked(block.own, PART):
            item = self._join("message", block)
            part = self._parts[index] = _Part(block, item, len(item.blocks) - 1)
            self._at(part, "response.content_part.added", part=block.value)
        else:
            item = _Item(len(self._items), "", "")
            self._items.append(item)
            self._lines.send({"type": "response.output_item.added", "output_index": item.index, "item": block.value})
            self._done(item, block.value)

    def _foreign_end(self, part: _Part) -> None:
        assert isinstance(part.block, Foreign)
        self._at(part, "response.content_part.done", part=part.block.value)

    def _media_start(self, index: int, block: Media) -> None:
        number = len(self._items)
        value = image_item(block, self._out, item_id(self._out.seed or "", number, "image_generation_call"))
        if value is not None:
            item = self._add("image_generation_call", None, {**value, "status": "in_progress", "result": None})
            self._done(item, value)
            self._state(block)

    def _result_start(self, index: int, block: ToolResult) -> None:
        self._out.losses.dropped(block.at, "a reply holds no results of tools")

    def delta(self, event: BlockDelta) -> None:
        part = self._parts.get(event.index)
        if part is None:
            return
        block = part.block
        if event.text:
            if isinstance(block, Thinking):
                self._say_thought(part, event.text, summary=b"summary" in part.before)
            else:
                self._say(part, event.text)
        if event.citation is not None and isinstance(block, Text):
            block.citations.append(event.citation)
        if event.opaque is not None and isinstance(block, Text | Thinking | ToolCall):
            block.opaque = event.opaque

    def end(self, event: BlockEnd) -> None:
        part = self._parts.pop(event.index, None)
        if part is None:
            return
        block, item = part.block, part.item
        if event.own is not None:
            block.own = event.own
        ENDINGS[type(block)](self, part)
        if isinstance(block, ToolCall):
            return
        item.open -= 1
        if item is self._current and block is item.blocks[-1] and ends(block, self._out):
            self._seal()
        else:
            self._settle(item)


STARTS: dict[type, Callable[[Output, int, Any], None]] = {
    Text: Output._text_start,
    Refused: Output._text_start,
    Thinking: Output._thought_start,
    ToolCall: Output._call_start,
    ToolResult: Output._result_start,
    Media: Output._media_start,
    Foreign: Output._foreign_start,
}
ENDINGS: dict[type, Callable[[Output, _Part], None]] = {
    Text: Output._text_end,
    Refused: Output._text_end,
    Thinking: Output._thought_end,
    ToolCall: Output._call_end,
    Foreign: Output._foreign_end,
}
