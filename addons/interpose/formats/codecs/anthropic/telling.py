"""One block at a time told to a client of Anthropic's: content_block_start, deltas, content_block_stop.

https://platform.claude.com/docs/en/build-with-claude/streaming. Which block's turn it is, `writer` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interpose.formats.codecs.codec import Client, dumps
from interpose.formats.codecs.wrapping import ObjectText
from interpose.ir import Block, BlockDelta, Losses, Opaque, Own, Refused, Text, Thinking, ToolCall

from .names import EMPTY, FORMAT, Json, lay_over, marked
from .replies import call_id, carrier, cite, signature_of, write_block


@dataclass(slots=True)
class _Open:
    """The block that is being told. `begun` is whether its start was written: an empty text is never written."""

    block: Block
    at: str
    arguments: ObjectText
    begun: bool = True
    opaque: Opaque | None = None
    own: Own | None = None


class BlockTeller:
    """`index` is that of the block that comes next on the wire, `place` that of the next of the reply's own."""

    def __init__(self, client: Client, losses: Losses, send: Callable[[Json], None]) -> None:
        self._client = client
        self._losses = losses
        self._send = send
        self._open: _Open | None = None
        self.index = 0
        self.place = 0

    def begin(self, block: Block) -> None:
        opaque, at = getattr(block, "opaque", None), f"content[{self.place}]"
        self._open = opened = _Open(block, at, ObjectText(self._losses, f"{at}.input"), opaque=opaque)
        _STARTS.get(type(block), BlockTeller._start_whole)(self, opened)

    def delta(self, event: BlockDelta) -> None:
        opened = self._open
        if opened is None:
            return
        add = _DELTAS.get(type(opened.block))
        if add is not None:
            add(self, opened, event)

    def end(self, own: Own | None) -> None:
        opened = self._open
        if opened is None:
            return
        if own is not None:
            opened.own = own
        self._end(opened)
        self.place += 1
        self._open = None

    def _end(self, opened: _Open) -> None:
        block = opened.block
        if isinstance(block, Text) and not opened.begun and marked(opened.own or block.own, EMPTY):
            self._begin_text(opened)
        if not opened.begun:
            return
        if isinstance(block, ToolCall):
            self._end_call(opened)
        elif isinstance(block, Thinking) and not _is_redacted(opened):
            signature = signature_of(opened.opaque, opened.own or block.own, opened.at, self._losses)
            if signature:
                self._delta({"type": "signature_delta", "signature": signature})
        self._send({"type": "content_block_stop", "index": self.index})
        self.index += 1
        if opened.opaque is not None and isinstance(block, Text | ToolCall):
            self._whole([carrier(opened.opaque, opened.at, self._losses)])

    def _delta(self, delta: Json) -> None:
        self._send({"type": "content_block_delta", "index": self.index, "delta": delta})

    def _content(self, node: Json) -> None:
        self._send({"type": "content_block_start", "index": self.index, "content_block": node})

    def _whole(self, nodes: list[Json]) -> None:
        """Blocks that are told at once. The input of a server's tool comes in a delta, as clients expect."""
        for node in nodes:
            given = node.get("input")
            if node["type"] == "compaction":
                self._content({"type": "compaction", "content": None})
                self._delta({**node, "type": "compaction_delta"})
            elif isinstance(given, dict):
                self._content({**node, "input": {}})
                self._delta({"type": "input_json_delta", "partial_json": dumps(given)})
            else:
                self._content(node)
            self._send({"type": "content_block_stop", "index": self.index})
            self.index += 1

    # By block

    def _start_text(self, opened: _Open) -> None:
        opened.begun = False
        block = opened.block
        if isinstance(block, Text | Refused) and block.text:
            self._text(opened, block.text)
        if isinstance(block, Text):
            for citation in block.citations:
                self._cite(opened, citation)

    def _begin_text(self, opened: _Open) -> None:
        opened.begun = True
        node: Json = {"type": "text", "text": ""}
        self._close_node(node, opened)
        self._content(node)
        if isinstance(opened.block, Refused):
            self._losses.approximated(opened.at, "a refusal is text to clients of Claude")

    def _text(self, opened: _Open, text: str) -> None:
        if not opened.begun:
            self._begin_text(opened)
        self._delta({"type": "text_delta", "text": text})

    def _cite(self, opened: _Open, citation: Any) -> None:
        told = cite(citation, opened.at, self._losses)
        if told is not None:
            if not opened.begun:
                self._begin_text(opened)
            self._delta({"type": "citations_delta", "citation": told})

    def _text_delta(self, opened: _Open, event: BlockDelta) -> None:
        if event.text:
            self._text(opened, event.text)
        if event.citation is not None:
            self._cite(opened, event.citation)
        if event.opaque is not None:
            opened.opaque = event.opaque

    def _start_thinking(self, opened: _Open) -> None:
        block = opened.block
        assert isinstance(block, Thinking)
        if _is_redacted(opened) and opened.opaque is not None:
            node: Json = {"type": "redacted_thinking", "data": opened.opaque.payload}
        else:
            node = {"type": "thinking", "thinking": "", "signature": ""}
        self._close_node(node, opened)
        self._content(node)
        if block.text:
            self._delta({"type": "thinking_delta", "thinking": block.text})

    def _thinking_delta(self, opened: _Open, event: BlockDelta) -> None:
        if event.text:
            self._delta({"type": "thinking_delta", "thinking": event.text})
        if event.opaque is not None:
            opened.opaque = event.opaque

    def _start_call(self, opened: _Open) -> None:
        block = opened.block
        assert isinstance(block, ToolCall)
        id_ = call_id(block, self._client, self.place)
        node: Json = {"type": "tool_use", "id": id_, "name": block.name, "input": {}}
        self._close_node(node, opened)
        self._content(node)
        self._argued(opened.arguments.begin(block))
        self._arguments(opened, block.arguments)

    def _arguments(self, opened: _Open, text: str) -> None:
        self._argued(opened.arguments.feed(text))

    def _argued(self, text: str) -> None:
        if text:
            self._delta({"type": "input_json_delta", "partial_json": text})

    def _call_delta(self, opened: _Open, event: BlockDelta) -> None:
        if event.text:
            self._arguments(opened, event.text)
        if event.opaque is not None:
            opened.opaque = event.opaque

    def _end_call(self, opened: _Open) -> None:
        self._argued(opened.arguments.end())

    def _start_whole(self, opened: _Open) -> None:
        opened.begun = False
        self._whole(write_block(opened.block, opened.at, self._client, self.place, self._losses))

    def _close_node(self, node: Json, opened: _Open) -> None:
        of = getattr(opened.block, "own", None)
        if of is not None:
            lay_over(node, of)
            self._losses.own(of, opened.at, FORMAT)


def _is_redacted(opened: _Open) -> bool:
    opaque = opened.opaque
    return opaque is not None and opaque.format == FORMAT and opaque.kind == "redacted"


_STARTS: Mapping[type, Callable[[BlockTeller, _Open], None]] = {
    Text: BlockTeller._start_text,
    Refused: BlockTeller._start_text,
    Thinking: BlockTeller._start_thinking,
    ToolCall: BlockTeller._start_call,
}
_DELTAS: Mapping[type, Callable[[BlockTeller, _Open, BlockDelta], None]] = {
    Text: BlockTeller._text_delta,
    Refused: BlockTeller._text_delta,
    Thinking: BlockTeller._thinking_delta,
    ToolCall: BlockTeller._call_delta,
}
