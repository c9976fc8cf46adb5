"""The words of Chat Completions, and how its JSON is taken apart: names, tables, and the smallest readers of values.

https://platform.openai.com/docs/api-reference/chat. Nothing here knows a message.
"""

from __future__ import annotations

from typing import Final

from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.leftovers import STRING, Leftovers, take
from interpose.ir import CacheMark, Own
from interpose.ir.reply import Reason

NAME: Final = "openai-chat"
CHAT_PATH = "/chat/completions"

# OpenAI's five, and what compatible servers say beside them. An empty reason is llama.cpp's for "not yet".
REASONS: dict[str, Reason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "eos": "end",  # Together
    "end_turn": "end",
    "eos_token": "end",  # text-generation-inference: https://huggingface.co/docs/text-generation-inference
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
    "sensitive": "content_filter",  # Zhipu: https://docs.z.ai/api-reference/llm/chat-completion
    "error": "error",  # OpenRouter: https://openrouter.ai/docs/api-reference/errors
    "network_error": "error",
    "insufficient_system_resource": "error",  # DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion
    "abort": "error",  # vLLM, SGLang
}
# OpenAI has no word for a pause, and none for an error, where OpenRouter has one.
WORDS: dict[Reason, str] = {
    "end": "stop",
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "error": "error",
    "other": "stop",
}

# https://platform.openai.com/docs/guides/audio: wav and mp3 are what Chat takes; servers beside OpenAI take others.
AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav"}
AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav"}

# Where compatible servers show reasoning in plain words, and want it back: DeepSeek, Qwen, vLLM, llama.cpp in the
# first (https://api-docs.deepseek.com/guides/thinking_mode); Groq, OpenRouter, Ollama in the second
# (https://console.groq.com/docs/reasoning).
REASONING_FIELDS = ("reasoning_content", "reasoning")
# OpenRouter's, with signatures and encrypted state: https://openrouter.ai/docs/use-cases/reasoning-tokens
REASONING_DETAILS = "reasoning_details"
DETAIL_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}

# Where a reply carries what Chat has no field for, and where we look for it when it comes back. Gemini's OpenAI
# endpoint keeps its thought signatures there: https://ai.google.dev/gemini-api/docs/thought-signatures
EXTRA = "extra_content"
OURS = "interpose"

CACHE_FIELDS = ("cache_control", "prompt_cache_breakpoint")
# https://developers.openai.com/api/docs/guides/prompt-caching: the least lifetimes that a breakpoint may ask for.
BREAKPOINT_TTLS = {"1h": "12h", "30m": "30m", "12h": "12h"}
# Of a reply, a handle for its provider's support, and an echo of the request: to another format they say nothing.
SILENT = ("system_fingerprint", "service_tier")

LEFTOVERS = Leftovers(NAME)
leftover = LEFTOVERS.leftover
lay_over = LEFTOVERS.lay_over
marks_of = LEFTOVERS.marks_of


def take_silent(node: Json) -> Json | None:
    """What of a reply is written back, and is no loss to others."""
    return {key: node.pop(key) for key in SILENT if key in node} or None


def read_cache(node: Json) -> CacheMark | None:
    """OpenRouter's cache_control, which is Anthropic's, or OpenAI's prompt_cache_breakpoint."""
    for field in CACHE_FIELDS:
        mark = node.get(field)
        if isinstance(mark, dict):
            del node[field]
            ttl = take(mark, "ttl", STRING)
            expected = "ephemeral" if field == "cache_control" else "explicit"
            kind = "type" if field == "cache_control" else "mode"
            if mark.get(kind) == expected:
                del mark[kind]
                return CacheMark(ttl, Own(NAME, mark, frozenset((field,))))
            return CacheMark(ttl, Own(NAME, mark, frozenset((field, "kind:other"))))
    return None


def write_cache(mark: CacheMark, written: Json, field: str | None) -> bool:
    """Puts a cache mark on a part, under `field` or as Chat wrote it; False where there is nowhere to put it."""
    marks = marks_of(mark.own)
    own = mark.own.fields if mark.own is not None and marks else {}
    for name in CACHE_FIELDS:
        if name in marks:
            field = name
    if field is None:
        return False
    value: Json = {}
    if "kind:other" not in marks:
        value.update({"type": "ephemeral"} if field == "cache_control" else {"mode": "explicit"})
    ttl = mark.ttl if marks or field == "cache_control" else BREAKPOINT_TTLS.get(mark.ttl or "")
    if ttl is not None:
        value["ttl"] = ttl
    written[field] = {**value, **own}
    return True
