"""What else OpenAI's API answers: images, audio, moderations, assistants. Usage is read where a reply has it on top.

Streams: https://platform.openai.com/docs/api-reference/images-streaming, …/audio/speech-audio-delta-event and
…/assistants-streaming/events. Lists of objects are not summed up: they name what other calls have used.
Mistral's conversations end and fail alike: https://docs.mistral.ai/api/endpoint/beta/conversations
"""

from __future__ import annotations

from .openai_chat import usage_of
from .reader import Json, Reader, bare_message, child, error_message, first_size, objects, overlay, size

TERMINAL_SUFFIXES = (".completed", ".done", ".failed", ".incomplete", ".cancelled", ".expired", ".requires_action")


FAILED = frozenset(("thread.run.failed", "conversation.response.error"))


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
        for output in objects(document.get("outputs")):
            self._output(output)

    def event(self, event: Json, name: str) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = name
        self.fail(error_message(event))
        # A part of a picture is content as much as a delta is.
        self.begun = self.begun or kind.endswith((".delta", ".partial_image"))
        if kind in FAILED:
            # A run of the assistants has its error under a name of its own.
            last = child(event, "last_error")
            self.fail(bare_message(last) or bare_message(event) or f"the event {kind}")
        self.name_model(event.get("model"))
        if usage := child(event, "usage"):
            # Each step and the run name their own usage; the run comes last and holds the sum.
            self.usage = overlay(self.usage, usage_of(self, usage))
        if kind.endswith(".delta") and not kind.endswith("audio.delta"):
            self.text_bytes += first_size(event, "delta", "arguments")
            self._output(event)
        elif kind.endswith(TERMINAL_SUFFIXES) and not kind.startswith("thread."):
            self.complete = True

    def _output(self, output: Json) -> None:
        """An entry of a conversation's outputs, or a delta of one: a text, one chunk of content or a list of chunks."""
        content = output.get("content")
        if isinstance(content, str):
            self.text_bytes += size(content)
        else:
            for part in objects(content if isinstance(content, list) else [content]):
                self.text_bytes += first_size(part, "text")
