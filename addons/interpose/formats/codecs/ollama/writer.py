"""Events -> Ollama's stream of lines.

https://docs.ollama.com/api/streaming. Text and thinking are written as they come, a call whole: Ollama's clients take
no pieces of one. The last line tells why it is done and what was used. There are no pings: clients parse every line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from interpose.formats.codecs.codec import Client, Json, encoded
from interpose.formats.codecs.opened import Opened
from interpose.ir import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Own,
    Ping,
    Refused,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    ToolResult,
    Usage,
    Used,
)
from interpose.ir.assembly import overlay

from .errors import write_error
from .facts import GENERATE, NAME, lay_over, marks_of
from .parts import write_call
from .replies import done_word, is_generate, rfc3339, shown_image, tell_said, tell_unwritable, write_usage

# Ends of lines to many clients, Ollama's own for Python among them, which JSON may hold as they are.
BREAKS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))


def line_json(value: Any) -> bytes:
    """JSON that is one line to everybody."""
    data = encoded(value)
    if not data.isascii():
        for raw, escaped in BREAKS:
            data = data.replace(raw, escaped)
    return data


class Writer:
    def __init__(self, client: Client, losses: Losses) -> None:
        self._client = client
        self._losses = losses
        self._generates = is_generate(client)
        self._native = False
        self._head = b""
        self._open: dict[int, Opened] = {}
        self._stop: Stop | None = None
        self._finished_own: Own | None = None
        self._usage = Usage()
        self._own = Own(NAME)
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
            self._started(Started(), out)
        last: Json = {"done": True}
        if not self._native or (self._stop is not None and self._stop.raw is not None):
            last["done_reason"] = done_word(self._stop, self._losses)
        last |= write_usage(self._usage, told=self._native)
        lay_over(last, self._own)
        message: Json = {"message": {"role": "assistant", "content": ""}}
        lay_over(message, self._finished_own, "message")
        said = {"response": ""} if self._generates else message
        out.append(self._head + b"," + line_json({**said, **last})[1:] + b"\n")
        return b"".join(out)

    # Lines

    def _started(self, event: Started, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)
        envelope: Json = {"model": self._client.model, "created_at": rfc3339(event.created, self._client)}
        if event.own is not None:
            self._native = event.own.format == NAME
            self._losses.own(event.own, "", NAME)
            if self._native:
                self._generates = self._generates or GENERATE in marks_of(event.own)
                self._keep(event.own.fields, event.own.silent)
        self._head = line_json(envelope)[:-1]

    def _line(self, content: str, more: Json | None = None) -> bytes:
        said = line_json(content)
        rest = b"" if more is None else b"," + line_json(more)[1:-1]
        if self._generates:
            return self._head + b',"response":' + said + rest + b',"done":false}\n'
        return self._head + b',"message":{"role":"assistant","content":' + said + rest + b'},"done":false}\n'

    def _keep(self, fields: Json, silent: Json | None) -> None:
        own = self._own
        # Each line says when it was written; ours say one time.
        kept = {key: value for key, value in (silent or {}).items() if key != "created_at"}
        self._own = Own(NAME, {**own.fields, **fields}, own.marks, {**(own.silent or {}), **kept})

    # Blocks

    def _start(self, event: BlockStart, out: list[bytes]) -> None:
        if event.answer:
            self._losses.dropped(f"choices[{event.answer}]", "Ollama gives one answer")
            return
        block = event.block
        opened = self._open[event.index] = Opened(block)
        match block:
            case Text(text) | Thinking(text) | Refused(text):
                tell_said(block, self._losses)
                self._said(opened, text, out)
            case ToolCall(arguments=arguments):
                opened.pieces.append(arguments)
            case Media():
                image = shown_image(block, self._losses)
                if image is not None and self._generates:
                    self._losses.dropped("message", "what goes on with a prompt has no place for images")
                elif image is not None:
                    out.append(self._line("", {"images": [image]}))
            case Foreign() | ToolResult():
                tell_unwritable(block, self._losses)

    def _said(self, opened: Opened, text: str, out: list[bytes]) -> None:
        if text:
            thinks = isinstance(opened.block, Thinking)
            out.append(self._line("", {"thinking": text}) if thinks else self._line(text))

    def _more(self, event: BlockDelta, out: list[bytes]) -> None:
        opened = None if event.answer else self._open.get(event.index)
        if opened is None:
            return
        if event.citation is not None:
            self._losses.dropped(opened.block.at, "Ollama has no citations")
        if event.opaque is not None:
            opened.opaque = event.opaque
        if isinstance(opened.block, ToolCall):
            opened.pieces.append(event.text)
        else:
            self._said(opened, event.text, out)

    def _close(self, event: BlockEnd, out: list[bytes]) -> None:
        opened = None if event.answer else self._open.pop(event.index, None)
        if opened is None:
            return
        if isinstance(block := opened.block, ToolCall):
            call = write_call(opened.whole(block, event), self._losses, native=self._native)
            out.append(self._line("", {"tool_calls": [call]}))
        else:
            opened.tell_bound(self._losses, NAME)

    # Ends

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        """Held back until usage is known, which the last line tells."""
        if event.answer:
            return
        self._stop = event.stop
        self._finished_own = event.own
        self._losses.own(event.own, "message", NAME)

    def _used(self, event: Used, out: list[bytes]) -> None:
        self._usage = overlay(self._usage, event.usage)

    def _told(self, event: Told, out: list[bytes]) -> None:
        if event.format == NAME:
            self._keep(event.fields, event.silent)
        else:
            self._losses.own(Own(event.format, event.fields), "", NAME)

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        pass

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self._failed = True
        out.append(line_json(write_error(event)) + b"\n")


_WRITERS: dict[type, Callable[[Writer, Any, list[bytes]], None]] = {
    Started: Writer._started,
    BlockStart: Writer._start,
    BlockDelta: Writer._more,
    BlockEnd: Writer._close,
    Finished: Writer._finished,
    Used: Writer._used,
    Told: Writer._told,
    Ping: Writer._ping,
    Failed: Writer._fail,
}
