"""Usage as Chat counts it: the prompt with what was read from and written to a cache, the completion with reasoning.

https://platform.openai.com/docs/api-reference/chat/object. The synonyms of compatible servers are those of the meter,
best first. What is not understood stays, but for zeros, which say nothing to anybody else: they become marks.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Usage

PROMPT = (("prompt_tokens",), ("input_tokens",))
COMPLETION = (("completion_tokens",), ("output_tokens",))
CACHE_READ = (
    ("prompt_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),  # DeepSeek: https://api-docs.deepseek.com/guides/kv_cache
    ("num_cached_tokens",),
    ("cached_tokens",),  # Moonshot
    ("cache_read_input_tokens",),  # gateways in front of Claude
)
CACHE_WRITE = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
    ("cache_creation_input_tokens",),
)
REASONING = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),  # Perplexity
)


def read_usage(node: Json, rest: Json, marks: list[str]) -> Usage:
    """A `usage` object; what is left of it goes into `rest` under `usage.…`, and how it was spelled into `marks`."""
    prompt, completion = _pick(node, PROMPT, marks), _pick(node, COMPLETION, marks)
    read, written = _pick(node, CACHE_READ, marks), _pick(node, CACHE_WRITE, marks)
    reasoning = _pick(node, REASONING, marks)
    whole = completion
    total = node.get("total_tokens")
    if type(total) is int and prompt is not None and completion is not None:
        if total == prompt + completion:
            del node["total_tokens"]
            marks.append("total")
        elif reasoning and total == prompt + completion + reasoning:
            # xAI counts reasoning beside the completion: https://docs.x.ai/docs/guides/reasoning
            del node["total_tokens"]
            marks += ("total", "reasoning:beside")
            whole = completion + reasoning
        elif (heard := _audio(node)) and total == prompt + heard + completion:
            # Mistral counts sound beside the prompt: https://docs.mistral.ai/capabilities/audio
            del node["total_tokens"]
            marks += ("total", "audio:beside")
            prompt += heard
    miss = node.get("prompt_cache_miss_tokens")
    if type(miss) is int and prompt is not None and read is not None and miss == prompt - read:
        del node["prompt_cache_miss_tokens"]
        marks.append("miss")
    _flatten(node, rest, marks)
    return Usage(prompt, read, written, whole, reasoning)


def _audio(node: Json) -> int:
    inner = node.get("prompt_tokens_details")
    heard = inner.get("audio_tokens") if isinstance(inner, dict) else None
    return heard if type(heard) is int and heard > 0 else 0


def _pick(node: Json, places: tuple[tuple[str, ...], ...], marks: list[str]) -> int | None:
    """The first counter of several synonyms; of the others, those that say the same. Their places are marked."""
    found: int | None = None
    for place in places:
        inner: Any = node
        for key in place[:-1]:
            inner = inner.get(key)
            if not isinstance(inner, dict):
                break
        else:
            value = inner.get(place[-1])
            if type(value) is int and value >= 0 and (found is None or value == found):
                del inner[place[-1]]
                marks.append("at:" + ".".join(place))
                found = value
    return found


def _flatten(node: Json, rest: Json, marks: list[str]) -> None:
    for key, value in node.items():
        place = f"usage.{key}"
        if isinstance(value, dict) and "." not in key and not any("." in inner for inner in value):
            if not value and not any(mark.startswith(f"at:{key}.") for mark in marks):
                rest[place] = value
            for inner, count in value.items():
                if type(count) is int and count == 0:
                    marks.append(f"zero:{key}.{inner}")
                else:
                    rest[f"{place}.{inner}"] = count
        elif "." in key:
            rest.setdefault("usage", {})[key] = value
        elif type(value) is int and value == 0:
            marks.append(f"zero:{key}")
        else:
            rest[place] = value


def write_usage(usage: Usage) -> Json:
    """As OpenAI itself counts and spells it; zero where nothing was told that must be."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    written: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    inner: Json = {}
    if usage.cache_read_tokens is not None:
        inner["cached_tokens"] = usage.cache_read_tokens
    if usage.cache_write_tokens is not None:
        inner["cache_write_tokens"] = usage.cache_write_tokens
    if inner:
        written["prompt_tokens_details"] = inner
    if usage.reasoning_tokens is not None:
        written["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return written


def write_own_usage(usage: Usage, fields: Json, marks: frozenset[str]) -> Json:
    """As it was spelled when it was read, from its marks and what was left over."""
    written: Json = dict(fields.get("usage") or ())
    for mark in marks:
        kind, _, place = mark.partition(":")
        if kind == "zero":
            _put(written, place, 0)
    whole = usage.output_tokens
    completion = whole
    if "reasoning:beside" in marks and whole is not None:
        completion = whole - (usage.reasoning_tokens or 0)
    prompt = usage.input_tokens
    if "audio:beside" in marks and prompt is not None:
        prompt -= fields.get("usage.prompt_tokens_details.audio_tokens", 0)
    values = (
        (PROMPT, prompt),
        (COMPLETION, completion),
        (CACHE_READ, usage.cache_read_tokens),
        (CACHE_WRITE, usage.cache_write_tokens),
        (REASONING, usage.reasoning_tokens),
    )
    for places, value in values:
        for keys in places:
            if value is not None and f"at:{(name := '.'.join(keys))}" in marks:
                _put(written, name, value)
    if "miss" in marks:
        written["prompt_cache_miss_tokens"] = (usage.input_tokens or 0) - (usage.cache_read_tokens or 0)
    if "total" in marks:
        written["total_tokens"] = (usage.input_tokens or 0) + (whole or 0)
    for key, value in fields.items():
        if key.startswith("usage."):
            _put(written, key[6:], value)
    return written


def _put(written: Json, place: str, value: Any) -> None:
    outer, dot, inner = place.partition(".")
    if not dot:
        written[outer] = value
        return
    node = written.setdefault(outer, {})
    if isinstance(node, dict):
        node[inner] = value
