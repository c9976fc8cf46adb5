"""Events <-> reply: a stream collected into the reply that it amounts to, and a whole reply told in events.

One law holds them together: collecting the events of a reply gives that reply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .blocks import Block, Own, Refused, Text, Thinking, ToolCall
from .reply import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Ping,
    Reply,
    Started,
    Told,
    Used,
)
from .usage import Usage


class Assembler:
    """Collects events. `failure` is the Failed that ended them, if one did; `reply` is what there is so far."""

    def __init__(self, format_: str) -> None:
        self.reply = Reply(format_)
        self.failure: Failed | None = None
        self._answers: dict[int, Answer] = {}
        self._blocks: dict[tuple[int, int], Block] = {}
        self._pieces: dict[tuple[int, int], list[str]] = {}

    def add(self, event: Event) -> None:
        match event:
            case BlockDelta(index, text, citation, opaque, answer):
                key = (answer, index)
                if text:
                    self._pieces.setdefault(key, []).append(text)
                block = self._blocks[key]
                if citation is not None and isinstance(block, Text):
                    block.citations.append(citation)
                if opaque is not None and isinstance(block, Text | Thinking | ToolCall):
                    block.opaque = opaque
            case BlockStart(index, block, answer):
                # The event is the reader's: what is collected must not grow inside of it.
                copy = replace(block)
                if isinstance(copy, Text):
                    copy.citations = list(copy.citations)
                self._blocks[answer, index] = copy
                self._answer(answer).blocks.append(copy)
            case BlockEnd(index, answer, own):
                self._join((answer, index))
                if own is not None and hasattr(ended := self._blocks[answer, index], "own"):
                    ended.own = own
            case Finished(stop, answer, own):
                found = self._answer(answer)
                found.stop = stop
                if own is not None:
                    found.own = own
            case Used(usage):
                self.reply.usage = overlay(self.reply.usage, usage)
            case Started(id_, model, created, usage, own):
                reply = self.reply
                reply.id, reply.model, reply.created, reply.own = id_, model, created, own
                reply.usage = overlay(reply.usage, usage)
            case Told(format_, fields, marks, silent):
                own = self.reply.own or Own(format_)
                hushed = {**(own.silent or {}), **(silent or {})} or None
                self.reply.own = Own(own.format, {**own.fields, **fields}, own.marks | marks, hushed, own.vital)
            case Failed():
                self.failure = event
            case Ping():
                pass

    def finish(self) -> Reply:
        """The reply, with what blocks were left open closed as they are."""
        for key in list(self._pieces):
            self._join(key)
        self.reply.answers = [self._answers[index] for index in sorted(self._answers)]
        return self.reply

    def _answer(self, index: int) -> Answer:
        found = self._answers.get(index)
        if found is None:
            found = self._answers[index] = Answer(index=index)
        return found

    def _join(self, key: tuple[int, int]) -> None:
        pieces = self._pieces.pop(key, None)
        if pieces is None:
            return
        block, added = self._blocks[key], "".join(pieces)
        if isinstance(block, ToolCall):
            block.arguments += added
        elif isinstance(block, Text | Thinking | Refused):
            block.text += added


def overlay(before: Usage, told: Usage) -> Usage:
    """`before` with every counter replaced that `told` tells."""
    return Usage(
        before.input_tokens if told.input_tokens is None else told.input_tokens,
        before.cache_read_tokens if told.cache_read_tokens is None else told.cache_read_tokens,
        before.cache_write_tokens if told.cache_write_tokens is None else told.cache_write_tokens,
        before.output_tokens if told.output_tokens is None else told.output_tokens,
        before.reasoning_tokens if told.reasoning_tokens is None else told.reasoning_tokens,
    )


def events_of(reply: Reply) -> Iterator[Event]:
    """The events that tell a whole reply: each block whole in its start, with no deltas."""
    yield Started(reply.id, reply.model, reply.created, Usage(), reply.own)
    for answer in reply.answers:
        for index, block in enumerate(answer.blocks):
            yield BlockStart(index, block, answer.index)
            yield BlockEnd(index, answer.index)
        if answer.stop is not None:
            yield Finished(answer.stop, answer.index, answer.own)
    yield Used(reply.usage)
