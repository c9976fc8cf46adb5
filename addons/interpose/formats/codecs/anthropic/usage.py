"""Tokens as Anthropic counts them: the input without what was read from or written to the cache.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
"""

from __future__ import annotations

from typing import Any

from interpose.ir import Usage

from .names import Json

FRESH, READ, WRITE, OUTPUT = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)
INPUTS = (FRESH, READ, WRITE)
DETAILS, THINKING = "output_tokens_details", "thinking_tokens"


def take_counters(node: Json) -> dict[str, int]:
    """The counters that are told, taken out; what is left over says the rest (tiers, iterations, server tools)."""
    found: dict[str, int] = {}
    for name in (*INPUTS, OUTPUT):
        value = node.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found[name] = value
            del node[name]
    details = node.get(DETAILS)
    if isinstance(details, dict):
        thinking = details.get(THINKING)
        if isinstance(thinking, int) and not isinstance(thinking, bool) and thinking >= 0:
            found[THINKING] = thinking
            del details[THINKING]
            if not details:
                del node[DETAILS]
    return found


def usage_of(counters: dict[str, int]) -> Usage:
    fresh, read, write = (counters.get(name) for name in INPUTS)
    told = [count for count in (fresh, read, write) if count is not None]
    return Usage(sum(told) if told else None, read, write, counters.get(OUTPUT), counters.get(THINKING))


def write_usage(usage: Usage, rest: Any = None) -> Json:
    """The input less the cache, never below 0; `rest` is laid over it. Clients count on the two that are required."""
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    fresh = max(0, (usage.input_tokens or 0) - (read or 0) - (write or 0))
    node: Json = {FRESH: fresh}
    if write is not None:
        node[WRITE] = write
    if read is not None:
        node[READ] = read
    node[OUTPUT] = usage.output_tokens or 0
    if usage.reasoning_tokens is not None:
        node[DETAILS] = {THINKING: usage.reasoning_tokens}
    if isinstance(rest, dict):
        for name, value in rest.items():
            if name == DETAILS and isinstance(value, dict) and isinstance(node.get(name), dict):
                node[name].update(value)
            else:
                node[name] = value
    return node
