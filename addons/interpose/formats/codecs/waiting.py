"""Calls of a turn that wait for their results: found by id, or where there is none by name and order.

Each is found in no time, however many there are: a hostile request holds a hundred thousand.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from interpose.ir import ToolCall, ToolResult


class Waiting:
    """What was written for each call (an id, a name) until its result comes; true while one is missing."""

    __slots__ = ("_by_id", "_by_name", "_missing", "_nameless")

    def __init__(self) -> None:
        self._by_id: dict[str, str] = {}
        self._missing: set[str] = set()
        # Calls without ids, by their place; and their places by name.
        # Ordered by links: the first of a plain dict is sought behind all that were taken out.
        self._nameless: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._by_name: dict[str, deque[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._missing or self._nameless)

    def add(self, call: ToolCall, written: str) -> None:
        if call.id:
            self._by_id[call.id] = written
            self._missing.add(call.id)
            return
        # Of those that are left the places only grow, so that the first of a name is the first that was said.
        place = next(reversed(self._nameless), -1) + 1
        self._nameless[place] = (call.name, written)
        self._by_name.setdefault(call.name, deque()).append(place)

    def close(self, result: ToolResult) -> str | None:
        """What was written for the call that this answers; None if there is none."""
        if result.id:
            self._missing.discard(result.id)
            return self._by_id.get(result.id)
        if result.name is None:
            place = next(iter(self._nameless), None)
        else:
            places = self._by_name.get(result.name)
            place = places[0] if places else None
        if place is None:
            return None
        name, written = self._nameless.pop(place)
        self._by_name[name].popleft()
        return written
