"""Streams of legacy completions: chunks with a piece of text each, until `[DONE]`.

https://platform.openai.com/docs/api-reference/completions/object: a chunk has the shape of a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from interpose.formats.codecs.chat.choices import merged
from interpose.formats.codecs.chat.counts import write_own_usage, write_usage
from interpose.formats.codecs.chat.envelope import DONE, PING, head_of
from interpose.formats.codecs.chat.errors import failed_of, write_error
from interpose.formats.codecs.codec import Client, Json, encoded
from interpose.ir import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Losses,
    Own,
    Ping,
    Started,
    Stop,
    Text,
    Told,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .replies import OBJECT, completion_id, completion_stop, completion_word, logprobs, spoken
from .requests import NAME

_KNOWN = frozenset(("index", "text", "finish_reason"))


class Choice:
    """One answer of a stream that is read."""

    __slots__ = ("_begun", "_fields", "_index", "_stop", "finished")

    def __init__(self, index: int) -> None:
        self._index = index
        self._begun = False
        self._fields: Json = {}
        self._stop: str | None = None
        self.finished = False

    def read(self, choice: Json, out: list[Event]) -> Failed | None:
        text = choice.get("text")
        if type(text) is str and text:
            if not self._begun:
                self._begun = True
                out.append(BlockStart(0, Text("", at=f"choices[{self._index}].text"), self._index))
            out.append(BlockDelta(0, text, answer=self._index))
        for key, value in choice.items():
            if key not in _KNOWN and value is not None:
                self._fields[key] = merged(self._fields.get(key), value, joined=False)
        reason = choice.get("finish_reason")
        if type(reason) is str and reason:
            if reason == "error":
                return failed_of(
                    choice if choice.get("error") else {"message": "the provider's answer ended in an error"}
                )
            self._stop = reason
            self.finished = True
        return None

    def end(self, out: list[Event]) -> None:
        if self._begun:
            out.append(BlockEnd(0, self._index))
        stop = Stop("end", None, NAME) if self._stop is None else completion_stop(self._stop, self._fields)
        out.append(Finished(stop, self._index, Own(NAME, self._fields, frozenset(("index",)))))


class Writer:
    """Events -> chunks of text; what is no text is told."""

    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._head = self._tail = b""
        self._asked = client.request.include_usage is True
        self._usage = Usage()
        self._own_usage: Told | None = None
        self._finished: dict[int, bool] = {}
        self._silent: set[tuple[int, int]] = set()
        self._failed = False

    def write(self, events: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if self._failed:
                break
            _WRITERS[type(event)](self, event, out)
        return b"".join(out)

    def finish(self) -> bytes:
        if self._failed:
            return b""
        out: list[bytes] = []
        if not self._head:
            self._start(Started(), out)
        for answer, finished in self._finished.items():
            if not finished:
                self._chunk(answer, "", "stop", {}, out)
        if self._asked:
            told = self._own_usage
            usage = write_usage(self._usage)
            if told is not None:
                usage = write_own_usage(self._usage, told.fields, told.marks)
            out.append(self._head + b'],"usage":' + encoded(usage) + b"}\n\n")
        out.append(DONE)
        return b"".join(out)

    def _start(self, event: Started, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)
        self._head = head_of(event, completion_id(event.id, self._client), NAME, OBJECT, self._client, self._losses)
        self._tail = b'],"usage":null}\n\n' if self._asked else b"]}\n\n"

    def _chunk(self, answer: int, text: str, reason: str | None, fields: Json, out: list[bytes]) -> None:
        self._finished[answer] = reason is not None
        choice = {"text": text, "index": answer, "logprobs": None, "finish_reason": reason, **fields}
        out.append(self._head + encoded(choice) + self._tail)

    def _begin(self, event: BlockStart, out: list[bytes]) -> None:
        said = spoken(event.block, self._losses)
        if said is None:
            self._silent.add((event.answer, event.index))
        elif said:
            self._chunk(event.answer, said, None, {}, out)
        self._finished.setdefault(event.answer, False)

    def _more(self, event: BlockDelta, out: list[bytes]) -> None:
        if (event.answer, event.index) in self._silent:
            return
        if event.citation is not None:
            self._losses.dropped("", "a completion has no citations")
        if event.text:
            self._chunk(event.answer, event.text, None, {}, out)

    def _end(self, event: BlockEnd, out: list[bytes]) -> None:
        self._silent.discard((event.answer, event.index))

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        at = f"choices[{event.answer}]"
        fields: Json = {}
        if event.own is not None and event.own.format == NAME:
            fields = event.own.fields
        elif (found := logprobs(event.own)) is not None:
            fields = {"logprobs": found}
        self._losses.own(event.own, at, NAME, frozenset(fields))
        self._chunk(event.answer, "", completion_word(event.stop, self._losses, at), fields, out)

    def _used(self, event: Used, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _told(self, event: Told, out: list[bytes]) -> None:
        if event.format == NAME and "usage" in event.marks:
            self._own_usage = event
        else:
            self._losses.own(Own(event.format, event.fields), "", NAME)

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        out.append(PING)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self._failed = True
        out.append(b"data: " + encoded(write_error(event)) + b"\n\n")


_WRITERS: dict[type, Callable[[Writer, Any, list[bytes]], None]] = {
    Started: Writer._start,
    BlockStart: Writer._begin,
    BlockDelta: Writer._more,
    BlockEnd: Writer._end,
    Finished: Writer._finish,
    Used: Writer._used,
    Told: Writer._told,
    Ping: Writer._ping,
    Failed: Writer._fail,
}
