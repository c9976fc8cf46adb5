"""Streams of streamGenerateContent read: SSE, or one JSON array without `alt=sse`.

Each chunk is a reply with the parts that are new. There is no terminator: the end is a finish reason of every candidate
(https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent), which more parts may follow while
Google's own tools are at work, so that it counts only once the stream is over. What the first part of a chunk goes on
with is the text before it; no text goes on behind a signature, for signed and unsigned text may not be joined
(https://ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, Malformed, dumps
from interpose.ir import (
    Answer,
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    Text,
    Thinking,
    Told,
    ToolCall,
    Used,
)
from interpose.wire.error import WireError
from interpose.wire.jsonarray import JsonArrayDecoder
from interpose.wire.sse import SseDecoder

from .errors import error_in
from .grounding import citations_in
from .partial import PartialArguments
from .parts import CALL_NAMES, PART_NAMES, Calls, read_part, unpacked
from .replies import blocked_in, created_in, hushed
from .spelling import NAME, leave, loads, own_of, unify
from .stops import stop_of, word_of
from .usage import is_silent, read_usage, rest_of

_CUT = "the stream was cut off before its finish reason"
_MOST_ANSWERS = 128


class Reader:
    """One stream."""

    __slots__ = ("_answers", "_array", "_blocked", "_events", "_failed", "_frames", "_id", "_model", "_told", "_usage")

    def __init__(self) -> None:
        self._frames: SseDecoder | JsonArrayDecoder | None = None
        self._array = False
        self._failed = False
        self._id: str | None = None
        self._model: str | None = None
        self._answers: dict[int, _Answer] = {}
        self._blocked: Answer | None = None
        self._usage: Json = {}
        self._told: Json = {}
        self._events: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        if self._failed:
            return []
        self._events = []
        if (frames := self._frames) is None:
            data = data.lstrip(b" \t\r\n") if not data.startswith(b"\xef") else data
            if not data:
                return []
            frames = self._open(data)
        try:
            if isinstance(frames, SseDecoder):
                for event in frames.feed(data):
                    self._frame(event.data)
            else:
                for element in frames.feed(data):
                    self._frame(element)
        except WireError as error:
            self._fail(Failed(str(error)))
        return self._events

    def _open(self, data: bytes) -> SseDecoder | JsonArrayDecoder:
        """An array of chunks, one chunk alone (a gateway's), else SSE."""
        if data[:1] in (b"[", b"{"):
            self._frames = array = JsonArrayDecoder()
            self._array = data[:1] == b"["
            if not self._array:
                array.feed(b"[")
            return array
        self._frames = sse = SseDecoder()
        return sse

    def close(self) -> list[Event]:
        if self._failed:
            return []
        self._events = []
        frames = self._frames
        try:
            if isinstance(frames, SseDecoder):
                for event in frames.finish():
                    self._frame(event.data)
            elif frames is not None and not self._array:
                for element in frames.feed(b"]"):
                    self._frame(element)
        except WireError as error:
            self._fail(Failed(str(error)))
        if self._over():
            return self._events
        if isinstance(frames, JsonArrayDecoder) and not frames.closed:
            self._fail(Failed("the stream was cut off within its array"))
        elif self._blocked is None and (not self._answers or any(a.stop is None for a in self._answers.values())):
            self._fail(Failed(_CUT))
        else:
            self._succeed()
        return self._events

    def _over(self) -> bool:
        return self._failed

    def _succeed(self) -> None:
        self._failed = True  # nothing follows
        events = self._events
        for index, answer in self._answers.items():
            answer.end(events)
            if answer.stop is not None:
                stop = stop_of(answer.stop, answer.called)
                silent = hushed(answer.fields, stop)
                events.append(Finished(stop, index, own_of(answer.fields, answer.marks, silent)))
        blocked = self._blocked
        if blocked is not None and blocked.stop is not None and not self._answers:
            events.append(Finished(blocked.stop, own=blocked.own))
        self._tell_usage()
        if self._told:
            events.append(Told(NAME, self._told))

    def _fail(self, failed: Failed) -> None:
        self._failed = True
        self._tell_usage()
        self._events.append(failed)

    def _tell_usage(self) -> None:
        if self._usage:
            usage = read_usage(self._usage)
            rest = rest_of(self._usage, usage, set())
            leave(self._told, "usageMetadata", {k: v for k, v in rest.items() if not is_silent(k, v)})
            if usage:
                self._events.append(Used(usage))

    def _frame(self, data: bytes) -> None:
        if self._failed:
            return
        if data == b"[DONE]":
            return  # Gemini has none; one that a gateway adds is no finish reason
        try:
            self._chunk(loads(data))
        except Malformed as error:
            self._fail(Failed(str(error)))
        except RecursionError:
            self._fail(Failed("a chunk of the stream is nested too deeply"))
        except ValueError:
            self._fail(Failed("a chunk of the stream is no JSON"))

    def _chunk(self, chunk: Any) -> None:
        if type(chunk) is not dict:
            if type(chunk) is list and chunk:
                self._fail(error_in(chunk))
                return
            raise Malformed("", "a chunk must be an object")
        if "error" in chunk:
            self._fail(error_in(chunk))
            return
        usage = chunk.get("usageMetadata")
        if type(usage) is dict:
            del chunk["usageMetadata"]
            self._usage.update(usage)
        identity, model = chunk.pop("responseId", None), chunk.pop("modelVersion", None)
        if self._id is None:
            self._id = identity if type(identity) is str else ""
            self._model = model if type(model) is str and model else None
            early = read_usage(self._usage)
            self._events.append(Started(self._id, self._model or "", created_in(chunk), early))
        chunk.pop("createTime", None)
        candidates = chunk.get("candidates")
        if type(candidates) is list:
            del chunk["candidates"]
            for place, candidate in enumerate(candidates):
                self._candidate(candidate, place)
        elif (answer := blocked_in(chunk)) is not None:
            self._blocked = answer
        if chunk:
            self._told.update(chunk)

    def _candidate(self, candidate: Any, place: int) -> None:
        at = f"candidates[{place}]"
        if type(candidate) is not dict:
            raise Malformed(at, "a candidate must be an object")
        index = candidate.pop("index", place)
        if type(index) is not int or not 0 <= index < _MOST_ANSWERS:
            raise Malformed(f"{at}.index", "an index must be a small number")
        answer = self._answers.get(index)
        if answer is None:
            answer = self._answers[index] = _Answer(index, self._id or "", self._model)
        content = candidate.pop("content", None)
        parts: list[Any] = []
        if type(content) is dict:
            found = content.get("parts")
            if type(found) is list:
                parts = found
                for number, part in enumerate(parts):
                    answer.part(part, number == 0, self._events)
        told = candidate.pop("finishReason", None)
        if (word := word_of(told)) is not None:
            answer.stop = word
            answer.marks = {f"reason#{told}"} if type(told) is int else set()
        elif parts:
            answer.stop = None
        if candidate:
            answer.cite(citations_in(candidate), self._events)
            answer.fields.update(candidate)


class _Answer:
    """One candidate: the block that is open, if one is."""

    __slots__ = (
        "_at",
        "_calls",
        "_count",
        "_index",
        "_model",
        "_open",
        "_partial",
        "_signed",
        "called",
        "fields",
        "marks",
        "stop",
    )

    def __init__(self, index: int, identity: str, model: str | None) -> None:
        self.stop: str | None = None
        self.called: list[Block] = []
        self.fields: Json = {}
        self.marks: set[str] = set()
        self._index = index
        self._calls = Calls(f"{identity}\n{index}")
        self._model = model
        self._at = f"candidates[{index}].content.parts"
        self._count = 0
        self._open: type[Text | Thinking] | None = None
        self._signed = False
        self._partial: PartialArguments | None = None

    def part(self, part: Any, first: bool, events: list[Event]) -> None:
        if type(part) is not dict:
            raise Malformed(self._at, "a part must be an object")
        if type(text := part.get("text")) is str:
            self._text(part, text, first, events)
            return
        if "function_call" in part or "functionCall" in part:
            unify(part, PART_NAMES, set())
            call = part["functionCall"]
            if type(call) is dict and self._piece(part, call, events):
                return
        self.end(events)
        self._whole(read_part(part, f"{self._at}[{self._count}]", self._calls, self._model), events)

    def _text(self, part: Json, text: str, first: bool, events: list[Event]) -> None:
        kind: type[Text | Thinking] = Text
        opaque: Opaque | None = None
        if len(part) > 1:
            if part.get("thought") is True:
                kind = Thinking
            signature = part.get("thoughtSignature")
            if type(signature) is str:
                opaque = unpacked(signature) or Opaque(NAME, "thought_signature", signature, model=self._model)
            known = 1 + ("thought" in part) + (opaque is not None)
            if len(part) != known:
                self.end(events)
                self._whole(read_part(part, f"{self._at}[{self._count}]", self._calls, self._model), events)
                return
        if self._open is kind and first and not self._signed:
            if text or opaque is not None:
                events.append(BlockDelta(self._count, text, opaque=opaque, answer=self._index))
        elif text or opaque is not None:
            self.end(events)
            at = f"{self._at}[{self._count}]"
            block = (
                Text(text, opaque=opaque, at=at) if kind is Text else Thinking(text, summary=True, opaque=opaque, at=at)
            )
            events.append(BlockStart(self._count, block, self._index))
            self._open = kind
        else:
            return
        self._signed = opaque is not None

    def _whole(self, block: Block, events: list[Event]) -> None:
        events.append(BlockStart(self._count, block, self._index))
        events.append(BlockEnd(self._count, self._index))
        self._count += 1
        if isinstance(block, ToolCall):
            self.called.append(block)

    def _piece(self, part: Json, call: Json, events: list[Event]) -> bool:
        """A function call in pieces: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling
        (streamFunctionCallArguments). Whether it is one.
        """
        unify(call, CALL_NAMES, set())
        if type(name := call.get("name")) is str:
            if "willContinue" not in call and "partialArgs" not in call:
                return False
            self.end(events)
            signature = part.get("thoughtSignature")
            opaque = None
            if type(signature) is str:
                opaque = unpacked(signature) or Opaque(NAME, "thought_signature", signature, model=self._model)
            id_ = call.get("id")
            id_ = id_ if type(id_) is str and id_ else self._calls.made(name, "")
            block = ToolCall(id_, name, "", opaque=opaque, at=f"{self._at}[{self._count}]")
            self._calls.called(block)
            self.called.append(block)
            events.append(BlockStart(self._count, block, self._index))
            self._partial = PartialArguments()
        elif self._partial is None:
            # Nothing that it could go on with: {} ends a call that has ended, a nameless one is none of ours to make.
            if call:
                raise Malformed(f"{self._at}.functionCall.name", "a function call must have a name")
            return True
        self._partial.add(call)
        if call.get("willContinue") is not True:
            self.end(events)
        return True

    def cite(self, citations: list[Citation], events: list[Event]) -> None:
        """What the text that has just been said rests on."""
        if self._open is Text:
            events += [BlockDelta(self._count, citation=one, answer=self._index) for one in citations]

    def end(self, events: list[Event]) -> None:
        """Ends the block that is open."""
        if self._partial is not None:
            events.append(BlockDelta(self._count, dumps(self._partial.arguments), answer=self._index))
            self._partial = None
        elif self._open is None:
            return
        events.append(BlockEnd(self._count, self._index))
        self._open = None
        self._count += 1
