"""A stream for a client of Converse's: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html

Blocks are told one behind the other, with indexes that leave no gap: a block that begins while another is open waits
for its turn. Everything else is written as it comes. What one block is, `telling` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Client, encoded
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
from interpose.wire.eventstream import encode_headers, framed

from .errors import write_failure
from .names import FORMAT, Json, merge
from .replies import NO_METRICS, write_stop
from .telling import BlockTeller
from .usage import write_usage

# What messageStop tells; all else that is told late stands in metadata.
IN_STOP = frozenset(("additionalModelResponseFields",))


def _head(kind: str) -> bytes:
    return encode_headers({":event-type": kind, ":content-type": "application/json", ":message-type": "event"})


KINDS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
HEADS: Mapping[str, bytes] = {kind: _head(kind) for kind in KINDS}


class ConverseWriter:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._losses = losses
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
        self._start(Started())
        self._blocks.finish()
        stop: Json = {"stopReason": write_stop(self._stop, self._losses)}
        metadata: Json = {"usage": write_usage(self._usage, self._rest), "metrics": NO_METRICS}
        for name, value in self._told.items():
            (stop if name in IN_STOP else metadata)[name] = value
        self._send("messageStop", stop)
        self._send("metadata", metadata)
        self._over = True
        return self._flush()

    def _flush(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _send(self, kind: str, node: Json) -> None:
        self._out.append(framed(HEADS.get(kind) or _head(kind), encoded(node)))

    def _start(self, event: Started) -> None:
        if self._started:
            return
        self._started = True
        self._send("messageStart", {"role": "assistant"})
        self._usage = overlay(self._usage, event.usage)
        self._keep(event.own)

    def _block_start(self, event: BlockStart) -> None:
        self._start(Started())
        if event.answer:
            self._losses.dropped(f"answers[{event.answer}]", "Bedrock gives one answer to a request")
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
        if not event.answer:
            self._stop = event.stop
            self._keep(event.own)

    def _used(self, event: Used) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _tell(self, event: Told) -> None:
        self._keep(Own(event.format, event.fields, event.marks, event.silent))

    def _keep(self, own: Own | None) -> None:
        if own is None:
            return
        self._losses.own(own, "", FORMAT)
        if own.format != FORMAT:
            return
        for name, value in {**own.fields, **(own.silent or {})}.items():
            if name == "usage":
                self._rest = value
            elif name.startswith("event:"):
                self._send(name.removeprefix("event:"), value)
            else:
                merge(self._told, {name: value})

    def _ping(self, event: Ping) -> None:
        """There is none in an event stream of Bedrock's."""

    def _failed(self, event: Failed) -> None:
        self._out.append(write_failure(event))
        self._over = True


HANDLERS: Mapping[type, Callable[[ConverseWriter, Any], None]] = {
    Started: ConverseWriter._start,
    BlockStart: ConverseWriter._block_start,
    BlockDelta: ConverseWriter._block_delta,
    BlockEnd: ConverseWriter._block_end,
    Finished: ConverseWriter._finished,
    Used: ConverseWriter._used,
    Told: ConverseWriter._tell,
    Ping: ConverseWriter._ping,
    Failed: ConverseWriter._failed,
}
