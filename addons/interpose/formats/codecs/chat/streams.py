"""Chat's stream of chunks -> events.

https://platform.openai.com/docs/api-reference/chat-streaming. Of one answer at most one of thinking, text and refusal
is open at a time; calls stay open until the answer has ended, for servers interleave them. The end is `[DONE]`, or a
finish reason of every answer before the bytes end: many a compatible server never sends `[DONE]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from interpose.formats.codecs.codec import Json, parsed
from interpose.formats.codecs.leftovers import INTEGER, STRING, take
from interpose.ir import Event, Failed, Own, Ping, Started, Told, Used
from interpose.wire.error import WireError
from interpose.wire.sse import SseDecoder, SseEvent

from .choices import Choice
from .counts import read_usage
from .errors import failed_of
from .facts import NAME, take_silent

DONE = b"[DONE]"
TRUNCATED = "the provider's stream broke off before its end"


class ChoiceReader(Protocol):
    """One answer of a stream. `finished` says whether its finish reason has come."""

    finished: bool

    def read(self, choice: Json, out: list[Event]) -> Failed | None:
        """One choice of one chunk. A failure that it tells ends the stream."""

    def end(self, out: list[Event]) -> None:
        """The stream has ended well: what is open is closed, and why the answer ended is told."""


class Reader:
    """`choice` reads what is said of one answer; `name` is the codec's whose words they are."""

    __slots__ = ("_choice", "_choices", "_decoder", "_ended", "_name", "_rest", "_started", "_usage")

    def __init__(self, choice: Callable[[int], ChoiceReader] = Choice, name: str = NAME) -> None:
        self._choice = choice
        self._choices: dict[int, ChoiceReader] = {}
        self._name = name
        self._decoder = SseDecoder()
        self._ended = False
        self._rest: Json = {}
        self._started = False
        self._usage: Json | None = None

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        # Only where a comment may begin must bytes be read line by line, to keep pings in their place.
        if b"\n:" in data or b"\r:" in data or data[:1] == b":":
            for line in data.splitlines(keepends=True):
                self._feed(line, out)
        else:
            self._feed(data, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        try:
            events = [] if self._ended else self._decoder.finish()
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return out
        for event in events:
            self._event(event, out)
        if self._ended:
            return out
        if self._choices and all(choice.finished for choice in self._choices.values()):
            self._finish(out)
        else:
            self._fail(Failed(TRUNCATED, code="truncated"), out)
        return out

    def _feed(self, data: bytes, out: list[Event]) -> None:
        decoder = self._decoder
        comments = decoder.comments
        try:
            events = decoder.feed(data)
        except WireError as error:
            self._fail(Failed(str(error)), out)
            return
        if decoder.comments > comments and self._started and not self._ended:
            out += [Ping() for _ in range(decoder.comments - comments)]
        for event in events:
            if not self._ended:
                self._event(event, out)

    def _event(self, event: SseEvent, out: list[Event]) -> None:
        data = event.data
        if len(data) < 32 and data.strip() == DONE:
            if self._choices:
                self._finish(out)
            else:
                self._fail(Failed("the provider's stream held no answer", code="empty"), out)
            return
        chunk = parse(data)
        if type(chunk) is not dict:
            if data.strip():
                self._fail(Failed(f"an event of the provider's stream could not be read: {data[:80]!r}"), out)
            return
        failed = self._failure(chunk, event.event)
        if failed is not None:
            self._fail(failed, out)
        else:
            self._chunk(chunk, out)

    def _chunk(self, chunk: Json, out: list[Event]) -> None:
        choices = chunk.pop("choices", None)
        usage = chunk.pop("usage", None)
        # Padding against the reading of lengths: https://platform.openai.com/docs/api-reference/chat/create
        chunk.pop("obfuscation", None)
        if not self._started:
            self._start(chunk, out)
        else:
            chunk.pop("id", None)
            chunk.pop("object", None)
            chunk.pop("created", None)
            chunk.pop("model", None)
            if chunk and chunk != self._rest:
                self._tell(chunk, out)
        if type(choices) is list:
            for choice in choices:
                if type(choice) is dict:
                    failed = self._read(choice, out)
                    if failed is not None:
                        self._fail(failed, out)
                        return
        if type(usage) is dict:
            self._use(usage, out)

    def _start(self, chunk: Json, out: list[Event]) -> None:
        self._started = True
        id_ = take(chunk, "id", STRING) or ""
        model = take(chunk, "model", STRING) or ""
        created = take(chunk, "created", INTEGER)
        chunk.pop("object", None)
        self._groq(chunk, out)
        self._rest = chunk
        fields = dict(chunk)
        own = Own(self._name, fields, frozenset(("id", "model", "object")), take_silent(fields))
        out.append(Started(id_, model, created, own=own))

    def _tell(self, chunk: Json, out: list[Event]) -> None:
        """What is new of the fields that a provider repeats in every chunk."""
        self._groq(chunk, out)
        rest = self._rest
        fresh = {key: value for key, value in chunk.items() if value is not None and rest.get(key) != value}
        if fresh:
            self._rest = {**rest, **fresh}
            out.append(Told(self._name, fresh))

    def _groq(self, chunk: Json, out: list[Event]) -> None:
        """Groq's streams tell usage here: https://console.groq.com/docs/api-reference#chat-create"""
        groq = chunk.get("x_groq")
        if isinstance(groq, dict) and isinstance(usage := groq.get("usage"), dict):
            del groq["usage"]
            if not groq:
                del chunk["x_groq"]
            self._use(usage, out)

    def _use(self, usage: Json, out: list[Event]) -> None:
        """Usage is cumulative; what it holds beside counters is told at the end, as it was last."""
        self._usage = usage
        told = Used(read_usage(_copy(usage), {}, []))
        if told.usage:
            out.append(told)

    def _read(self, choice: Json, out: list[Event]) -> Failed | None:
        index = choice.get("index")
        if type(index) is not int:
            index = 0
        found = self._choices.get(index)
        if found is None:
            found = self._choices[index] = self._choice(index)
        return found.read(choice, out)

    def _finish(self, out: list[Event]) -> None:
        self._ended = True
        for index in sorted(self._choices):
            self._choices[index].end(out)
        if self._usage is not None:
            out.append(self._told_usage(self._usage))

    def _told_usage(self, usage: Json) -> Told:
        rest: Json = {}
        marks = ["usage"]
        read_usage(usage, rest, marks)
        return Told(self._name, rest, frozenset(marks))

    def _failure(self, chunk: Json, event: bytes) -> Failed | None:
        """What an event says that is an error and no chunk."""
        if "x_groq" in chunk and isinstance(groq := chunk["x_groq"], dict) and groq.get("error"):
            return failed_of({"error": groq["error"]})
        if chunk.get("error") or chunk.get("object") == "error" or event == b"error":
            return failed_of(chunk)
        return None

    def _fail(self, failed: Failed, out: list[Event]) -> None:
        if not self._ended:
            self._ended = True
            out.append(failed)


def parse(data: bytes) -> Any:
    """JSON; None if it is none. Python's own parser takes what orjson does not: half of a surrogate pair, which a
    server has cut in two.
    """
    try:
        return parsed(data)
    except ValueError:
        try:
            return json.loads(data, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _copy(usage: Json) -> Json:
    """`read_usage` consumes what it is given, two levels deep."""
    return {key: dict(value) if isinstance(value, dict) else value for key, value in usage.items()}
