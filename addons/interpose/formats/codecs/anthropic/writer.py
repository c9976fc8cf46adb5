"""A stream for a client of Anthropic's: https://platform.claude.com/docs/en/build-with-claude/streaming

Blocks are told one behind the other, with indexes that leave no gap (the SDK keeps them in a list): a block that begins
while another is open waits for its turn. Everything else is written as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Client
from interpose.formats.codecs.ids import make
from interpose.formats.codecs.ordering import InOrder
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
    Told,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .names import FORMAT, Json, silent
from .replies import MESSAGE_ID, write_stop
from .telling import BlockTeller
from .usage import write_usage

METRICS = "amazon-bedrock-invocationMetrics"
# What message_delta tells beside the stop reason in `delta`; all else that is told late stands beside it.
IN_DELTA = frozenset(("stop_details", "container"))


class MessagesWriter:
    def __init__(
        self,
        client: Client,
        losses: Losses,
        frame: Callable[[Json], bytes],
        failure: Callable[[Failed], bytes],
    ) -> None:
        self._client = client
        self._losses = losses
        self._frame = frame
        self._failure = failure
        self._out: list[bytes] = []
        self._started = False
        self._over = False
        self._blocks = InOrder(BlockTeller(client, losses, self._send))
        self._stop: Stop | None = None
        self._usage = Usage()
        self._rest: Any = None
        self._told: Json = {}

    def write(self, events: Iterable[Event]) -> bytes:
        for event in events:
            if self._over:
                break
            HANDLERS[type(event)](self, event)
        return self._flush()

    def finish(self) -> bytes:
        if self._over:
            return b""
        self._start()
        self._blocks.finish()
        delta = write_stop(self._stop, self._losses)
        event: Json = {"type": "message_delta", "delta": delta}
        stop: Json = {"type": "message_stop"}
        for name, value in self._told.items():
            (delta if name in IN_DELTA else stop if name == METRICS else event)[name] = value
        event["usage"] = write_usage(self._usage, self._rest)
        self._send(event)
        self._send(stop)
        self._over = True
        return self._flush()

    def _flush(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _send(self, event: Json) -> None:
        self._out.append(self._frame(event))

    def _start(self, event: Started | None = None) -> None:
        """What is not told yet is 0 here, and told in message_delta, whose values replace these."""
        if self._started:
            return
        self._started = True
        event = event or Started()
        self._usage = overlay(self._usage, event.usage)
        message: Json = {
            "id": event.id or make(self._client.id, MESSAGE_ID),
            "type": "message",
            "role": "assistant",
            "model": self._client.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if event.own is not None:
            self._losses.own(event.own, "", FORMAT)
            if event.own.format == FORMAT:
                self._rest = silent(event.own, "usage")
                message |= {**event.own.fields, **(event.own.silent or {})}
        message["usage"] = write_usage(self._usage, self._rest)
        self._send({"type": "message_start", "message": message})

    def _block_start(self, event: BlockStart) -> None:
        self._start()
        if event.answer:
            self._losses.dropped(f"answers[{event.answer}]", "Claude gives one answer to a request")
        else:
            self._blocks.begin(event)

    def _block_delta(self, event: BlockDelta) -> None:
        if not event.answer:
            self._blocks.delta(event)

    def _block_end(self, event: BlockEnd) -> None:
        if not event.answer:
            self._blocks.end(event)

    # About the whole

    def _finished(self, event: Finished) -> None:
        if event.answer:
            return
        self._stop = event.stop
        if event.own is not None:
            self._losses.own(event.own, "", FORMAT)
            if event.own.format == FORMAT:
                self._told |= event.own.fields

    def _used(self, event: Used) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _tell(self, event: Told) -> None:
        if event.format != FORMAT:
            self._losses.own(Own(event.format, event.fields), "", FORMAT)
            return
        for name, value in {**event.fields, **(event.silent or {})}.items():
            if name == "usage":
                self._rest = value
            elif name.startswith("event:") and isinstance(value, dict) and isinstance(value.get("type"), str):
                self._send(value)
            else:
                self._told[name] = value

    def _ping(self, event: Ping) -> None:
        self._send({"type": "ping"})

    def _failed(self, event: Failed) -> None:
        self._out.append(self._failure(event))
        self._over = True


HANDLERS: Mapping[type, Callable[[MessagesWriter, Any], None]] = {
    Started: MessagesWriter._start,
    BlockStart: MessagesWriter._block_start,
    BlockDelta: MessagesWriter._block_delta,
    BlockEnd: MessagesWriter._block_end,
    Finished: MessagesWriter._finished,
    Used: MessagesWriter._used,
    Told: MessagesWriter._tell,
    Ping: MessagesWriter._ping,
    Failed: MessagesWriter._failed,
}
