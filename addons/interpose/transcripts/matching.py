"""Tool calls and what came of them: each call of a transcript gets a number, and its result the same one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from .model import Answer, Block, Call, Result, Turn


def matched(turns: Iterable[Turn], answers: Iterable[Answer]) -> tuple[tuple[Turn, ...], tuple[Answer, ...]]:
    """By id; where a format gives none, by the tool's name and the order in which they were called."""
    turns, answers = tuple(turns), tuple(answers)
    desk = _Desk()
    numbered = tuple(replace(turn, blocks=tuple(map(desk.number, turn.blocks))) for turn in turns)
    said = tuple(
        replace(answer, turn=replace(answer.turn, blocks=tuple(map(desk.number, answer.turn.blocks))))
        for answer in answers
    )
    done = desk.done
    return (
        tuple(replace(turn, blocks=tuple(_told(block, done) for block in turn.blocks)) for turn in numbered),
        tuple(
            replace(each, turn=replace(each.turn, blocks=tuple(_told(block, done) for block in each.turn.blocks)))
            for each in said
        ),
    )


def _told(block: Block, done: set[int]) -> Block:
    return replace(block, answered=True) if isinstance(block, Call) and block.number in done else block


class _Desk:
    """The calls that wait for their results."""

    def __init__(self) -> None:
        self._count = 0
        self._by_id: dict[str, Call] = {}
        self._nameless: dict[str, deque[Call]] = {}
        self.done: set[int] = set()

    def number(self, block: Block) -> Block:
        if isinstance(block, Call):
            self._count += 1
            call = replace(block, number=self._count)
            if call.id:
                self._by_id[call.id] = call
            self._nameless.setdefault(call.name, deque()).append(call)
            return call
        if isinstance(block, Result):
            call_ = self._called(block)
            if call_ is None:
                return block
            self.done.add(call_.number)
            return replace(block, number=call_.number, name=block.name or call_.name)
        return block

    def _called(self, result: Result) -> Call | None:
        if result.id and result.id in self._by_id:
            return self._by_id[result.id]
        waiting = self._nameless.get(result.name)
        while waiting:
            call = waiting.popleft()
            if call.number not in self.done:
                return call
        return None
