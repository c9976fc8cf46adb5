"""One block at a time told to a client of Converse's: contentBlockStart where it is a tool's, deltas, contentBlockStop.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockDelta.html. Which block's turn it is,
`writer` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interpose.formats.codecs.codec import Client, dumps
from interpose.formats.codecs.wrapping import ObjectText
from interpose.ir import Block, BlockDelta, Losses, Opaque, Own, Refused, Text, Thinking, ToolCall

from .names import CITED, EMPTY, FORMAT, TEXTLESS, Json, lay_over, marked
from .replies import CONTENT, call_id, carrier, cite, signature_of, write_block


@dataclass(slots=True)
class _Open:
    """The block that is being told. `begun` is whether anything of it was written."""

    block: Block
    at: str
    arguments: ObjectText
    begun: bool = False
    opaque: Opaque | None = None
    own: Own | None = None


class BlockTeller:
    """`index` is that of the block that comes next on the wire, `place` that of the next of the reply's own."""

    def __init__(self, client: Client, losses: Losses, send: Callable[[str, Json], None]) -> None:
        self._client = client
        self._losses = losses
        self._send = send
        self._open: _Open | None = None
        self.index = 0
        self.place = 0

    def begin(self, block: Block) -> None:
        opaque, own, at = getattr(block, "opaque", None), getattr(block, "own", None), f"{CONTENT}[{self.place}]"
        self._open = opened = _Open(block, at, ObjectText(self._losses, at), opaque=opaque, own=own)
        _STARTS.get(type(block), BlockTeller._start_whole)(self, opened)

    def delta(self, event: BlockDelta) -> None:
        opened = self._open
        if opened is None:
            return
        add = _DELTAS.get(type(opened.block))
        if add is not None:
            if event.text:
                add(self, opened, event.text)
            if event.citation is not None:
                self._cite(opened, event.citation)
            if event.opaque is not None:
                opened.opaque = event.opaque

    def end(self, own: Own | None) -> None:
        opened = self._open
        if opened is None:
            return
        if own is not None:
            opened.own = own
        if (end := _ENDS.get(type(opened.block))) is not None:
            end(self, opened)
            if opened.begun:
                self._stop()
            if opened.opaque is not None and not isinstance(opened.block, Thinking):
                self._whole(carrier(opened.opaque, opened.at, self._losses))
        self.place += 1
        self._open = None

    def _start(self, kind: str, node: Json) -> None:
        self._send("contentBlockStart", {"start": {kind: node}, "contentBlockIndex": self.index})

    def _delta(self, kind: str, value: Any) -> None:
        self._send("contentBlockDelta", {"delta": {kind: value}, "contentBlockIndex": self.index})

    def _stop(self) -> None:
        self._send("contentBlockStop", {"contentBlockIndex": self.index})
        self.index += 1

    # By block

    def _start_text(self, opened: _Open) -> None:
        block = opened.block
        assert isinstance(block, Text | Refused)
        self._losses.own(block.own, opened.at, FORMAT)
        if block.text:
            self._text(opened, block.text)
        if isinstance(block, Text):
            for citation in block.citations:
                self._cite(opened, citation)

    def _text(self, opened: _Open, text: str) -> None:
        if not opened.begun and isinstance(opened.block, Refused):
            self._losses.approximated(opened.at, "a refusal is text to clients of Bedrock")
        opened.begun = True
        self._delta("text", text)

    def _cite(self, opened: _Open, citation: Any) -> None:
        opened.begun = True
        self._delta("citation", cite(citation, opened.at, self._losses))

    def _end_text(self, opened: _Open) -> None:
        """An empty text is written where Bedrock itself had told one."""
        if not opened.begun and (marked(opened.own, EMPTY) or marked(opened.own, CITED)):
            self._text(opened, "")

    def _start_thinking(self, opened: _Open) -> None:
        block = opened.block
        assert isinstance(block, Thinking)
        self._losses.own(block.own, opened.at, FORMAT)
        if block.text:
            self._thought(opened, block.text)

    def _thought(self, opened: _Open, text: str) -> None:
        opened.begun = True
        self._delta("reasoningContent", {"text": text})

    def _end_thinking(self, opened: _Open) -> None:
        """What clients collect of it has text: an empty one, if nothing was said but the signature."""
        opaque = opened.opaque
        if opaque is not None and opaque.format == FORMAT and opaque.kind == "redacted" and not opened.begun:
            opened.begun = True
            self._delta("reasoningContent", {"redactedContent": opaque.payload})
            return
        if not opened.begun and not marked(opened.own, TEXTLESS):
            self._thought(opened, "")
        opened.begun = True
        if opaque is not None:
            self._delta("reasoningContent", {"signature": signature_of(opaque, opened.at, self._losses)})
        elif opened.own is not None and opened.own.silent and "signature" in opened.own.silent:
            self._delta("reasoningContent", {"signature": ""})

    def _start_call(self, opened: _Open) -> None:
        block = opened.block
        assert isinstance(block, ToolCall)
        opened.begun = True
        self._losses.own(block.own, opened.at, FORMAT)
        node: Json = {"toolUseId": call_id(block, self._client, self.place), "name": block.name}
        lay_over(node, block.own)
        self._start("toolUse", node)
        self._argued(opened.arguments.begin(block))
        self._arguments(opened, block.arguments)

    def _arguments(self, opened: _Open, text: str) -> None:
        self._argued(opened.arguments.feed(text))

    def _argued(self, text: str) -> None:
        if text:
            self._delta("toolUse", {"input": text})

    def _end_call(self, opened: _Open) -> None:
        self._argued(opened.arguments.end() if opened.arguments.said else "{}")

    def _start_whole(self, opened: _Open) -> None:
        for node in write_block(opened.block, opened.at, self._client, self.place, self._losses):
            self._whole(node)

    def _whole(self, node: Json) -> None:
        """A block that is told at once: a start where the union has one, and a delta of what belongs there."""
        kind, value = next(iter(node.items()))
        row = _WHOLE.get(kind)
        if row is None or not isinstance(value, dict):
            self._losses.dropped(f"{CONTENT}[{self.place}]", f"Bedrock's streams have no {kind}")
            return
        key, delta = row
        if key:
            self._start(kind, {name: told for name, told in value.items() if name != key})
        self._delta(kind, delta(value))
        self._stop()


# By kind: what of it is no part of its start ("" where it has none), and its delta.
_WHOLE: Mapping[str, tuple[str, Callable[[Json], Any]]] = {
    "reasoningContent": ("", lambda value: value),
    "image": ("source", lambda value: {"source": value.get("source", {})}),
    "toolUse": ("input", lambda value: {"input": dumps(value.get("input", {}))}),
    "toolResult": ("content", lambda value: value.get("content", [])),
}
_STARTS: Mapping[type, Callable[[BlockTeller, _Open], None]] = {
    Text: BlockTeller._start_text,
    Refused: BlockTeller._start_text,
    Thinking: BlockTeller._start_thinking,
    ToolCall: BlockTeller._start_call,
}
_DELTAS: Mapping[type, Callable[[BlockTeller, _Open, str], None]] = {
    Text: BlockTeller._text,
    Refused: BlockTeller._text,
    Thinking: BlockTeller._thought,
    ToolCall: BlockTeller._arguments,
}
_ENDS: Mapping[type, Callable[[BlockTeller, _Open], None]] = {
    Text: BlockTeller._end_text,
    Refused: BlockTeller._end_text,
    Thinking: BlockTeller._end_thinking,
    ToolCall: BlockTeller._end_call,
}
