"""A block of a stream while it is being written, for formats that say texts as they come and calls whole."""

from __future__ import annotations

from dataclasses import replace

from interpose.ir import Block, BlockEnd, Losses, Opaque, ToolCall


class Opened:
    """`pieces` are the arguments of a call so far; `opaque` is the state that was told last."""

    __slots__ = ("block", "opaque", "pieces")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.opaque: Opaque | None = getattr(block, "opaque", None)
        self.pieces: list[str] = []

    def whole(self, call: ToolCall, end: BlockEnd) -> ToolCall:
        """The call, with all that has come of it."""
        own = call.own if end.own is None else end.own
        return replace(call, arguments="".join(self.pieces), opaque=self.opaque, own=own)

    def tell_bound(self, losses: Losses, format_: str) -> None:
        """State that came after the block's beginning, which its format has no place for."""
        if self.opaque is not getattr(self.block, "opaque", None):
            losses.bound(self.opaque, self.block.at, format_)
