"""What every format's reader shares: where it collects what it read, and safe ways into untrusted JSON.

A `Reader` is given parsed documents or stream events and never bytes; `framing` turns bytes into these. Whatever a
provider sends, nothing here raises: a value of the wrong type is not there, and a counter of one is a flaw.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from interpose.ir import Reading, Usage

Json = dict[str, Any]

# No honest reply counts more, and beyond it JSON numbers lose their units (https://www.rfc-editor.org/rfc/rfc8259#section-6).
COUNTER_LIMIT = 2**53
ERROR_LENGTH = 2000
MODEL_LENGTH = 500
# What orjson refuses is tried by a parser that is slower and blocks for longer, hence the bound on its input.
LENIENT_LIMIT = 4 * 1024 * 1024
# Far beyond any `n` that a provider takes.
MOST_CHOICES = 1024
# How providers call what they charge otherwise for, and how genai-prices does. Any other word is the usual price.
# https://platform.openai.com/docs/guides/flex-processing, …/priority-processing;
# https://docs.claude.com/en/api/service-tiers, …/docs/build-with-claude/batch-processing;
# https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo, …/priority-paygo
TERMS: dict[str, dict[str, str]] = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "on_demand_flex": {"service_tier": "flex"},
    "on_demand_priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}
_NOTHING: Json = {}


class Reader:
    """Collects one reply. A format's reader defines `document` and `event`; `complete` is set by its own end, `begun`
    by content that is no text (a call of a tool, a picture): text is counted anyway.
    """

    __slots__ = ("begun", "complete", "error", "flaw", "model", "terms", "text_bytes", "units", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.model: str | None = None
        self.begun = False
        self.complete = False
        self.error: str | None = None
        self.text_bytes = 0
        self.flaw: str | None = None
        self.units: dict[str, int] = {}
        self.terms: dict[str, str] = {}

    def document(self, document: Json) -> None:
        """A reply that is one JSON object."""
        raise NotImplementedError

    def event(self, event: Json, name: str) -> None:
        """One event of a stream; `name` is what the framing calls it, "" if nothing."""
        raise NotImplementedError

    def terminator(self) -> None:
        """The stream's `[DONE]`."""
        self.complete = True

    def settle(self) -> Usage:
        """The usage as it stands."""
        return self.usage

    def reading(self) -> Reading:
        usage = self.settle()  # first: it may find a flaw
        return Reading(
            usage=usage,
            model=_encodable(self.model),
            complete=self.complete,
            error=_encodable(self.error),
            text_bytes=self.text_bytes,
            flaw=_encodable(self.flaw),
            units=self.units,
            terms=tuple(self.terms.items()),
        )

    def note(self, flaw: str) -> None:
        """Keeps the first flaw."""
        if self.flaw is None:
            self.flaw = flaw

    def name_model(self, value: object) -> None:
        """Keeps the first model named; Azure's first chunk names the empty one."""
        if self.model is None and isinstance(value, str) and value:
            self.model = value[:MODEL_LENGTH]

    def fail(self, message: str | None) -> None:
        """Keeps the first error."""
        if self.error is None and message:
            self.error = message[:ERROR_LENGTH]

    def count(self, value: object, name: str) -> int | None:
        """A counter: a whole number from zero up. None where it is not told; any other value is a flaw and not told.

        Cohere's older API writes counters as `5.0`, hence whole floats count.
        """
        if value is None:
            return None
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and 0 <= value < COUNTER_LIMIT:
            return value
        self.note(f"the counter {name} is no count: {str(value)[:40]}")
        return None

    def part(self, unit: str, source: Json, *paths: str) -> None:
        """Keeps a part of the usage that may have a price of its own, if it is told and there is any."""
        if found := self.pick(source, *paths):
            self.units[unit] = found

    def billed(self, tier: object) -> None:
        """Keeps what a reply says of how the call was served, where that may have a price of its own; the last word
        holds: a stream begins with what was asked for.
        """
        if isinstance(tier, str):
            for name in ("service_tier", "processing"):
                self.terms.pop(name, None)
            self.terms |= TERMS.get(tier.lower(), {})

    def pick(self, source: Json, *paths: str) -> int | None:
        """The first counter that is told among dotted paths: synonyms, which must never be added up."""
        for path in paths:
            value: Any = source
            for key in path.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if (found := self.count(value, path)) is not None:
                return found
        return None


def says(value: Json, *silent: str) -> bool:
    """Whether an object tells anything under a key that is not among `silent`; nulls, zeros and "" are nothing."""
    return any(told for key, told in value.items() if key not in silent)


def child(parent: Json, key: str) -> Json:
    """The object under `key`; an empty one where there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else _NOTHING


def objects(value: object) -> list[Json]:
    """The objects of a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def size(value: object) -> int:
    """UTF-8 bytes of a text; of any other non-empty container, those of its JSON; zero for the rest."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict | list) and value:
        try:
            return len(orjson.dumps(value))
        except TypeError:  # a lone surrogate, or nested beyond what the serialiser takes
            return _size_leniently(value)
    return 0


def _size_leniently(value: object) -> int:
    try:
        return size(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except (ValueError, RecursionError):
        return 0


def _encodable(text: str | None) -> str | None:
    """A text that UTF-8 can hold: a lone surrogate, which JSON's escapes can carry, becomes "?"."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def parse(data: bytes) -> Any:
    """A JSON document, read as leniently as providers write. Raises ValueError for what is none.

    NaN, infinities, lone surrogates (a text cut between the halves of an emoji) and broken UTF-8 are all sent, though
    RFC 8259 forbids or warns of them; none of these makes the counters beside them wrong.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if len(data) > LENIENT_LIMIT:
            raise
        try:
            return json.loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise error from None


class Choices:
    """Which of a reply's alternatives have finished, by index: `done` once none that was seen is open."""

    __slots__ = ("_finished", "_lost", "_open", "done")

    def __init__(self) -> None:
        self.done = False
        self._finished: set[int] = set()
        self._open: set[int] = set()
        self._lost = False

    def finish(self, index: object) -> None:
        """That alternative has given its reason; `index` as the provider wrote it."""
        at = index if isinstance(index, int) else 0
        if self._fits(at):
            self._finished.add(at)
            self._open.discard(at)
            self.done = not self._open and not self._lost

    def go_on(self, index: object, *, again: bool = False) -> None:
        """That alternative goes on; one that has finished is open again only if `again`."""
        at = index if isinstance(index, int) else 0
        if (again or at not in self._finished) and at not in self._open and self._fits(at):
            self._open.add(at)
        self.done = not self._open and not self._lost

    def _fits(self, index: int) -> bool:
        """Whether there is room; an alternative that is not kept can never be known to have finished."""
        known = index in self._finished or index in self._open
        if not known and len(self._finished) + len(self._open) >= MOST_CHOICES:
            self._lost, self.done = True, False
            return False
        return True


def first_size(parent: Json, *keys: str) -> int:
    """The size of the first text among synonyms, so that a text told under two names counts once."""
    for key in keys:
        value = parent.get(key)
        if isinstance(value, str) and value:
            return size(value)
    return 0


def total(*parts: int | None) -> int | None:
    """The sum of what is told; None if nothing is."""
    told = [part for part in parts if part is not None]
    return sum(told) if told else None


def overlay(old: Usage, new: Usage) -> Usage:
    """Later values replace earlier ones; they are cumulative and never add up."""
    return Usage(
        input_tokens=old.input_tokens if new.input_tokens is None else new.input_tokens,
        cache_read_tokens=old.cache_read_tokens if new.cache_read_tokens is None else new.cache_read_tokens,
        cache_write_tokens=old.cache_write_tokens if new.cache_write_tokens is None else new.cache_write_tokens,
        output_tokens=old.output_tokens if new.output_tokens is None else new.output_tokens,
        reasoning_tokens=old.reasoning_tokens if new.reasoning_tokens is None else new.reasoning_tokens,
    )


def error_message(document: Json) -> str | None:
    """The message of an error object, in any provider's shape; None if the document is no error.

    `{"error": "…"}` (Ollama), `{"error": {"message"}}` (OpenAI, Anthropic, Gemini), `{"type": "error", "message"}`
    (Responses' flat event), `{"object": "error", "message"}` (Mistral, vLLM).
    """
    error = document.get("error")
    if isinstance(error, str):
        return error or None
    if isinstance(error, dict):
        for key in ("message", "error", "type", "status", "code"):
            value = error.get(key)
            if value is not None and not isinstance(value, dict | list) and value != "":
                return str(value)
        return "an error without a message"
    if document.get("type") == "error" or document.get("object") == "error":
        return bare_message(document) or "an error without a message"
    return None


def bare_message(document: Json) -> str | None:
    """The message of a document that says nothing else: AWS' and Cohere's `message`, FastAPI's `detail`."""
    for key in ("message", "Message", "detail"):
        value = document.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value:
            first = value[0]
            message = first.get("msg") if isinstance(first, dict) else first
            return message if isinstance(message, str) else "an error without a message"
    return None
