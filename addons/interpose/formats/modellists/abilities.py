"""What a provider's own list says that a model can do, in one vocabulary; and how long its context is, where the list
has that in a place of its own.

The words: `chat`, `completion`, `embeddings`, `rerank`, `moderations`, `images`, `video`, `audio`, `realtime` are what
it is for; `tools`, `vision`, `reasoning` what a chat of it may have. What a list does not say is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .neutral import Model

Fields = Mapping[str, Any]

# How lists spell them; each word here is one of ours, too.
_SYNONYMS: Mapping[str, str] = {
    "chat": "chat",
    "completion": "completion",
    "completions": "completion",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "moderations": "moderations",
    "images": "images",
    "video": "video",
    "audio": "audio",
    "realtime": "realtime",
    "tools": "tools",
    "vision": "vision",
    "reasoning": "reasoning",
    # https://docs.mistral.ai/api/endpoint/models
    "completion_chat": "chat",
    "completion_fim": "completion",
    "function_calling": "tools",
    "moderation": "moderations",
    "audio_transcription": "audio",
    "audio_speech": "audio",
    # https://docs.together.ai/reference/models-1
    "language": "completion",
    "embedding": "embeddings",
    "image": "images",
    "transcribe": "audio",
    # https://docs.cohere.com/reference/list-models
    "embed": "embeddings",
    "generate": "completion",
    # https://ai.google.dev/api/models
    "generateContent": "chat",
    "embedContent": "embeddings",
    "predict": "images",
    "predictLongRunning": "video",
    "bidiGenerateContent": "realtime",
    # https://docs.github.com/copilot
    "tool_calls": "tools",
    # https://docs.ollama.com/api
    "thinking": "reasoning",
    "insert": "completion",
    # https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    "multimodal": "vision",
}
# https://openrouter.ai/docs/api-reference/list-available-models and those that tell theirs alike.
_INPUTS: Mapping[str, str] = {"image": "vision"}
_OUTPUTS: Mapping[str, str] = {
    "text": "chat",
    "image": "images",
    "video": "video",
    "audio": "audio",
    "transcription": "audio",
    "embeddings": "embeddings",
}


def abilities(model: Model) -> tuple[str, ...] | None:
    """What its provider's list says of the model; None if that is nothing."""
    if model.own is None or (read := _READERS.get(model.own.format)) is None:
        return None
    return tuple(dict.fromkeys(read(model.own.fields))) or None


def context(model: Model) -> int | None:
    """The length of its context in tokens; None if the list does not say it."""
    if model.input_limit is not None or model.own is None:
        return model.input_limit
    fields = model.own.fields
    found = (
        # GitHub Copilot's, and llama.cpp's server's.
        _object(_object(fields.get("capabilities")).get("limits")).get("max_context_window_tokens"),
        _object(fields.get("meta")).get("n_ctx"),
    )
    return next((value for value in found if type(value) is int and 0 < value < 2**53), None)


def _object(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _words(value: object, table: Mapping[str, str] = _SYNONYMS) -> Iterator[str]:
    """Of a list of words, of an object of words that hold or not, or of one word."""
    if isinstance(value, dict):
        value = [name for name, holds in value.items() if holds is True]
    for word in [value] if isinstance(value, str) else _texts(value):
        if word in table:
            yield table[word]


def _openai(fields: Fields) -> Iterator[str]:
    told = fields.get("capabilities")
    yield from _words(_object(told).get("type"))
    yield from _words(fields.get("type"))
    yield from _words(told)
    yield from _words(_object(told).get("supports"))
    for place in (_object(fields.get("architecture")), fields):
        yield from _words(place.get("output_modalities"), _OUTPUTS)
        yield from _words(place.get("input_modalities"), _INPUTS)
    yield from (word for word in _words(fields.get("supported_parameters")) if word in ("tools", "reasoning"))


def _anthropic(fields: Fields) -> Iterator[str]:
    """https://docs.claude.com/en/api/models-list: each of them says `supported`; all of these models converse."""
    told = _object(fields.get("capabilities"))
    if told:
        yield "chat"
    for name, word in (("image_input", "vision"), ("thinking", "reasoning")):
        if _object(told.get(name)).get("supported") is True:
            yield word


def _gemini(fields: Fields) -> Iterator[str]:
    yield from _words(fields.get("supportedGenerationMethods"))
    if fields.get("thinking") is True:
        yield "reasoning"


def _cohere(fields: Fields) -> Iterator[str]:
    yield from _words(fields.get("endpoints"))
    yield from (word for word in _words(fields.get("features")) if word in ("tools", "vision", "reasoning"))


def _ollama(fields: Fields) -> Iterator[str]:
    told = _texts(fields.get("capabilities"))
    # What it calls a completion is any generation: https://docs.ollama.com/api/chat
    if "completion" in told:
        yield "chat"
    yield from _words(told)


_READERS: Mapping[str, Callable[[Fields], Iterator[str]]] = {
    "openai-models": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "cohere": _cohere,
    "ollama": _ollama,
}
