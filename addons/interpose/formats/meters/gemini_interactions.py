"""Gemini's Interactions and Decisions: https://ai.google.dev/gemini-api/docs/interactions.

The input excludes what tools added, the output excludes thoughts, and the total is the sum of the four. Usage comes
with the last event; a step's metadata may have it so far.
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Json, Reader, child, error_message, objects, overlay, says, size, total

FAILED = frozenset(("failed", "budget_exceeded"))
CALLS = "_call"  # function_call, code_execution_call, …


def usage_of(reader: Reader, usage: Json) -> Usage:
    thoughts = reader.pick(usage, "total_thought_tokens")
    return Usage(
        input_tokens=total(reader.pick(usage, "total_input_tokens"), reader.pick(usage, "total_tool_use_tokens")),
        cache_read_tokens=reader.pick(usage, "total_cached_tokens"),
        output_tokens=total(reader.pick(usage, "total_output_tokens"), thoughts),
        reasoning_tokens=thoughts,
    )


class InteractionsReader(Reader):
    """Complete with `interaction.completed`, whatever the interaction's status is then."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self._interaction(document)

    def event(self, event: Json, name: str) -> None:
        kind = event.get("event_type")
        if not isinstance(kind, str):
            kind = name
        if kind == "step.delta":
            self.begun = self.begun or says(child(event, "delta"), "type")
            self._part(child(event, "delta"))
            self._usage(child(child(event, "metadata"), "total_usage"))
        elif kind == "step.start":
            step = child(event, "step")
            self.begun = self.begun or str(step.get("type", "")).endswith(CALLS)
            self._part(step)
        elif kind == "interaction.completed":
            self._interaction(child(event, "interaction"))
            self.complete = True
        elif kind == "interaction.created":
            self.name_model(child(event, "interaction").get("model"))
        elif kind == "interaction.status_update":
            self._status(event)
            self._usage(child(event, "usage"))
        elif kind == "error" or "error" in event:
            self.fail(error_message(event) or "an error event")

    def terminator(self) -> None:
        """`[DONE]` follows `interaction.completed`; alone it would hide that one's loss."""

    def _interaction(self, interaction: Json) -> None:
        self.name_model(interaction.get("model"))
        self.fail(error_message(interaction))
        self._status(interaction)
        self._usage(child(interaction, "usage"))
        if not self.text_bytes:
            # A stream's deltas have been counted; a document, or a stream without deltas, has its steps here.
            for step in objects(interaction.get("steps")):
                self._part(step)

    def _status(self, source: Json) -> None:
        status = source.get("status")
        if isinstance(status, str) and status in FAILED:
            told = next((error_message({"error": error}) for error in objects(source.get("errors"))), None)
            self.fail(told or f"the interaction's status is {status}")

    def _usage(self, usage: Json) -> None:
        if usage:
            self.usage = overlay(self.usage, usage_of(self, usage))

    def _part(self, part: Json) -> None:
        """A step, or a delta of one: text, a summary of thoughts, the arguments of a call. The input is not counted."""
        kind = part.get("type")
        if not isinstance(kind, str) or kind == "user_input":
            return
        if kind == "text":
            self.text_bytes += size(part.get("text"))
        elif kind == "arguments_delta" or kind.endswith(CALLS):
            self.text_bytes += size(part.get("arguments"))
        elif kind in ("model_output", "thought", "thought_summary"):
            content = part.get("content")
            for item in (*objects(content if isinstance(content, list) else [content]), *objects(part.get("summary"))):
                self.text_bytes += size(item.get("text"))
