"""Ollama's own API: https://github.com/ollama/ollama/blob/main/docs/api.md. Its last line, `done: true`, counts."""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Json, Reader, child, error_message, objects, overlay, says, size


class OllamaReader(Reader):
    """Complete with `done: true`; a document is one such line, or an embedding."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self._line(document)
        self.complete = document.get("done") is not False

    def event(self, event: Json, name: str) -> None:
        self._line(event)
        if event.get("done") is True or event.get("status") == "success":  # the latter: pull, push and create
            self.complete = True

    def _line(self, line: Json) -> None:
        if self.model is None:
            self.name_model(line.get("model"))
        if "error" in line:
            self.fail(error_message(line))
        message = line.get("message")
        if isinstance(message, dict):
            self.text_bytes += size(message.get("content")) + size(message.get("thinking"))
            self.begun = self.begun or says(message, "role")
            for call in objects(message.get("tool_calls")):
                self.text_bytes += size(child(call, "function").get("arguments"))
        if isinstance(response := line.get("response"), str):
            self.text_bytes += size(response)
        if isinstance(thinking := line.get("thinking"), str):
            self.text_bytes += size(thinking)
        if "prompt_eval_count" in line or "eval_count" in line:
            read = Usage(input_tokens=self.pick(line, "prompt_eval_count"), output_tokens=self.pick(line, "eval_count"))
            self.usage = overlay(self.usage, read)
