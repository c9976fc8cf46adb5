"""Tokens as Bedrock counts them: the input without what was read from or written to the cache.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html. Each cache counter comes under two
names that say the same; the second is left over, as totals are.
"""

from __future__ import annotations

from typing import Any

from interpose.ir import Usage

from .names import Json, take_integer

FRESH, READ, WRITE, OUTPUT, TOTAL = (
    "inputTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens",
    "outputTokens",
    "totalTokens",
)


def take_usage(body: Json) -> tuple[Usage, Json]:
    """The counters, and under `usage` what is left over."""
    node = body.get("usage")
    if not isinstance(node, dict):
        return Usage(), {}
    del body["usage"]
    fresh, read, write, output = (_take(node, key) for key in (FRESH, READ, WRITE, OUTPUT))
    told = [count for count in (fresh, read, write) if count is not None]
    return Usage(sum(told) if fresh is not None else None, read, write, output), {"usage": node}


def _take(node: Json, key: str) -> int | None:
    value = node.get(key)
    return take_integer(node, key) if isinstance(value, int) and value >= 0 else None


def write_usage(usage: Usage, rest: Any = None) -> Json:
    """Never below 0. Clients count on the three that are required; to a usage of ours (`rest`) nothing is added."""
    read, write, ours = usage.cache_read_tokens, usage.cache_write_tokens, isinstance(rest, dict)
    node: Json = {}
    if usage.input_tokens is not None or not ours:
        node[FRESH] = max(0, (usage.input_tokens or 0) - (read or 0) - (write or 0))
    if usage.output_tokens is not None or not ours:
        node[OUTPUT] = usage.output_tokens or 0
    if not ours:
        node[TOTAL] = node[FRESH] + (read or 0) + (write or 0) + node[OUTPUT]
    if read is not None:
        node[READ] = read
    if write is not None:
        node[WRITE] = write
    return node | rest if ours else node
