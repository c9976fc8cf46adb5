"""What a model is for, by its name alone: for lists that say nothing of it.

Words are those of `abilities`. A name that nobody here knows says nothing: none is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from interpose.formats.capabilities import Capabilities, Overrides, capabilities_of, plain_name, row_of
from interpose.formats.paths import EndpointName

# The makers' lists of their models: https://platform.openai.com/docs/models, https://ai.google.dev/gemini-api/docs/models,
# https://docs.claude.com/en/docs/about-claude/models, https://docs.mistral.ai/getting-started/models,
# https://docs.cohere.com/docs/models, https://docs.aws.amazon.com/nova/latest/userguide/what-is-nova.html,
# https://docs.voyageai.com/docs/embeddings, https://docs.perplexity.ai/getting-started/models, https://docs.x.ai/docs/models,
# https://api-docs.deepseek.com/quick_start/pricing. The first row that takes a name holds.
_USES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "embeddings",
        (
            *("text-embedding-*", "gemini-embedding-*", "embed-*", "mistral-embed*", "codestral-embed*"),
            *("titan-embed-*", "voyage-[0-9]*", "voyage-code-*", "voyage-finance-*", "voyage-law-*"),
        ),
    ),
    ("moderations", ("omni-moderation-*", "text-moderation-*", "mistral-moderation-*")),
    ("rerank", ("rerank-*",)),
    ("images", ("dall-e-*", "gpt-image-*", "chatgpt-image-*", "imagen-*")),
    ("video", ("sora-*", "veo-*")),
    ("audio", ("whisper-*", "tts-1*", "gpt-4o-*transcribe*", "gpt-4o-mini-tts*", "gemini-*-tts*")),
    ("realtime", ("gpt-realtime*", "gpt-4o-realtime*", "gpt-4o-mini-realtime*", "gemini-*-live-*", "nova-*sonic*")),
    ("completion", ("davinci-00*", "babbage-00*", "gpt-3.5-turbo-instruct*")),
    (
        "chat",
        (
            *("gpt-3.5-turbo*", "gpt-4*", "gpt-5*", "gpt-oss-*", "chatgpt-4o-*", "o1", "o1-*", "o3", "o3-*", "o4-*"),
            *("claude-*", "gemini-*", "gemma-*", "nova-lite*", "nova-micro*", "nova-premier*", "nova-pro*"),
            *("mistral-large*", "mistral-medium*", "mistral-small*", "ministral-*", "magistral-*", "pixtral-*"),
            *("devstral-*", "codestral-*", "command", "command-*", "c4ai-aya-*", "sonar", "sonar-*"),
            *("deepseek-chat", "deepseek-reasoner", "deepseek-v[0-9]*", "deepseek-r[0-9]*", "grok-[0-9]*"),
        ),
    ),
)
# At which endpoint a model of that use is called.
_ENDPOINTS: Mapping[str, EndpointName] = {
    "embeddings": "embeddings",
    "moderations": "moderations",
    "rerank": "rerank",
    "images": "images",
    "video": "images",
    "audio": "audio",
    "realtime": "realtime",
    "completion": "completions",
    "chat": "chat",
}


@lru_cache(maxsize=4096)
def use(model: str) -> str | None:
    """What a model of that name is for; None if nobody here knows."""
    name = plain_name(model)
    return next((word for word, globs in _USES if any(fnmatchcase(name, glob) for glob in globs)), None)


def endpoint(word: str | None) -> EndpointName:
    """Where a model for that is called; where most are, if nobody knows what it is for."""
    return _ENDPOINTS.get(word, "chat") if word is not None else "chat"


def known(model: str, overrides: Overrides | None = None) -> tuple[str, ...] | None:
    """What is known here of a model of that name; None for nothing. `overrides` are the rules'."""
    word = use(model)
    if word is None:
        return None
    return ("chat", *_more(capabilities_of(model, overrides))) if word == "chat" and _told_apart(model) else (word,)


@lru_cache(maxsize=4096)
def _told_apart(model: str) -> bool:
    """Whether the tables know this model, and not just its maker: what holds for all of these, those to come included,
    says what to send them, and not what they can do.
    """
    row = row_of(model)
    return row is not None and any(character.isdigit() for name in row.names for character in name)


def _more(can: Capabilities) -> tuple[str, ...]:
    said = {"tools": can.tools, "vision": "image" in can.media, "reasoning": can.thinking != "none"}
    return tuple(word for word, holds in said.items() if holds)
