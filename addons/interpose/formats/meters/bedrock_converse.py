"""Bedrock Converse: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html.

`inputTokens` excludes cache reads and writes, as Anthropic's does; each cache counter comes under two names that say
the same (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html).
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Json, Reader, child, error_message, objects, overlay, says, size, total

CACHE_READ = ("cacheReadInputTokens", "cacheReadInputTokenCount")
CACHE_WRITE = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")


def usage_of(reader: Reader, usage: Json) -> Usage:
    """Converse's TokenUsage, Nova's usage, or InvokeModel's invocation metrics."""
    fresh = reader.pick(usage, "inputTokens", "inputTokenCount")
    read = reader.pick(usage, *CACHE_READ)
    write = reader.pick(usage, *CACHE_WRITE)
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html
    for detail in objects(usage.get("cacheDetails")):
        if detail.get("ttl") == "1h":
            reader.part("cache_write_1h_tokens", detail, "inputTokens")
    return Usage(
        input_tokens=total(fresh, read, write),
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=reader.pick(usage, "outputTokens", "outputTokenCount"),
    )


class ConverseReader(Reader):
    """Complete with `metadata`, which follows `messageStop` and has the usage."""

    __slots__ = ("_stopped",)

    def __init__(self) -> None:
        super().__init__()
        self._stopped = False

    def document(self, document: Json) -> None:
        self.fail(error_message(document))
        if usage := child(document, "usage"):
            self.usage = overlay(self.usage, usage_of(self, usage))
        message = child(child(document, "output"), "message")
        for block in objects(message.get("content")):
            self._block(block)

    def event(self, event: Json, name: str) -> None:
        if name == "contentBlockDelta":
            delta = child(event, "delta")
            self.begun = self.begun or says(delta)
            self._block(delta)
        elif name == "contentBlockStart":
            self.begun = self.begun or says(child(event, "start"))
        elif name == "messageStop":
            self._stopped = True
        elif name == "metadata":
            if usage := child(event, "usage"):
                self.usage = overlay(self.usage, usage_of(self, usage))
            self.complete = self._stopped

    def _block(self, block: Json) -> None:
        """A block of a document or a delta of one."""
        if isinstance(text := block.get("text"), str):
            self.text_bytes += size(text)
        if "toolUse" in block:
            self.text_bytes += size(child(block, "toolUse").get("input"))
        if "reasoningContent" in block:
            reasoning = child(block, "reasoningContent")
            self.text_bytes += size(reasoning.get("text")) or size(child(reasoning, "reasoningText").get("text"))
