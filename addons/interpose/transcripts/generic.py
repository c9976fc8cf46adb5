"""What no codec reads: embeddings, images, sound, moderations, lists, forms, and bodies that are broken.

Texts are shown as texts, pictures as pictures, everything else as JSON; what is no JSON as text or as the medium that
its content type says.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from interpose.formats.codecs.codec import parsed
from interpose.wire.error import WireError
from interpose.wire.eventstream import EventStreamDecoder
from interpose.wire.ndjson import NdjsonDecoder
from interpose.wire.sse import SseDecoder

from .blocks import foreign, media_in, medium
from .documents import compact, dumped, pretty, shortened
from .model import Block, Data, Raw, Text, Turn

# What people have written, at the top of the requests of all kinds of endpoints, in this order.
ASKING = (
    *("system_instruction", "systemInstruction", "instructions", "system", "preamble", "query", "prompt", "input"),
    *("inputs", "texts", "text", "inputText", "requests", "content", "contents", "message", "messages", "documents"),
    *("instances", "steps", "additional_messages"),
)
ANSWERING = ("text", "completion", "generation", "outputText", "response", "output_text")
# Where the text stands that an event adds, in streams that no codec reads: Cohere's first chat, Gemini's Interactions,
# and what makers of models send through InvokeModel.
PIECES = (
    ("text",),
    ("choices", 0, "delta", "content"),
    ("outputs", 0, "text"),
    ("delta",),
    ("delta", "text"),
    ("delta", "content", "text"),
    ("contentBlockDelta", "delta", "text"),
    ("outputText",),
    ("generation",),
    ("completion",),
)
LINES = frozenset(("application/x-ndjson", "application/ndjson", "application/stream+json", "application/jsonl"))
MOST_EVENTS = 5000
MOST_PARTS = 100
# What is no text is not shown as such.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_DISPOSITION = re.compile(r'[;\s](name|filename)="([^"]*)"', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)


def asked(document: Any) -> tuple[tuple[Turn, ...], tuple[tuple[str, str], ...]]:
    """A request's turns, and what else it says, as (name, JSON)."""
    if not isinstance(document, dict):
        return (Turn("input", (Data("", pretty(document)),), raw=document),), ()
    turns = tuple(
        Turn("input", blocks, name=key, at=key, raw=document[key])
        for key in ASKING
        if key in document and (blocks := written(document[key]))
    )
    beside = {key: value for key, value in document.items() if key not in ASKING}
    if media := media_in(beside):
        turns = (*turns, Turn("input", media))
    return turns, tuple((key, compact(value)) for key, value in beside.items())


def written(value: Any) -> tuple[Block, ...]:
    """Texts as texts, the rest as JSON."""
    members = value if isinstance(value, list) else [value]
    if members and all(isinstance(each, str) for each in members):
        return tuple(Text(dumped_text(each)) for each in members)
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return tuple(block for each in value for block in _member(each))
    return () if value in (None, [], {}) else foreign("", value)


def _member(value: dict[str, Any]) -> tuple[Block, ...]:
    """A part or a message: its text, where it has one and nothing else to say."""
    for key in ("text", "content"):
        if isinstance(value.get(key), str) and all(isinstance(each, str) for each in value.values()):
            return (Text(dumped_text(value[key])),)
    return foreign("", value)


def dumped_text(text: str) -> str:
    shown = shortened(text)
    return str(shown).encode("utf-8", "backslashreplace").decode()


def answered(document: Any) -> tuple[Block, ...]:
    """A reply that is JSON."""
    told = document if isinstance(document, dict) else {}
    texts = tuple(Text(dumped_text(told[key])) for key in ANSWERING if isinstance(told.get(key), str) and told[key])
    return (*texts, *foreign("", document))


def other(data: bytes, content_type: str) -> tuple[Block, ...]:
    """A body that is no JSON: a form, a stream of events, a medium, text."""
    if not data:
        return ()
    essence = content_type.partition(";")[0].strip().lower()
    if essence.startswith("multipart/"):
        return _form(data, content_type)
    if (events := _events(data, essence)) is not None:
        joined = "".join(text for _, event in events for text in _pieces(event))
        lines = "\n".join(
            f"{name} {dumped(shortened(event))}" if name else dumped(shortened(event)) for name, event in events
        )
        return (*((Text(dumped_text(joined)),) if joined else ()), Data("events", lines))
    kind = essence.partition("/")[0]
    if kind in ("audio", "image", "video") or essence == "application/pdf" or _BINARY.search(data[:4096]):
        return (medium(essence, base64.b64encode(data).decode()),)
    why = "not JSON" if "json" in essence else ""
    return (Raw(data.decode("utf-8", "replace"), why) if why else Text(data.decode("utf-8", "replace")),)


def _events(data: bytes, essence: str) -> list[tuple[str, Any]] | None:
    """The names and values of a stream's events; None for what is none."""
    try:
        if essence == "application/vnd.amazon.eventstream":
            frames = EventStreamDecoder().feed(data)
            return [_event(each.headers.get(":event-type"), each.payload) for each in frames[:MOST_EVENTS]]
        if essence == "text/event-stream" or data[:6] in (b"event:", b"data: "):
            sse = SseDecoder()
            events = [*sse.feed(data), *sse.finish()]
            return [_event((each.event or b"").decode("latin-1"), each.data) for each in events[:MOST_EVENTS]]
        if essence in LINES:
            ndjson = NdjsonDecoder()
            return [_event("", each) for each in [*ndjson.feed(data), *ndjson.finish()][:MOST_EVENTS]]
    except WireError:
        return None
    return None


def _event(name: object, data: bytes) -> tuple[str, Any]:
    try:
        value = parsed(data)
        if isinstance(value, dict) and isinstance(value.get("bytes"), str):  # InvokeModel's frames
            value = parsed(base64.b64decode(value["bytes"]))
    except (ValueError, RecursionError):
        value = data.decode("utf-8", "replace")
    return name if isinstance(name, str) else "", value


def _pieces(event: Any) -> Iterator[str]:
    """The text that an event of a stream adds."""
    for path in PIECES:
        value = event
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            else:
                value = value[0] if step == 0 and isinstance(value, list) and value else None
        if isinstance(value, str):
            yield value


def _form(data: bytes, content_type: str) -> tuple[Block, ...]:
    """The fields and files of a form: https://www.rfc-editor.org/rfc/rfc7578"""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return (Raw(data.decode("utf-8", "replace"), "a form without a boundary"),)
    parts = data.split(b"--" + (boundary[1] or boundary[2]).encode("latin-1", "replace"))
    found: list[Block] = []
    for part in parts[1 : MOST_PARTS + 1]:
        head, divided, body = part.partition(b"\r\n\r\n")
        if not divided:
            continue
        body = body.removesuffix(b"\r\n")
        lines = head.decode("utf-8", "replace")
        said = {name.lower(): value for name, value in _DISPOSITION.findall(lines)}
        kind = re.search(r"content-type:\s*([^\s;]+)", lines, re.IGNORECASE)
        if "filename" in said:
            found.append(medium(kind[1] if kind else "", base64.b64encode(body).decode(), said["filename"]))
        else:
            found.append(Data(said.get("name", ""), body.decode("utf-8", "replace")))
    return tuple(found)
