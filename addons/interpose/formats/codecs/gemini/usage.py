"""Tokens as Gemini counts them: https://ai.google.dev/api/generate-content#UsageMetadata

The prompt includes what was cached and excludes what tools added; the candidates exclude thoughts; the total is all.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Usage

TOOLS = "toolUsePromptTokenCount"


def read_usage(told: Json) -> Usage:
    """Leaves `told` as it is."""
    prompt, tools = _count(told, "promptTokenCount"), _count(told, TOOLS)
    candidates, thoughts = _count(told, "candidatesTokenCount"), _count(told, "thoughtsTokenCount")
    return Usage(
        input_tokens=_total(prompt, tools),
        cache_read_tokens=_count(told, "cachedContentTokenCount"),
        output_tokens=_total(candidates, thoughts),
        reasoning_tokens=thoughts,
    )


def write_usage(usage: Usage, tools: int = 0) -> Json:
    """`tools` is how much of the input was added by tools."""
    written: Json = {}
    prompt = output = 0
    if usage.input_tokens is not None:
        written["promptTokenCount"] = prompt = max(0, usage.input_tokens - tools)
    if usage.cache_read_tokens is not None:
        written["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.output_tokens is not None:
        output = usage.output_tokens
        written["candidatesTokenCount"] = max(0, output - (usage.reasoning_tokens or 0))
    if usage.reasoning_tokens is not None:
        written["thoughtsTokenCount"] = usage.reasoning_tokens
    if written:
        written["totalTokenCount"] = prompt + tools + output
    return written


def rest_of(told: Json, usage: Usage, marks: set[str]) -> Json:
    """What of `told` cannot be written from the usage; what would be written that was not told is marked."""
    written = write_usage(usage, _count(told, TOOLS) or 0)
    rest = {key: value for key, value in told.items() if type(value) is not int or value != written.get(key)}
    for key in written:
        if key not in told:
            marks.add(f"no:{key}")
    return rest


def is_silent(key: str, value: Any) -> bool:
    """Whether what is left over says no more than the usage does, or what goes without saying."""
    if key in (TOOLS, "totalTokenCount"):
        return True
    if key in _DEFAULTS:
        return value in _DEFAULTS[key]
    # Of text alone, a count by modality is the count itself.
    one = value[0] if type(value) is list and len(value) == 1 else None
    return key.endswith("TokensDetails") and type(one) is dict and one.get("modality") in ("TEXT", 1)


_DEFAULTS: dict[str, tuple[Any, ...]] = {"serviceTier": ("standard",), "trafficType": ("ON_DEMAND", 1)}


def told_usage(usage: Usage, silent: Json | None, marks: frozenset[str]) -> Json:
    """The usageMetadata, without what of it is left over and lies over it."""
    written = write_usage(usage, _count(silent or {}, f"usageMetadata.{TOOLS}") or 0)
    for key in [key for key in written if f"no:{key}" in marks]:
        del written[key]
    return written


def _count(told: Json, key: str) -> int | None:
    value = told.get(key)
    return value if type(value) is int and value >= 0 else None


def _total(one: int | None, other: int | None) -> int | None:
    return (one or 0) + (other or 0) if one is not None or other is not None else None
