"""What else OpenAI's API answers: images, audio, moderations, assistants. Usage is read where a reply has it on top.

Streams: https://platform.openai.com/docs/api-reference/images-streaming, …/audio/speech-audio-delta-event and
…/assistants-streaming/events. Lists of objects are not summed up: they name what other calls have used.
"""

from __future__ import annotations

from .openai_chat import usage_of
from .reader import Json, Reader, child, error_message, overlay, size

TERMINAL_SUFFIXES = (".completed", ".done", ".failed", ".incomplete", ".cancelled", ".expired", ".requires_action")


class OtherReader(Reader):
    """Complete with `[DONE]` or an event whose type says so."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self.name_model(document.get("model"))
        usage = child(document, "usage")
        # Rerank and duration-billed transcripts have a usage without tokens; Voyage counts only a total.
        read = usage_of(self, usage)
        if not read and "total_tokens" in usage:
            read = overlay(read, usage_of(self, {"prompt_tokens": usage["total_tokens"]}))
        self.usage = overlay(self.usage, read)
        self.text_bytes += size(document.get("text"))

    def event(self, event: Json, name: str) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = name
        self.fail(error_message(event))
        self.name_model(event.get("model"))
        if usage := child(event, "usage"):
            # Each step and the run name their own usage; the run comes last and holds the sum.
            self.usage = overlay(self.usage, usage_of(self, usage))
        if kind.endswith(".delta") and not kind.endswith("audio.delta"):
            self.text_bytes += size(event.get("delta")) if isinstance(event.get("delta"), str) else 0
        elif kind.endswith(TERMINAL_SUFFIXES) and not kind.startswith("thread."):
            self.complete = True
