"""The order of blocks in a stream whose blocks must be whole, one behind the other, under indexes that leave no gap.

What a block looks like on the wire is a teller's affair, one of each format's. A block that begins while another is
open waits for its turn, with all that comes of it; the open one is told as it comes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from interpose.ir import Block, BlockDelta, BlockEnd, BlockStart, Own


class Teller(Protocol):
    """Tells one block at a time."""

    def begin(self, block: Block) -> None: ...
    def delta(self, event: BlockDelta) -> None: ...
    def end(self, own: Own | None) -> None: ...


class InOrder:
    """Gives a teller the events of one answer's blocks, block by block."""

    __slots__ = ("_index", "_teller", "_waiting")

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._index: int | None = None
        # Ordered by links: the first of a plain dict is sought behind all that were taken out.
        self._waiting: OrderedDict[int, list[BlockStart | BlockDelta | BlockEnd]] = OrderedDict()

    def begin(self, event: BlockStart) -> None:
        if self._index is None:
            self._index = event.index
            self._teller.begin(event.block)
        else:
            self._waiting[event.index] = [event]

    def delta(self, event: BlockDelta) -> None:
        if event.index == self._index:
            self._teller.delta(event)
        elif event.index in self._waiting:
            self._waiting[event.index].append(event)

    def end(self, event: BlockEnd) -> None:
        if event.index == self._index:
            self._end(event.own)
        elif event.index in self._waiting:
            self._waiting[event.index].append(event)

    def finish(self) -> None:
        """Ends what is open, and all that waits behind it."""
        while self._index is not None:
            self._end(None)

    def _end(self, own: Own | None) -> None:
        """Ends the open block, and tells what has waited: blocks that are complete, and the beginning of the next."""
        self._teller.end(own)
        self._index = None
        while self._index is None and self._waiting:
            self._index, waited = self._waiting.popitem(last=False)
            for held in waited:
                if isinstance(held, BlockStart):
                    self._teller.begin(held.block)
                elif isinstance(held, BlockDelta):
                    self._teller.delta(held)
                else:
                    self._teller.end(held.own)
                    self._index = None
