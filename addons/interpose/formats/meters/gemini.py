"""Gemini's generateContent, streamGenerateContent and embedContent, on Google AI and Vertex alike.

https://ai.google.dev/api/generate-content#UsageMetadata: the prompt includes cached tokens and excludes what tools
added; the candidates exclude thoughts. Every chunk of a stream has the counters so far.
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Choices, Json, Reader, child, error_message, objects, says, size, total

COUNTERS = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
)
# What is counted by its kind, and has a price of its own at some models: https://ai.google.dev/api/generate-content#Modality
# Documents are counted as pictures, and what tools added is counted apart. Live says `response` for `candidates`.
_SIDES = {
    "promptTokensDetails": "input_{}_tokens",
    "toolUsePromptTokensDetails": "input_{}_tokens",
    "cacheTokensDetails": "cache_{}_read_tokens",
    "candidatesTokensDetails": "output_{}_tokens",
    "responseTokensDetails": "output_{}_tokens",
}
_KINDS = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
# The zero value of an enum in proto3: not a reason.
UNSPECIFIED = frozenset(("", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"))


def kinds_of(reader: Reader, usage: Json) -> dict[str, int]:
    """What a usage counts by its kind, by genai-prices' names."""
    found: dict[str, int] = {}
    for name, unit in _SIDES.items():
        for row in objects(usage.get(name)):
            kind = row.get("modality")
            if isinstance(kind, str) and kind in _KINDS and (count := reader.pick(row, "tokenCount")):
                key = unit.format(_KINDS[kind])
                found[key] = found.get(key, 0) + count
    return found


class GeminiReader(Reader):
    """Complete with a finish reason of every candidate seen, or a blocked prompt; there is no terminator."""

    __slots__ = ("_candidates", "_counters")

    def __init__(self) -> None:
        super().__init__()
        self._counters: dict[str, int] = {}
        self._candidates = Choices()

    def document(self, document: Json) -> None:
        self._chunk(document)
        self.complete = True

    def event(self, event: Json, name: str) -> None:
        self._chunk(event)

    def terminator(self) -> None:
        """Gemini has none; one that a gateway adds is no finish reason."""

    def settle(self) -> Usage:
        prompt, tools, cached, candidates, thoughts = (self._counters.get(name) for name in COUNTERS)
        return Usage(
            input_tokens=total(prompt, tools),
            cache_read_tokens=cached,
            output_tokens=total(candidates, thoughts),
            reasoning_tokens=thoughts,
        )

    def _chunk(self, chunk: Json) -> None:
        if self.model is None:
            self.name_model(chunk.get("modelVersion"))
        for name, value in child(chunk, "usageMetadata").items():
            if name in COUNTERS and (counted := self.count(value, name)) is not None:
                self._counters[name] = counted
        self.units |= kinds_of(self, child(chunk, "usageMetadata"))
        self.billed(child(chunk, "usageMetadata").get("trafficType"))
        self.billed(child(chunk, "usageMetadata").get("serviceTier"))
        if "error" in chunk:
            self.fail(error_message(chunk))
        candidates = objects(chunk.get("candidates"))
        for candidate in candidates:
            parts = objects(child(candidate, "content").get("parts"))
            for part in parts:
                self.begun = self.begun or says(part, "thought")
                self._part(part)
            index = candidate.get("index", 0)
            if _reason(candidate.get("finishReason")):
                self._candidates.finish(index)
            else:
                # Code execution can go on behind a finish reason; chunks of nothing but metadata only follow it.
                self._candidates.go_on(index, again=bool(parts))
        if candidates:
            self.complete = self._candidates.done
        elif _reason(child(chunk, "promptFeedback").get("blockReason")):
            self.complete = True

    def _part(self, part: Json) -> None:
        if isinstance(text := part.get("text"), str):
            self.text_bytes += size(text)
        if "functionCall" in part:
            self.text_bytes += size(child(part, "functionCall").get("args"))
        if "executableCode" in part:
            self.text_bytes += size(child(part, "executableCode").get("code"))


def _reason(value: object) -> bool:
    """A reason by name, or by number where a client asked for enums as integers; zero is unspecified."""
    return value not in UNSPECIFIED if isinstance(value, str) else type(value) is int and value > 0
