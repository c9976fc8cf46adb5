"""Cohere's usage <-> the neutral one.

https://docs.cohere.com/v2/reference/chat#response.body.usage: `tokens` counts what the model saw and wrote,
`billed_units` what is billed, which says nothing to other formats. Input tokens include those that were cached, and
not those of images.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Usage

from .facts import is_count

_COUNTED = ("input_tokens", "output_tokens", "reasoning_tokens")


def read_usage(usage: Json) -> tuple[Usage, Json]:
    """Usage, and what is left of Cohere's object when it is read."""
    tokens, billed = usage.get("tokens"), usage.get("billed_units")
    if not isinstance(tokens, dict):
        # Older servers tell what is billed alone.
        told = billed if isinstance(billed, dict) else {}
        return Usage(_whole(told.get("input_tokens")), output_tokens=_whole(told.get("output_tokens"))), usage
    counts = {key: tokens.pop(key) for key in _COUNTED if is_count(tokens.get(key))}
    cached = usage.pop("cached_tokens") if is_count(usage.get("cached_tokens")) else None
    fresh, images = counts.get("input_tokens"), tokens.get("image_tokens")
    if fresh is None:
        fresh = _whole(tokens.get("input_tokens"))
    if fresh is not None and isinstance(images, int) and is_count(images):
        fresh += images
    output = counts.get("output_tokens")
    if output is None:
        output = _whole(tokens.get("output_tokens"))
    return Usage(fresh, cached, None, output, counts.get("reasoning_tokens")), usage


def _whole(value: Any) -> int | None:
    """A count, which older servers write as 5.0."""
    if type(value) is float and value.is_integer() and 0 <= value < 1 << 53:
        return int(value)
    return int(value) if is_count(value) else None


def write_own_usage(usage: Usage, rest: Json) -> Json:
    """Cohere's object again, of what was left of it."""
    tokens = rest.get("tokens")
    if not isinstance(tokens, dict):
        return rest
    images = tokens.get("image_tokens")
    written = {
        "input_tokens": _without(usage.input_tokens, images),
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    told: Json = {**{key: value for key, value in written.items() if value is not None}, **tokens}
    whole: Json = {**rest, "tokens": told}
    if usage.cache_read_tokens is not None:
        whole.setdefault("cached_tokens", usage.cache_read_tokens)
    return whole


def _without(whole: int | None, images: Any) -> int | None:
    return whole - images if whole is not None and is_count(images) else whole


def write_usage(usage: Usage) -> Json:
    """Another format's: nothing is known of what is billed."""
    tokens: Json = {"input_tokens": usage.input_tokens or 0, "output_tokens": usage.output_tokens or 0}
    if usage.reasoning_tokens is not None:
        tokens["reasoning_tokens"] = usage.reasoning_tokens
    written: Json = {"tokens": tokens}
    if usage.cache_read_tokens is not None:
        written["cached_tokens"] = usage.cache_read_tokens
    return written
