"""Bedrock InvokeModel: every model family has its own body, streams carry them in base64.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html. The family is told by the body's keys, for
an inference profile's name hides the model. The last chunk has `amazon-bedrock-invocationMetrics`, whatever the family.
"""

from __future__ import annotations

import binascii

from interpose.ir import Usage

from .anthropic import AnthropicReader
from .bedrock_converse import ConverseReader, usage_of
from .cohere import CohereReader
from .openai_chat import ChatReader
from .reader import Json, Reader, child, error_message, objects, overlay, parse, size

METRICS = "amazon-bedrock-invocationMetrics"
NOVA_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
# Counters on top of a body: Llama's, Titan's text and embeddings.
INPUT = ("prompt_token_count", "inputTextTokenCount")
OUTPUT = ("generation_token_count", "totalOutputTextTokenCount", "tokenCount")
# Generated text on top: Llama, Titan, older Claude, Cohere.
TEXTS = ("generation", "outputText", "completion", "text")
STOPS = ("stop_reason", "completionReason", "finish_reason")


class PlainReader(Reader):
    """The families with counters on top of a flat body, or with none: Llama, Titan, Mistral, AI21's Jurassic."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self.event(document, "")

    def event(self, event: Json, name: str) -> None:
        read = Usage(input_tokens=self.pick(event, *INPUT), output_tokens=self.pick(event, *OUTPUT))
        for key in TEXTS:
            if isinstance(text := event.get(key), str):
                self.text_bytes += size(text)
        self.complete = self.complete or any(event.get(key) for key in STOPS)
        # Titan's documents: one count in each result.
        for result in objects(event.get("results")):
            self.text_bytes += size(result.get("outputText"))
            count = self.pick(result, "tokenCount")
            if count is not None:
                read = overlay(read, Usage(output_tokens=(read.output_tokens or 0) + count))
        # Mistral's, AI21's and Cohere's lists of alternatives.
        for output in (*objects(event.get("outputs")), *objects(event.get("generations"))):
            self.text_bytes += size(output.get("text"))
            self.complete = self.complete or any(output.get(key) for key in STOPS)
        jurassic = [child(completion, "data") for completion in objects(event.get("completions"))]
        if jurassic:
            # AI21's Jurassic lists the tokens instead of counting them.
            self.text_bytes += sum(size(data.get("text")) for data in jurassic)
            read = overlay(read, Usage(_length(child(event, "prompt")), output_tokens=_lengths(jurassic)))
        self.usage = overlay(self.usage, read)


class InvokeReader(Reader):
    """Finds the family with the first body or chunk that tells it, and leaves the reading to that family's reader.

    Complete with the invocation metrics, or with the explicit end of Anthropic's and Nova's streams; the other families
    have a mere finish reason, and the metrics are still to come.
    """

    __slots__ = ("_family", "_metrics")

    def __init__(self) -> None:
        super().__init__()
        self._family: Reader | None = None
        self._metrics = Usage()

    def document(self, document: Json) -> None:
        family = _family(document)
        self._family = family
        family.document(document)
        self._adopt(family)

    def event(self, event: Json, name: str) -> None:
        if isinstance(encoded := event.get("bytes"), str):
            inner = self._decode(encoded)
            if inner is None:
                return
            event = inner
        self.fail(error_message(event))
        if metrics := child(event, METRICS):
            self._metrics = overlay(self._metrics, usage_of(self, metrics))
        if len(event) > (METRICS in event):
            if self._family is None:
                self._family = _family(event)
            nova = next((kind for kind in NOVA_EVENTS if kind in event), None)
            if nova is None:
                self._family.event(event, name)
            else:
                self._family.event(child(event, nova), nova)
            self._adopt(self._family)
        if METRICS in event:
            self.complete = True

    def settle(self) -> Usage:
        """The family's own counters, which know caches better; the metrics where the family tells nothing.

        Cohere's own also count its prompt template, which Bedrock does not bill: there the metrics stand first.
        """
        if self._family is None:
            return self._metrics
        own = self._family.settle()
        if self._family.flaw is not None:
            self.note(self._family.flaw)
        return overlay(own, self._metrics) if isinstance(self._family, CohereReader) else overlay(self._metrics, own)

    def _adopt(self, family: Reader) -> None:
        self.model = family.model
        self.text_bytes = family.text_bytes
        self.begun = family.begun
        self.complete = self.complete or (family.complete and isinstance(family, AnthropicReader | ConverseReader))
        self.fail(family.error)

    def _decode(self, encoded: str) -> Json | None:
        try:
            document = parse(binascii.a2b_base64(encoded))
        except (ValueError, binascii.Error) as error:
            self.note(f"a chunk's bytes are not JSON in base64: {error}")
            return None
        return document if isinstance(document, dict) else None


def _family(body: Json) -> Reader:
    """The reader for a body's family."""
    kind = body.get("type")
    if kind == "message" or (isinstance(kind, str) and kind.startswith(("message_", "content_block"))):
        return AnthropicReader()
    if "choices" in body:
        return ChatReader()
    if "output" in body or any(name in body for name in NOVA_EVENTS):
        return ConverseReader()
    if "event_type" in body or "meta" in body or ("generation_id" in body and "text" in body):
        return CohereReader()
    usage = child(body, "usage")
    if "input_tokens" in usage or "content" in body:
        return AnthropicReader()
    return PlainReader()


def _length(parent: Json) -> int | None:
    tokens = parent.get("tokens")
    return len(tokens) if isinstance(tokens, list) else None


def _lengths(parents: list[Json]) -> int | None:
    lengths = [length for length in map(_length, parents) if length is not None]
    return sum(lengths) if lengths else None
