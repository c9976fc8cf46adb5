"""Blocks written as items: each kind of item from its blocks, and a whole turn of the assistant's in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.opaque import pack
from interpose.ir import Block, Foreign, Media, Opaque, Refused, Text, Thinking, ToolCall, ToolResult

from .items import CALLS, PREVIOUS, RESULTS
from .names import EASY, ENDS, ITEM, NAME, PART, STRING, Out, foreign, is_ours, item_id, marked, own_of
from .parts import write_part

_CALLS = {kind: (type_, key) for type_, (kind, key) in CALLS.items()}
_RESULTS = {kind: type_ for type_, kind in RESULTS.items()}


def speaks(block: Block) -> bool:
    """Whether a block is a part of a message."""
    return isinstance(block, Text | Refused) or (isinstance(block, Foreign) and marked(block.own, PART))


def message_item(blocks: list[Block], role: str, out: Out, id_: str | None = None) -> Json | None:
    """A message from its blocks, with that id if it is to have one; None if nothing is left of it."""
    last = blocks[-1]
    own = own_of(last)
    spoken = "output_text" if role == "assistant" else "input_text"
    parts = [part for block in blocks if (part := write_part(block, spoken, out)) is not None]
    if own is None or ENDS not in own.marks:
        if not parts:
            return None
        if id_ is not None:
            return {"id": id_, "type": "message", "status": "completed", "role": role, "content": parts}
        alone = parts[0] if len(parts) == 1 else {}
        if role == "assistant":
            return _said_before(alone, last, out) if alone else {"type": "message", "role": role, "content": parts}
        # A text by itself is what every server of this format takes, for any role.
        bare = "text" in alone and "prompt_cache_breakpoint" not in alone
        return {"type": "message", "role": role, "content": alone["text"] if bare else parts}
    item: Json = {"role": role, "content": parts}
    if STRING in own.marks and isinstance(last, Text):
        item["content"] = last.text
    if EASY not in own.marks:
        item["type"] = "message"
    if own.silent:
        item.update(own.silent)
    for key, value in own.fields.items():
        if key.startswith(ITEM):
            item[key[len(ITEM) :]] = value
    if id_ is not None:
        item["id"] = id_
    return item


def _said_before(part: Json, block: Block, out: Out) -> Json:
    """A text of an earlier answer. As parts it would need the id and the status that OpenAI once gave it."""
    if "prompt_cache_breakpoint" in part:
        return {"type": "message", "role": "assistant", "content": [part]}
    if part.get("annotations"):
        out.losses.dropped(getattr(block, "at", ""), "an earlier answer goes back as its text, without citations")
    if "refusal" in part:
        out.losses.approximated(getattr(block, "at", ""), "an earlier refusal goes back as a text")
    return {"type": "message", "role": "assistant", "content": part.get("text", part.get("refusal"))}


def reasoning_item(blocks: list[Thinking], out: Out, id_: str | None = None) -> Json | None:
    """A reasoning item from what was thought, in one go; None, and a loss, if it may not go there.

    In a request its state must be this format's own. To a client, state of another travels packed.
    """
    last = blocks[-1]
    own, opaque = own_of(last), last.opaque
    ours = own is not None and ENDS in own.marks
    if out.seed is None and (opaque.format != NAME if opaque is not None else not ours):
        for block in blocks:
            if opaque is not None:
                out.losses.dropped(block.at, f"reasoning is bound to its origin, {opaque.format}")
            elif block.text:
                out.losses.dropped(block.at, "reasoning without its encrypted state is not taken back")
        return None
    shown = [block for block in blocks if block.text or (ours and not marked(block.own, "empty"))]
    item: Json = {"type": "reasoning"}
    if id_ is not None:
        item["id"] = id_
    elif opaque is not None and opaque.format == NAME and opaque.id:
        item["id"] = opaque.id
    item["summary"] = [{"type": "summary_text", "text": block.text} for block in shown if block.summary or not ours]
    if ours and (words := [{"type": "reasoning_text", "text": block.text} for block in shown if not block.summary]):
        item["content"] = words
    if opaque is not None:
        item["encrypted_content"] = opaque.payload if opaque.format == NAME else pack(opaque)
        if opaque.format != NAME:
            out.losses.carried(last.at, f"the state of {opaque.format} is packed into encrypted_content")
    if own is not None and ours:
        item.update(own.silent or {})
        item.update(own.fields)
        if id_ is not None:
            item["id"] = id_
    for block in blocks:
        out.losses.own(block.own, block.at, NAME)
        if block.cache is not None and not is_ours(block.cache.own):
            out.losses.approximated(block.at, "reasoning has no cache mark")
    return item


def state_item(opaque: Opaque, at: str, out: Out, id_: str) -> Json:
    """A reasoning item that brings the state of the block before it through the client and back."""
    out.losses.carried(at, f"the state of {opaque.format} is packed into a reasoning item")
    return {"type": "reasoning", "id": id_, "summary": [], "encrypted_content": pack(opaque) + PREVIOUS}


def is_custom(block: ToolCall, out: Out) -> bool:
    """Whether the call is, or for the client becomes, one of a custom tool."""
    return block.kind == "custom" or block.name in out.custom


def call_item(block: ToolCall, out: Out, id_: str | None = None) -> Json:
    """A call. One of the client's custom tools, which the provider knew as a function of one text, gets it back."""
    custom = is_custom(block, out)
    type_, key = _CALLS["custom" if custom else "function"]
    arguments = unwrapped(block.arguments) if custom and block.kind != "custom" else block.arguments
    item: Json = {"type": type_, "call_id": out.call_id(block.id, block.name, block.at), "name": block.name}
    item[key] = arguments
    own = own_of(block)
    if own is None and not custom:
        item[key] = arguments + missing(arguments)
    if own is not None:
        item["call_id"] = block.id
        item.update(own.silent or {})
        item.update(own.fields)
    else:
        if id_ is not None:
            item["status"] = "completed"
        out.losses.own(block.own, block.at, NAME)
    if id_ is not None:
        item["id"] = id_
    elif block.opaque is not None:
        out.losses.dropped(block.at, "opaque state is bound to its origin")
    if block.cache is not None:
        out.losses.approximated(block.at, "a call has no cache mark")
    return item


def missing(arguments: str) -> str:
    """What makes JSON of the arguments of a call that has none."""
    return "" if arguments.strip() else "{}"


def unwrapped(arguments: str) -> str:
    """The text that a custom tool's function was given as `input`; all of it if it is no such object."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = value.get("input") if isinstance(value, dict) and len(value) == 1 else None
    return text if isinstance(text, str) else arguments


def result_item(block: ToolResult, out: Out) -> Json:
    """A tool's output: a text, or a list of parts."""
    own = own_of(block)
    item: Json = {"type": _RESULTS[block.kind]}
    parts = [part for one in block.content if (part := write_part(one, "input_text", out)) is not None]
    if own is not None:
        item["call_id"] = block.id
        item["output"] = parts[0]["text"] if STRING in own.marks and parts else parts
        item.update(own.silent or {})
        item.update(own.fields)
        return item
    item["call_id"] = out.result_id(block.id, block.name, block.at)
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        item["output"] = parts[0]["text"]
    else:
        item["output"] = parts or ""
    out.losses.own(block.own, block.at, NAME)
    if block.error:
        out.losses.approximated(block.at, "an output cannot be marked as an error; its words must say so")
    if block.cache is not None:
        out.losses.approximated(block.at, "an output has no cache mark")
    return item


def image_item(block: Media, out: Out, id_: str) -> Json | None:
    """A picture that the model has made, as the tool for that would have brought it."""
    if block.kind != "image" or block.source.kind != "base64":
        out.losses.dropped(block.at, f"a reply cannot hold {block.kind} from {block.source.kind}")
        return None
    out.losses.approximated(block.at, "a picture is told as an image_generation_call")
    return {"type": "image_generation_call", "id": id_, "status": "completed", "result": block.source.value}


@dataclass(slots=True)
class Turn:
    """Writes the assistant's blocks as items, as they are added; `close` ends what is open.

    A reasoning item stays followed by its item: in a request from elsewhere, one at a turn's end is left out.
    """

    out: Out
    items: list[Json]
    _kind: str = ""
    _open: list[Any] = field(default_factory=list)
    _held: tuple[Json, str] | None = None

    def add(self, block: Block) -> None:
        kind = "message" if speaks(block) else "reasoning" if isinstance(block, Thinking) else ""
        if self._open and kind != self._kind:
            self._flush()
        if not kind:
            if (write := SINGLE.get(type(block))) is not None:
                write(self, block)
            return
        self._kind = kind
        self._open.append(block)
        if ends(block, self.out):
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._held is not None:
            _, at = self._held
            self._held = None
            self.out.losses.dropped(at, "reasoning that nothing follows is not taken back")

    def put(self, item: Json | None) -> None:
        if item is None:
            return
        if self._held is not None:
            self.items.append(self._held[0])
            self._held = None
        self.items.append(item)

    def id(self, kind: str) -> str | None:
        """The id of the item that comes next: none in a request."""
        return None if self.out.seed is None else item_id(self.out.seed, len(self.items), kind)

    def id_of(self, block: Block, kind: str) -> str | None:
        own = own_of(block)
        return self.id(kind) if own is None or ENDS not in own.marks else None

    def state(self, block: Block) -> None:
        """What the block's state needs behind it."""
        opaque = None if isinstance(block, Refused | Foreign | ToolResult) else block.opaque
        if opaque is not None and self.out.seed is not None and opaque.format != NAME:
            self.put(state_item(opaque, block.at, self.out, item_id(self.out.seed, len(self.items), "reasoning")))

    def _flush(self) -> None:
        blocks, self._open = self._open, []
        if not blocks:
            return
        last = blocks[-1]
        if self._kind == "message":
            self.put(message_item(blocks, "assistant", self.out, self.id_of(last, "message")))
            self.state(last)
            return
        item = reasoning_item(blocks, self.out, self.id_of(last, "reasoning"))
        if item is None:
            return
        if self.out.seed is None and not marked(last.own, ENDS):
            self.close_held()
            self._held = item, last.at
        else:
            self.put(item)

    def close_held(self) -> None:
        """A reasoning item before this one stays: the two are followed together."""
        if self._held is not None:
            self.items.append(self._held[0])
            self._held = None


def ends(block: Block, out: Out) -> bool:
    """Whether nothing that follows can belong to the block's item."""
    if marked(block.own, ENDS):
        return True
    if isinstance(block, Thinking):
        return block.opaque is not None
    if out.seed is None:
        return out.origin != NAME and not isinstance(block, Foreign)
    return isinstance(block, Text) and block.opaque is not None


def _put_call(turn: Turn, block: ToolCall) -> None:
    turn.put(
        call_item(
            block, turn.out, turn.id_of(block, "custom_tool_call" if is_custom(block, turn.out) else "function_call")
        )
    )
    turn.state(block)


def _put_result(turn: Turn, block: ToolResult) -> None:
    if turn.out.seed is None:
        turn.put(result_item(block, turn.out))
    else:
        turn.out.losses.dropped(block.at, "a reply holds no results of tools")


def _put_media(turn: Turn, block: Media) -> None:
    id_ = turn.id("image_generation_call")
    if id_ is not None:
        turn.put(image_item(block, turn.out, id_))
        turn.state(block)
    elif (part := write_part(block, "output_text", turn.out)) is not None:
        turn.put({"type": "message", "role": "assistant", "content": [part]})


def _put_foreign(turn: Turn, block: Foreign) -> None:
    if block.format == NAME:
        turn.put(block.value)
    else:
        foreign(block, turn.out)


SINGLE: dict[type, Callable[[Turn, Any], None]] = {
    ToolCall: _put_call,
    ToolResult: _put_result,
    Media: _put_media,
    Foreign: _put_foreign,
}
