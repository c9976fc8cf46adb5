"""What a recorded reply says was used, computed the plain way from the whole recording.

An independent second opinion on the ledger: whole bodies, no streaming, nothing shared with the program's meters. The
accounting is the ledger's: input includes what caches read and wrote, output includes reasoning.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.corpus import Line

Json = dict[str, Any]


class Tokens(NamedTuple):
    """As in the ledger's columns; None means not told."""

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None


def documents(line: Line) -> list[Json]:
    """Every JSON object of the reply: the body itself, or each event of a stream, in order."""
    if line.reply_b64 is not None:
        raw = line.reply_bytes()
        return frames(raw) if is_event_stream(raw) else []
    text = line.reply_text
    if text is None:
        found = line.reply_json
        return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]
    if text.lstrip("\ufeff \r\n").startswith(("[", "{")):
        return whole_or_lines(text)
    return events(text)


def events(text: str) -> list[Json]:
    """The JSON objects in the data of server-sent events."""
    found: list[Json] = []
    data: list[str] = []
    for row in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if row.startswith("data:"):
            data.append(row[5:])
        elif not row and data:
            parsed = loaded("\n".join(data))
            found += [parsed] if isinstance(parsed, dict) else []
            data = []
    return found


def loaded(text: str) -> Any:
    """The JSON document, None where it is none: a recording may be cut."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def whole_or_lines(text: str) -> list[Json]:
    """One JSON document, a JSON array of them, or one on each line."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = [loaded(row) for row in text.split("\n")]
    return [each for each in (parsed if isinstance(parsed, list) else [parsed]) if isinstance(each, dict)]


def is_event_stream(raw: bytes) -> bool:
    return len(raw) >= 16 and struct.unpack("!I", raw[:4])[0] <= len(raw)


def frames(raw: bytes) -> list[Json]:
    """The payloads of an AWS event stream; those of InvokeModel are unwrapped."""
    found = []
    while len(raw) >= 16:
        size, headers = struct.unpack("!II", raw[:8])
        payload = json.loads(raw[12 + headers : size - 4] or b"{}")
        raw = raw[size:]
        if set(payload) >= {"bytes"}:
            payload = json.loads(base64.b64decode(payload["bytes"]))
        found.append(payload)
    return found


def at(value: Any, *path: str) -> Any:
    """What stands at that path, None if nothing does."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def number(mapping: Json | None, *path: str) -> int | None:
    """The integer at that path, None if it is not there."""
    value = at(mapping, *path)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def total(*values: int | None) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def last_usage(found: list[Json], *paths: tuple[str, ...]) -> Json | None:
    """The last non-empty object at any of the paths."""
    usage = None
    for document in found:
        for path in paths:
            value = at(document, *path)
            if isinstance(value, dict) and value:
                usage = value
    return usage


# Compatible providers' own names for what a cache has read.
CACHE_READ = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")


def chat(found: list[Json]) -> Tokens:
    usage = last_usage(found, ("usage",), ("x_groq", "usage"))
    given, made = number(usage, "prompt_tokens"), number(usage, "completion_tokens")
    audio = number(usage, "prompt_tokens_details", "audio_tokens")
    if audio and given is not None and made is not None and number(usage, "total_tokens") == given + made + audio:
        # Mistral counts the sound that it heard beside the prompt, and in the total.
        given += audio
    reasoning = first(number(usage, "completion_tokens_details", "reasoning_tokens"), number(usage, "reasoning_tokens"))
    if (
        reasoning
        and given is not None
        and made is not None
        and number(usage, "total_tokens") == given + made + reasoning
    ):
        made += reasoning
    return Tokens(
        given,
        first(
            number(usage, "prompt_tokens_details", "cached_tokens"),
            *(number(usage, name) for name in CACHE_READ),
        ),
        first(
            number(usage, "prompt_tokens_details", "cache_write_tokens"),
            number(usage, "cache_creation_input_tokens"),
        ),
        made,
        reasoning,
    )


def responses(found: list[Json]) -> Tokens:
    usage = last_usage(found, ("usage",), ("response", "usage"))
    return Tokens(
        number(usage, "input_tokens"),
        number(usage, "input_tokens_details", "cached_tokens"),
        number(usage, "input_tokens_details", "cache_write_tokens"),
        number(usage, "output_tokens"),
        number(usage, "output_tokens_details", "reasoning_tokens"),
    )


def anthropic(found: list[Json]) -> Tokens:
    merged: Json = {}
    for document in found:
        for usage in (at(document, "usage"), at(document, "message", "usage")):
            merged.update({name: value for name, value in (usage or {}).items() if value is not None})
    # With compaction or an advisor the totals are those of all iterations, not those of the last message.
    turns = merged.get("iterations") or [merged]
    given = total(*(number(turn, "input_tokens") for turn in turns))
    read = total(*(number(turn, "cache_read_input_tokens") for turn in turns))
    write = total(*(number(turn, "cache_creation_input_tokens") for turn in turns))
    return Tokens(
        None if given is None else total(given, read, write),
        read,
        write,
        total(*(number(turn, "output_tokens") for turn in turns)),
        number(merged, "output_tokens_details", "thinking_tokens"),
    )


def gemini(found: list[Json]) -> Tokens:
    merged: Json = {}
    for document in found:
        merged.update(document.get("usageMetadata") or {})
    thoughts = number(merged, "thoughtsTokenCount")
    return Tokens(
        total(number(merged, "promptTokenCount"), number(merged, "toolUsePromptTokenCount")),
        number(merged, "cachedContentTokenCount"),
        None,
        total(number(merged, "candidatesTokenCount"), thoughts),
        thoughts,
    )


def converse(found: list[Json]) -> Tokens:
    usage = last_usage(found, ("usage",), ("metadata", "usage"))
    read = first(number(usage, "cacheReadInputTokens"), number(usage, "cacheReadInputTokenCount"))
    write = first(number(usage, "cacheWriteInputTokens"), number(usage, "cacheWriteInputTokenCount"))
    given = number(usage, "inputTokens")
    return Tokens(None if given is None else total(given, read, write), read, write, number(usage, "outputTokens"))


def cohere(found: list[Json]) -> Tokens:
    usage = last_usage(found, ("usage",), ("meta",), ("delta", "usage"), ("response", "meta")) or {}
    counted = usage.get("tokens") or usage.get("billed_units")
    return Tokens(
        total(number(counted, "input_tokens"), number(counted, "image_tokens")),
        number(usage, "cached_tokens"),
        None,
        number(counted, "output_tokens"),
        number(counted, "reasoning_tokens"),
    )


def ollama(found: list[Json]) -> Tokens:
    last = found[-1] if found else {}
    return Tokens(number(last, "prompt_eval_count"), None, None, number(last, "eval_count"))


def embeddings(found: list[Json]) -> Tokens:
    document = found[-1] if found else {}
    places = (
        ("usage", "prompt_tokens"),
        ("usage", "total_tokens"),
        ("meta", "tokens", "input_tokens"),
        ("meta", "billed_units", "input_tokens"),
        ("usageMetadata", "promptTokenCount"),
        ("inputTextTokenCount",),
        ("prompt_eval_count",),
    )
    return Tokens(
        first(*(number(document, *place) for place in places)), output=number(document, "usage", "completion_tokens")
    )


def invoke(found: list[Json]) -> Tokens:
    """InvokeModel answers in the model family's own format; if that tells nothing, Bedrock does at a stream's end."""
    document = found[-1] if found else {}
    metrics = at(document, "amazon-bedrock-invocationMetrics")
    for count in (anthropic, converse, chat) if metrics else (anthropic, converse, chat, cohere):
        if (tokens := count(found)).input is not None:
            return tokens
    made = [number(result, "tokenCount") for result in document.get("results") or ()]
    # AI21's older models list the tokens instead of counting them.
    listed = [len(part["data"]["tokens"]) for part in document.get("completions") or ()]
    prompt = at(document, "prompt", "tokens")
    return Tokens(
        first(
            number(document, "prompt_token_count"),
            number(document, "inputTextTokenCount"),
            number(metrics, "inputTokenCount"),
            len(prompt) if prompt else None,
        ),
        output=first(
            number(document, "generation_token_count"),
            total(*made),
            number(metrics, "outputTokenCount"),
            total(*listed),
        ),
    )


FAMILIES: dict[str, Callable[[list[Json]], Tokens]] = {
    "openai_chat": chat,
    "chat_compat": chat,
    "mistral_chat": chat,
    "completions_legacy": chat,
    "openai_responses": responses,
    "anthropic_messages": anthropic,
    "gemini_generate": gemini,
    "bedrock_converse": converse,
    "cohere_chat": cohere,
    "ollama": ollama,
    "embeddings": embeddings,
    "bedrock_invoke": invoke,
}


def recorded_tokens(line: Line) -> Tokens | None:
    """What the reply says; None for recordings that are not counted here."""
    count = FAMILIES.get(line.family.removeprefix("responseonly_"))
    # Event streams that were recorded as lines of JSON are in no format that a provider speaks.
    if count is None or "decoded_eventstream_jsonl" in line.flags:
        return None
    tokens = count(documents(line))
    if tokens.input is None and tokens.output is None:
        # Bedrock counts in headers where the model's own reply does not.
        given, made = (line.reply_headers.get(f"x-amzn-bedrock-{way}-token-count") for way in ("input", "output"))
        tokens = Tokens(int(given) if given else None, output=int(made) if made else None)
    return tokens
