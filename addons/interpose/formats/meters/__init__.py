"""Reading what a reply used, for accounting: a meter for every wire format.

A meter is fed the decoded bytes of a reply and gives an `interpose.ir.Reading`. It never raises and never changes
anything. `reader` and the formats' modules read parsed JSON, `framing` turns bytes into it.
"""

from __future__ import annotations

from collections.abc import Iterable

from interpose.call import Header
from interpose.ir import Usage

from .anthropic import AnthropicReader
from .bedrock_converse import ConverseReader
from .bedrock_invoke import InvokeReader
from .cohere import CohereReader
from .framing import Framing, Meter, NoMeter, SniffingMeter, Wire
from .gemini import GeminiReader
from .gemini_interactions import InteractionsReader
from .ollama import OllamaReader
from .openai_chat import ChatReader, EmbeddingsReader
from .openai_other import OtherReader
from .openai_responses import ResponsesReader
from .reader import Reader, total

__all__ = ["WIRES", "Framing", "Meter", "meter", "meter_for", "stream_kind", "usage_from_headers"]

NONE = "none"
WIRES: dict[str, Wire] = {
    "openai-chat": Wire(ChatReader),
    "openai-responses": Wire(ResponsesReader),
    "openai-completions": Wire(ChatReader),
    "openai-embeddings": Wire(EmbeddingsReader),
    "openai-other": Wire(OtherReader, opaque=True),
    "anthropic": Wire(AnthropicReader),
    "gemini": Wire(GeminiReader, array=True),
    "gemini-interactions": Wire(InteractionsReader),
    "bedrock-converse": Wire(ConverseReader, framing="eventstream"),
    "bedrock-invoke": Wire(InvokeReader, framing="eventstream"),
    "cohere": Wire(CohereReader, framing="ndjson"),
    "mistral": Wire(ChatReader),
    "ollama": Wire(OllamaReader, framing="ndjson"),
}

_KINDS: dict[str, Framing] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/stream+json": "ndjson",  # Cohere's v1
    "application/vnd.amazon.eventstream": "eventstream",
}


def stream_kind(content_type: str | None) -> Framing | None:
    """Which kind of stream a Content-Type header's value names; None if none."""
    return _KINDS.get(_essence(content_type))


def meter(wire: str, *, stream: bool) -> Meter:
    """The meter for a wire format, when it is known whether the reply streams. Raises ValueError on an unknown wire.

    `stream` is a hint: a JSON error that answers a streaming request is read as what it is.
    """
    if wire == NONE:
        return NoMeter()
    known = _wire(wire)
    return SniffingMeter(known, known.framing if stream else None)


def meter_for(wire: str, content_type: str | None) -> Meter:
    """The meter for a wire format and the value of the reply's Content-Type. Raises ValueError on an unknown wire."""
    if wire == NONE:
        return NoMeter()
    known = _wire(wire)
    essence = _essence(content_type)
    hint = _KINDS.get(essence)
    if known.opaque and essence and hint is None and "json" not in essence:
        return NoMeter()
    return SniffingMeter(known, hint)


def usage_from_headers(headers: Iterable[Header]) -> Usage:
    """Bedrock's counts in reply headers, for the model families whose bodies tell none.

    https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html. Input excludes cache reads and writes.
    Values that are no counts are not told.
    """
    told = {name.lower(): value for name, value in headers if name[:15].lower() == b"x-amzn-bedrock-"}
    if not told:
        return Usage()

    def count(name: bytes) -> int | None:
        value = told.get(b"x-amzn-bedrock-" + name + b"-token-count", b"")
        return Reader().count(int(value), "header") if value.isdigit() and len(value) < 20 else None

    read, write = count(b"cache-read-input"), count(b"cache-write-input")
    return Usage(
        input_tokens=total(count(b"input"), read, write),
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=count(b"output"),
    )


def _wire(name: str) -> Wire:
    if name not in WIRES:
        raise ValueError(f"{name!r} is no wire format; known are {', '.join((*WIRES, NONE))}")
    return WIRES[name]


def _essence(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
