"""Streams written for a client of Gemini's: chunks as SSE, or as one JSON array for a client that did not ask for SSE.

The client's SDK wants exactly `data: ` and breaks on comments and on [DONE], so a ping is nothing. A finish reason is
the format's only end: it is kept back until the stream has really ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from interpose.formats.codecs.codec import Client, Json, dumps
from interpose.ir import (
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Losses,
    Opaque,
    Own,
    Refused,
    Started,
    Text,
    Thinking,
    Told,
    ToolCall,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .errors import write_error
from .grounding import metadata_of
from .replies import feedback, tell_stop
from .spelling import NAME, lay, marked, marks_of, own_of
from .stops import word_for
from .usage import told_usage
from .writing import Pen


class Writer:
    """One stream."""

    __slots__ = (
        "_answers",
        "_array",
        "_began",
        "_client",
        "_ended",
        "_finished",
        "_id",
        "_losses",
        "_out",
        "_pen",
        "_told",
        "_usage",
    )

    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._pen = Pen(losses, carry=True)
        self._array = "alt:array" in marks_of(client.request.own)
        self._began = self._ended = False
        self._id = client.id
        self._answers: dict[int, _Answer] = {}
        self._finished: dict[int, Finished] = {}
        self._usage = Usage()
        self._told: Json = {}
        self._out: list[bytes] = []

    def write(self, events: Iterable[Event]) -> bytes:
        for event in events:
            if self._ended:
                break
            self._event(event)
        return self._taken()

    def _event(self, event: Event) -> None:
        match event:
            case BlockDelta(index, text, citation, opaque, number):
                self._answer(number).delta(index, text, opaque, citation)
            case BlockStart(index, block, number):
                self._answer(number).start(index, block)
            case BlockEnd(index, number, _):
                self._answer(number).end(index)
            case Finished(_, number, _):
                self._finished[number] = event
            case Used(usage):
                self._usage = overlay(self._usage, usage)
            case Started(id_, _, _, usage, own):
                self._id = id_ or self._client.id
                self._usage = overlay(self._usage, usage)
                self._losses.own(own, "", NAME)
                if own is not None and own.format == NAME:
                    self._told.update(own.fields)
            case Told(format_, fields):
                if format_ == NAME:
                    self._told.update(fields)
                else:
                    self._losses.own(Own(format_, fields), "", NAME)
            case Failed():
                self._send(write_error(event))
                self._end()
            case _:
                pass  # a ping
        if isinstance(event, BlockDelta | BlockStart | BlockEnd) and (answer := self._answers[event.answer]).parts:
            parts, answer.parts = answer.parts, []
            self._send(self._chunk([{"content": {"parts": parts, "role": "model"}, "index": event.answer}]))

    def finish(self) -> bytes:
        if self._ended:
            return b""
        candidates: list[Json] = []
        blocked = self._finished.get(0)
        if not self._answers and blocked is not None and "promptFeedback" in marks_of(blocked.own):
            return self._last({"promptFeedback": feedback(blocked.stop, blocked.own), **self._head()})
        for number in sorted({*self._answers, *self._finished} or {0}):
            candidate: Json = {"content": {"parts": [{"text": ""}], "role": "model"}, "index": number}
            finished = self._finished.get(number)
            candidate["finishReason"] = "OTHER"
            answer = self._answers.get(number)
            if answer is not None and answer.cited:
                metadata = metadata_of(answer.cited, self._losses, f"candidates[{number}]")
                if metadata is not None:
                    candidate["groundingMetadata"] = metadata
            if finished is not None:
                at = f"candidates[{number}]"
                number_told = marked(marks_of(finished.own), "reason#")
                candidate["finishReason"] = int(number_told) if number_told else word_for(finished.stop)
                tell_stop(finished.stop, at, self._losses)
                self._losses.own(finished.own, at, NAME)
                lay(candidate, finished.own)
            candidates.append(candidate)
        return self._last(self._chunk(candidates))

    def _last(self, chunk: Json) -> bytes:
        if usage := told_usage(self._usage, None, frozenset()):
            chunk["usageMetadata"] = usage
        lay(chunk, own_of(self._told, set()))
        self._send(chunk)
        self._end()
        return self._taken()

    def _answer(self, number: int) -> _Answer:
        found = self._answers.get(number)
        if found is None:
            found = self._answers[number] = _Answer(self._pen)
        return found

    def _chunk(self, candidates: list[Json]) -> Json:
        return {"candidates": candidates, **self._head()}

    def _head(self) -> Json:
        return {"modelVersion": self._client.model, "responseId": self._id}

    def _send(self, chunk: Json) -> None:
        data = dumps(chunk).encode("utf-8", "replace")
        if self._array:
            self._out.append((b",\r\n" if self._began else b"[") + data)
            self._began = True
        else:
            self._out.append(b"data: " + data + b"\r\n\r\n")

    def _end(self) -> None:
        self._ended = True
        if self._array:
            self._out.append(b"]" if self._began else b"[]")

    def _taken(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data


class _Answer:
    """Brings the blocks of one answer into their order: the first that is open is written as it comes, the others once
    it has ended. `parts` are those to send.
    """

    __slots__ = ("_last", "_open", "_pen", "cited", "parts")

    def __init__(self, pen: Pen) -> None:
        self.parts: list[Json] = []
        self.cited: list[tuple[int, str, list[Citation]]] = []
        self._pen = pen
        # Ordered by links: the first of a plain dict is sought behind all that were taken out.
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._last: type[Block] | None = None

    def start(self, index: int, block: Block) -> None:
        self._open[index] = _Open(block)
        if next(iter(self._open)) == index:
            self._stream(self._open[index])

    def delta(self, index: int, text: str, opaque: Opaque | None, citation: Citation | None) -> None:
        found = self._open[index]
        if citation is not None:
            found.citations.append(citation)
        if text:
            found.pieces.append(text)
        if opaque is not None:
            found.opaque = opaque
        if next(iter(self._open)) == index:
            self._stream(found)

    def end(self, index: int) -> None:
        self._open[index].ended = True
        while self._open:
            first = next(iter(self._open))
            found = self._open[first]
            self._stream(found)
            if not found.ended:
                return
            self._close(first, found)
            del self._open[first]

    def _stream(self, found: _Open) -> None:
        """What there is of a text, now."""
        block = found.block
        if not isinstance(block, Text | Thinking | Refused):
            return
        text = "".join(found.pieces)
        found.pieces.clear()
        if not found.begun:
            text = block.text + text
        if not text:
            return
        kind = Thinking if isinstance(block, Thinking) else Text
        if not found.begun and self._last is kind:
            # A reader goes on with the text before in the first part of a chunk: an empty one parts the two.
            self.parts.append(_text(kind, ""))
        found.begun = True
        found.said.append(text)
        self._last = kind
        self.parts.append(_text(kind, text))

    def _close(self, index: int, found: _Open) -> None:
        block = found.block
        if isinstance(block, Text | Thinking):
            if found.citations:
                self.cited.append((index, "".join(found.said), found.citations))
            state = found.opaque or block.opaque
            if state is not None:
                kind = Thinking if isinstance(block, Thinking) else Text
                part = _text(kind, "")
                self._pen.sign(part, state, block.at)
                if not found.begun and self._last is kind:
                    self.parts.append(_text(kind, ""))
                self.parts.append(part)
                self._last = None
            if block.own is not None:
                self._pen.losses.own(block.own, block.at, NAME)
            return
        if isinstance(block, ToolCall):
            arguments = block.arguments + "".join(found.pieces)
            block = replace(block, arguments=arguments, opaque=found.opaque or block.opaque)
        elif isinstance(block, Refused):
            self._pen.losses.approximated(block.at, "a refusal is plain text for Gemini")
            return
        written = self._pen.parts([block])
        if written:
            self._last = None
            self.parts += written


def _text(kind: type[Block], text: str) -> Json:
    return {"text": text, "thought": True} if kind is Thinking else {"text": text}


class _Open:
    __slots__ = ("begun", "block", "citations", "ended", "opaque", "pieces", "said")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.pieces: list[str] = []
        self.opaque: Opaque | None = None
        self.citations = list(block.citations) if isinstance(block, Text) else []
        self.said: list[str] = []
        self.begun = False
        self.ended = False
