"""The tool calls of one answer in a Chat stream, kept apart by their index until the answer has ended.

A call begins as soon as its name is known. Servers that give no index, or the same to all, are told apart by their ids.
"""

from __future__ import annotations

from typing import Any, Literal

from interpose.formats.codecs.codec import Json
from interpose.ir import BlockDelta, BlockEnd, BlockStart, Event, Opaque, Own, ToolCall

from .facts import NAME
from .turns import legacy_id, read_call_state


class _Call:
    __slots__ = ("block_at", "id", "kind", "legacy", "name", "opaque", "pending", "rest", "told")

    def __init__(self) -> None:
        self.block_at: int | None = None
        self.id = ""
        self.name = ""
        self.kind: Literal["function", "custom"] = "function"
        self.legacy = False
        self.pending = ""
        self.opaque: Opaque | None = None
        self.told: Opaque | None = None
        self.rest: Json = {}


class Calls:
    __slots__ = ("_answer", "_by_index", "_last", "_open")

    def __init__(self, answer: int) -> None:
        self._answer = answer
        self._by_index: dict[Any, _Call] = {}
        self._open: list[_Call] = []
        self._last: _Call | None = None

    def __bool__(self) -> bool:
        return self._last is not None

    def read(self, pieces: list[Any], next_block: int, out: list[Event]) -> int:
        """Pieces of calls; the number of the next block that would begin."""
        for piece in pieces:
            if type(piece) is not dict:
                continue
            call = self._call_of(piece)
            function = piece.pop("function", None)
            if type(function) is not dict and type(custom := piece.pop("custom", None)) is dict:
                function, call.kind = custom, "custom"
            said = ""
            if type(function) is dict:
                name, said = function.pop("name", None), function.pop("arguments", None)
                if call.kind == "custom":
                    said = function.pop("input", None)
                if type(name) is str and name and not call.name:
                    call.name = name
                for key, value in function.items():
                    call.rest[f"{call.kind}.{key}"] = value
            piece.pop("type", None)
            if piece:
                if (state := read_call_state(piece)) is not None:
                    call.opaque = state
                for key, value in piece.items():
                    if value is not None:
                        call.rest[key] = value
            next_block = self._go_on(call, said if type(said) is str else "", next_block, out)
        return next_block

    def read_function(self, piece: Json, next_block: int, out: list[Event]) -> int:
        """The predecessor of tool calls: one, without id and index."""
        call = self._by_index.get("function_call")
        if call is None:
            call = self._by_index["function_call"] = self._begin()
            call.legacy = True
        name, said = piece.get("name"), piece.get("arguments")
        if type(name) is str and name and not call.name:
            call.name, call.id = name, legacy_id(name)
        return self._go_on(call, said if type(said) is str else "", next_block, out)

    def close(self, next_block: int, out: list[Event]) -> int:
        """The answer has ended; a call whose name never came is told without one."""
        for call in self._open:
            if call.block_at is None:
                next_block = self._start(call, next_block, out)
            assert call.block_at is not None
            if call.opaque is not call.told:
                out.append(BlockDelta(call.block_at, opaque=call.opaque, answer=self._answer))
            own = None
            marks = frozenset(("function_call",)) if call.legacy else frozenset(() if call.id else ("id:absent",))
            if call.rest or marks:
                own = Own(NAME, call.rest, marks)
            out.append(BlockEnd(call.block_at, self._answer, own))
        self._open = []
        self._by_index = {}
        return next_block

    def _begin(self) -> _Call:
        call = _Call()
        self._open.append(call)
        self._last = call
        return call

    def _call_of(self, piece: Json) -> _Call:
        index, id_ = piece.pop("index", None), piece.pop("id", None)
        if type(id_) is not str:
            id_ = ""
        key: Any = index if type(index) is int else None
        found = self._by_index.get(key) if key is not None else self._last
        if found is None or (id_ and found.id and id_ != found.id):
            # Without an index, an id that has been seen means that call.
            seen = self._open if key is None and id_ else ()
            found = next((call for call in seen if call.id == id_), None)
        if found is None:
            found = self._begin()
        if key is not None:
            self._by_index[key] = found
        if id_ and not found.id:
            found.id = id_
        self._last = found
        return found

    def _go_on(self, call: _Call, said: str, next_block: int, out: list[Event]) -> int:
        if call.block_at is not None:
            if said:
                out.append(BlockDelta(call.block_at, said, answer=self._answer))
            return next_block
        call.pending += said
        return self._start(call, next_block, out) if call.name else next_block

    def _start(self, call: _Call, next_block: int, out: list[Event]) -> int:
        call.block_at, call.told = next_block, call.opaque
        at = f"choices[{self._answer}].message.tool_calls"
        out.append(
            BlockStart(next_block, ToolCall(call.id, call.name, "", call.kind, call.opaque, at=at), self._answer)
        )
        if call.pending:
            out.append(BlockDelta(next_block, call.pending, answer=self._answer))
        return next_block + 1
