"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses-streaming.

Usage comes with the terminal event, whether it completed, failed or stopped short.
"""

from __future__ import annotations

from .openai_chat import usage_of
from .reader import Json, Reader, child, error_message, first_size, objects, overlay, size

# The end of a response, also of one that failed.
TERMINAL = frozenset(
    (
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
        "response.done",
    )
)


# Items that begin empty: what they say comes in deltas.
EMPTY_AT_FIRST = ("message", "reasoning")


class ResponsesReader(Reader):
    """Complete with a terminal event; `[DONE]`, which some servers add, completes nothing by itself."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self._response(document)

    def event(self, event: Json, name: str) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = name
        self.begun = self.begun or _tells(kind, event)
        if kind.endswith(".delta"):
            # Audio is base64 and no text.
            if isinstance(delta := event.get("delta"), str) and not kind.endswith("audio.delta"):
                self.text_bytes += size(delta)
        elif kind in TERMINAL:
            self._response(child(event, "response"))
            self.complete = True
        elif kind == "error":
            self.fail(error_message(event))
        elif "response" in event:
            response = child(event, "response")
            self.name_model(response.get("model"))
            self.fail(error_message(response))
        elif "error" in event:
            self.fail(error_message(event))

    def terminator(self) -> None:
        """Open Responses wants a final `[DONE]` behind the terminal event; alone it would hide that one's loss."""

    def _response(self, response: Json) -> None:
        self.name_model(response.get("model"))
        self.billed(response.get("service_tier"))
        self.fail(error_message(response))
        if usage := child(response, "usage"):
            self.usage = overlay(self.usage, usage_of(self, usage))
        if not self.text_bytes:
            # A stream's deltas have been counted; a document, or a stream without deltas, has its output here.
            for item in objects(response.get("output")):
                self._item(item)

    def _item(self, item: Json) -> None:
        for part in (*objects(item.get("content")), *objects(item.get("summary"))):
            self.text_bytes += first_size(part, "text", "refusal", "transcript")
        self.text_bytes += first_size(item, "arguments", "input", "code")


def _tells(kind: str, event: Json) -> bool:
    """Whether an event is content, or shows that there is some: a delta, a finished item, a tool that is at work."""
    if kind.endswith(".delta"):
        return bool(event.get("delta"))
    if kind == "response.output_item.added":
        return child(event, "item").get("type") not in EMPTY_AT_FIRST
    return kind == "response.output_item.done"
