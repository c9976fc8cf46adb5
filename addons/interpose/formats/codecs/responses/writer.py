"""A stream written: https://platform.openai.com/docs/api-reference/responses-streaming

OpenAI's own client is strict with it: the response has one id all through, an item the same id when it is added and
when it is done, and the last event brings the whole response (`output` tells what is between).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from interpose.formats.codecs.codec import Client, Json
from interpose.ir import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Losses,
    Own,
    Ping,
    Reply,
    Started,
    Told,
    Used,
)
from interpose.ir.assembly import overlay

from .errors import failed_code, write_error
from .names import NAME, is_ours
from .output import Lines, Output
from .replies import UNDERSTOOD, out_for, response_id, snapshot, whole

LAST = {"incomplete": "response.incomplete", "failed": "response.failed"}


class Writer:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._lines = Lines()
        self._output = Output(self._lines, out_for(client, "", losses))
        self._reply = Reply("")
        self._answer = Answer()
        self._id = ""
        self._begun = False
        self._over = False

    def write(self, events: Iterable[Event]) -> bytes:
        for event in events:
            if self._over:
                break
            HANDLERS[type(event)](self, event)
        return self._lines.taken()

    def finish(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        self._begin()
        self._output.close()
        self._reply.id = self._id
        body = whole(self._reply, self._answer, self._output.items(), self._client, self._losses)
        body["id"] = self._id
        self._lines.send({"type": LAST.get(str(body.get("status")), "response.completed"), "response": body})
        return self._lines.taken()

    def _start(self, event: Started) -> None:
        reply = self._reply
        reply.id, reply.model, reply.created, reply.own = event.id, event.model, event.created, event.own
        reply.usage = overlay(reply.usage, event.usage)
        self._losses.own(event.own, "", NAME, UNDERSTOOD)
        self._begin()

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._id = response_id(self._reply.id, is_ours(self._reply.own), self._client)
        body = self._snapshot("in_progress")
        self._lines.send({"type": "response.created", "response": body})
        self._lines.send({"type": "response.in_progress", "response": body})

    def _snapshot(self, status: str) -> Json:
        return snapshot(self._id, self._reply.created, self._client, status)

    def _block_start(self, event: BlockStart) -> None:
        if event.answer:
            self._losses.dropped(f"answers[{event.answer}]", "a response is one answer")
        else:
            self._begin()
            self._output.start(event)

    def _block_delta(self, event: BlockDelta) -> None:
        if not event.answer:
            self._output.delta(event)

    def _block_end(self, event: BlockEnd) -> None:
        if not event.answer:
            self._output.end(event)

    def _used(self, event: Used) -> None:
        self._reply.usage = overlay(self._reply.usage, event.usage)

    def _told(self, event: Told) -> None:
        told = Own(event.format, event.fields)
        self._losses.own(told, "", NAME, UNDERSTOOD)
        if self._reply.own is None:
            self._reply.own = told
        else:
            self._reply.own = Own(event.format, {**self._reply.own.fields, **event.fields})

    def _finished(self, event: Finished) -> None:
        if event.answer == 0:
            self._answer.stop, self._answer.own = event.stop, event.own

    def _ping(self, event: Ping) -> None:
        self._lines.comment()

    def _failed(self, event: Failed) -> None:
        """Behind what was told: the response has failed. With nothing told, an error: OpenAI's client raises at it."""
        self._over = True
        if self._begun:
            body = self._snapshot("failed")
            body["output"] = self._output.items()
            body["error"] = {"code": failed_code(event), "message": event.message}
            self._lines.send({"type": "response.failed", "response": body})
        else:
            error = write_error(event)
            flat = {key: error["error"][key] for key in ("code", "message", "param")}
            self._lines.send({"type": "error", **flat, **error})


HANDLERS: dict[type, Callable[[Writer, Any], None]] = {
    Started: Writer._start,
    BlockStart: Writer._block_start,
    BlockDelta: Writer._block_delta,
    BlockEnd: Writer._block_end,
    Finished: Writer._finished,
    Used: Writer._used,
    Told: Writer._told,
    Ping: Writer._ping,
    Failed: Writer._failed,
}
