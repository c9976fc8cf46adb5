"""Anthropic Messages: https://docs.claude.com/en/docs/build-with-claude/streaming.

`input_tokens` excludes what was read from or written to the cache, so the whole input is the sum; the values of
`message_delta` are cumulative and replace those of `message_start`.
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Json, Reader, child, error_message, objects, says, size, total

COUNTERS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
CREATION = ("cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens")
INPUTS = frozenset(COUNTERS[:3])
EMPTY_AT_FIRST = ("text", "thinking")
# What a delta generates, by the kind of block; a signature is not generated text.
DELTA_TEXTS = ("text", "thinking", "partial_json", "content")


class AnthropicReader(Reader):
    """Complete with `message_stop`."""

    __slots__ = ("_counters", "_iterations", "_thinking")

    def __init__(self) -> None:
        super().__init__()
        self._counters: dict[str, int] = {}
        self._iterations: list[Json] = []
        self._thinking: int | None = None

    def document(self, document: Json) -> None:
        self._message(document)

    def event(self, event: Json, name: str) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            delta = child(event, "delta")
            self.begun = self.begun or says(delta, "type")
            for key in DELTA_TEXTS:
                if isinstance(text := delta.get(key), str):
                    self.text_bytes += size(text)
        elif kind == "message_start":
            self._message(child(event, "message"))
        elif kind == "message_delta":
            self._count(child(event, "usage"))
        elif kind == "message_stop":
            self.complete = True
        elif kind == "content_block_start":
            block = child(event, "content_block")
            # A block of text or thoughts begins empty; any other says something by being there.
            self.begun = self.begun or block.get("type") not in EMPTY_AT_FIRST
            self._block(block)
        elif kind == "error" or "error" in event:
            self.fail(error_message(event))

    def terminator(self) -> None:
        """Messages has no `[DONE]`; a gateway's does not stand for `message_stop`."""

    def settle(self) -> Usage:
        iterations = [self._read(iteration) for iteration in self._iterations]
        fresh, read, write, output = (self._sum(name, iterations) for name in COUNTERS)
        return Usage(
            input_tokens=total(fresh, read, write),
            cache_read_tokens=read,
            cache_write_tokens=write,
            output_tokens=output,
            reasoning_tokens=self._thinking,
        )

    def _message(self, message: Json) -> None:
        self.name_model(message.get("model"))
        self._count(child(message, "usage"))
        for block in objects(message.get("content")):
            self._block(block)

    def _count(self, usage: Json) -> None:
        if not usage:
            return
        for name, value in self._read(usage).items():
            # Gateways fill message_delta up with zeros; the input does not shrink while the output is written.
            if value or name not in INPUTS or name not in self._counters:
                self._counters[name] = value
        # https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration, …/web-search-tool
        self.billed(usage.get("service_tier"))
        if usage.get("speed") == "fast":
            # https://docs.claude.com/en/docs/build-with-claude/fast-mode
            self.terms["speed"] = "fast"
        self.part("cache_write_1h_tokens", usage, CREATION[1])
        self.part("web_searches", usage, "server_tool_use.web_search_requests")
        if iterations := objects(usage.get("iterations")):
            self._iterations = iterations
        thinking = self.pick(usage, "output_tokens_details.thinking_tokens")
        if thinking is not None:
            self._thinking = thinking

    def _sum(self, name: str, iterations: list[dict[str, int]]) -> int | None:
        """A counter over all iterations.

        Compaction and the advisor are left out of the totals on top: all that was billed is the sum over the iterations
        (https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage). Where one of them does
        not tell, the sum may lack something, and is less than what was told only by mistake.
        """
        top = self._counters.get(name)
        told = [counters[name] for counters in iterations if name in counters]
        if not told:
            return top
        return sum(told) if len(told) == len(iterations) else max(sum(told), top or 0)

    def _read(self, usage: Json) -> dict[str, int]:
        counters = {name: value for name in COUNTERS if (value := self.count(usage.get(name), name)) is not None}
        if "cache_creation_input_tokens" not in counters and isinstance(usage.get("cache_creation"), dict):
            created = total(*(self.pick(usage, path) for path in CREATION))
            if created is not None:
                counters["cache_creation_input_tokens"] = created
        return counters

    def _block(self, block: Json) -> None:
        """A whole block of a document, or what a block of a stream begins with."""
        kind = block.get("type")
        if kind == "text":
            self.text_bytes += size(block.get("text"))
        elif kind == "thinking":
            self.text_bytes += size(block.get("thinking"))
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            self.text_bytes += size(block.get("input"))
        elif kind == "compaction":
            self.text_bytes += size(block.get("content")) if isinstance(block.get("content"), str) else 0
