"""What is known of a model: what its provider's list says, in one vocabulary, and what its name says."""

from __future__ import annotations

from typing import Any

import pytest

from interpose.formats.capabilities import Change
from interpose.formats.modellists import PROVIDERS
from interpose.formats.modellists.abilities import abilities, context
from interpose.formats.modellists.neutral import Model
from interpose.formats.modellists.uses import endpoint, known, use

# Entries as these lists have them, cut to what matters here: the sources stand in `abilities`.
TOLD: list[tuple[str, str, dict[str, Any], tuple[str, ...] | None]] = [
    ("openai", "nothing", {}, None),
    ("openai", "words", {"capabilities": ["chat", "tools", "unheard of"]}, ("chat", "tools")),
    ("openai", "one word", {"capabilities": "chat"}, ("chat",)),
    ("openai", "no words", {"capabilities": [1, None], "type": 3, "architecture": "none"}, None),
    (
        "mistral",
        "flags",
        {"capabilities": {"completion_chat": True, "completion_fim": False, "function_calling": True, "vision": 1}},
        ("chat", "tools"),
    ),
    ("openai", "together", {"type": "embedding"}, ("embeddings",)),
    (
        "openai",
        "openrouter",
        {
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "supported_parameters": ["temperature", "tools", "reasoning"],
        },
        ("chat", "vision", "tools", "reasoning"),
    ),
    ("openai", "groq", {"input_modalities": ["audio"], "output_modalities": ["transcription"]}, ("audio",)),
    (
        "openai",
        "copilot",
        {"capabilities": {"type": "chat", "supports": {"tool_calls": True, "vision": True, "streaming": True}}},
        ("chat", "tools", "vision"),
    ),
    ("anthropic", "nothing", {}, None),
    (
        "anthropic",
        "support",
        {"capabilities": {"image_input": {"supported": True}, "thinking": {"supported": False}}},
        ("chat", "vision"),
    ),
    (
        "gemini",
        "chat",
        {"supportedGenerationMethods": ["generateContent", "x"], "thinking": True},
        ("chat", "reasoning"),
    ),
    ("gemini", "vectors", {"supportedGenerationMethods": ["embedContent"]}, ("embeddings",)),
    (
        "cohere",
        "chat",
        {"endpoints": ["generate", "chat"], "features": ["json_mode", "tools"]},
        ("completion", "chat", "tools"),
    ),
    (
        "ollama",
        "chat",
        {"capabilities": ["completion", "tools", "thinking"]},
        ("chat", "completion", "tools", "reasoning"),
    ),
    ("ollama", "vectors", {"capabilities": ["embedding"]}, ("embeddings",)),
]


def read(format_: str, fields: dict[str, Any]) -> Model:
    """One model, as the codec of that provider reads it from a list."""
    key = "data" if format_ in ("openai", "mistral", "anthropic") else "models"
    name = {"id": "m"} if key == "data" else {"name": "models/m"}
    (model,) = PROVIDERS[format_].read_reply({key: [{**name, **fields}]}).models
    return model


@pytest.mark.parametrize(("format_", "what", "fields", "words"), TOLD, ids=lambda value: str(value)[:20])
def test_a_list_says_what_a_model_can_do(
    format_: str, what: str, fields: dict[str, Any], words: tuple[str, ...] | None
) -> None:
    """In one vocabulary; what a list does not say is not known from it."""
    assert abilities(read(format_, fields)) == words


def test_a_context_is_read_where_a_list_has_it() -> None:
    """In its own field, or where Copilot and llama.cpp have it; nonsense is nothing."""
    assert context(read("openai", {"context_length": 9})) == 9
    assert context(read("openai", {"max_model_len": 9})) == 9
    assert context(read("openai", {"capabilities": {"limits": {"max_context_window_tokens": 9}}})) == 9
    assert context(read("openai", {"meta": {"n_ctx": 9}})) == 9
    assert context(read("openai", {"meta": {"n_ctx": True}})) is None
    assert context(read("openai", {})) is None
    assert context(Model("m")) is None


KNOWN = [
    ("gpt-4o", ("chat", "tools", "vision")),
    ("gpt-4", ("chat", "tools")),
    ("o3", ("chat", "tools", "vision", "reasoning")),
    ("gpt-4o-realtime-preview", ("realtime",)),
    ("gpt-4o-mini-transcribe", ("audio",)),
    ("text-embedding-3-small", ("embeddings",)),
    ("gpt-image-1", ("images",)),
    ("omni-moderation-latest", ("moderations",)),
    ("gpt-3.5-turbo-instruct", ("completion",)),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ("chat", "tools", "vision", "reasoning")),
    # A family of which only the maker is known.
    ("claude-yet-to-come", ("chat",)),
    ("gemini-2.5-flash-preview-tts", ("audio",)),
    ("my-own-model", None),
    ("gpt-unheard-of", None),
]


@pytest.mark.parametrize(("model", "words"), KNOWN)
def test_a_name_says_what_is_known_of_it(model: str, words: tuple[str, ...] | None) -> None:
    """Whoever serves it; of a name that nobody here knows, nothing is said."""
    assert known(model) == words


def test_the_rules_capabilities_count() -> None:
    """As they do for what is sent."""
    assert known("gpt-4o", {"gpt-4o": Change((("media", frozenset()), ("tools", False)))}) == ("chat",)


def test_a_model_is_called_where_its_kind_is() -> None:
    """An unknown one where most are."""
    assert [endpoint(use(name)) for name in ("text-embedding-3-small", "sora-2", "gpt-4o", "nobodys")] == [
        "embeddings",
        "images",
        "chat",
        "chat",
    ]
