"""Cohere: chat v2 and v1, generate, embed, rerank (https://docs.cohere.com/reference/chat-stream).

`tokens` counts what the model saw and wrote, `billed_units` what is billed; the first is taken where both are told.
Both count what pictures took apart from the text.
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Json, Reader, bare_message, child, error_message, objects, overlay, size, total

# v1's ERROR, ERROR_TOXIC and ERROR_LIMIT, v2's ERROR and TIMEOUT.
FAILED = ("ERROR", "TIMEOUT")


class CohereReader(Reader):
    """Complete with v2's `message-end`, v1's `stream-end` or `is_finished`; `[DONE]` alone is no end."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self.name_model(document.get("model"))
        self.fail(error_message(document))
        self._usage(child(document, "usage"))
        self._usage(child(document, "meta"))
        self._reason(document)
        self.text_bytes += size(document.get("text"))
        self._message(child(document, "message"))
        for call in objects(document.get("tool_calls")):
            self.text_bytes += size(call.get("parameters"))
        for generation in objects(document.get("generations")):
            self.text_bytes += size(generation.get("text"))
            self._reason(generation)

    def event(self, event: Json, name: str) -> None:
        kind = event.get("type") or event.get("event_type")
        delta = child(event, "delta")
        if "error" in event:
            self.fail(error_message(event))
        if kind == "message-end":
            self._usage(child(delta, "usage"))
            self._reason(delta)
            self.complete = True
        elif kind == "stream-end" or event.get("is_finished") is True:
            response = child(event, "response")
            self._usage(child(response, "meta"))
            self._reason(event)
            self._reason(response)
            self.complete = True
        elif delta:
            message = child(delta, "message")
            # `message-start` names the role and holds empty lists; a call of a tool begins with its name.
            self.begun = self.begun or (kind != "message-start" and bool(message.get("tool_calls")))
            self._message(message)
        else:
            self.begun = self.begun or bool(event.get("tool_calls") or event.get("tool_call_delta"))
            self.text_bytes += size(event.get("text"))
            self.text_bytes += size(child(event, "tool_call_delta").get("parameters"))

    def terminator(self) -> None:
        """Without `message-end` it would hide a loss."""

    def _reason(self, source: Json) -> None:
        """An error where the finish reason is one: a generation that failed is none that ended."""
        self.fail(error_message(source))
        reason = source.get("finish_reason")
        if isinstance(reason, str) and reason.startswith(FAILED):
            self.fail(bare_message(source) or f"the finish reason is {reason}")

    def _usage(self, usage: Json) -> None:
        if not usage:
            return
        tokens, billed = child(usage, "tokens"), child(usage, "billed_units")
        counted = billed if self.pick(tokens, "input_tokens") is None else tokens
        fresh = total(self.pick(counted, "input_tokens"), self.pick(counted, "image_tokens"))
        output = self.pick(tokens, "output_tokens")
        read = Usage(
            input_tokens=fresh,
            cache_read_tokens=self.pick(usage, "cached_tokens"),
            output_tokens=self.pick(billed, "output_tokens") if output is None else output,
            reasoning_tokens=self.pick(tokens, "reasoning_tokens"),
        )
        self.usage = overlay(self.usage, read)
        # What is paid for is less than what a prompt of theirs makes of the input: https://docs.cohere.com/docs/how-does-cohere-pricing-work
        for unit in ("input_tokens", "output_tokens"):
            self.part(unit, billed, unit)

    def _message(self, message: Json) -> None:
        """A v2 message or a delta of one, whose `content` and `tool_calls` are single objects."""
        content = message.get("content")
        for part in objects(content if isinstance(content, list) else [content]):
            self.text_bytes += size(part.get("text")) + size(part.get("thinking"))
        self.text_bytes += size(message.get("tool_plan"))
        calls = message.get("tool_calls")
        for call in objects(calls if isinstance(calls, list) else [calls]):
            self.text_bytes += size(child(call, "function").get("arguments"))
