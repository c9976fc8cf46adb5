"""Who makes a model, by its name: where a call goes that names a model and nothing else.

A name that nobody here is known to make is no mistake: it may be served by any provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from .capabilities import plain_name


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes models of such names: its format, of those that a provider of the rules may have, and the `vendor` by
    which its own host is known (`prices.vendor`).
    """

    vendor: str
    format: str
    globs: tuple[str, ...]


# Each maker's own list of models; the names are those under which it serves them.
_MAKERS = (
    # https://platform.openai.com/docs/models
    Maker(
        "openai",
        "openai",
        (
            *("gpt-*", "chatgpt-*", "o1", "o1-*", "o3", "o3-*", "o4-*", "codex-*", "computer-use-*", "davinci-*"),
            *(
                "babbage-*",
                "text-embedding-3-*",
                "text-embedding-ada-*",
                "omni-moderation-*",
                "text-moderation-*",
                "dall-e-*",
                "whisper-*",
            ),
            *("tts-*", "sora-*"),
        ),
    ),
    # https://docs.anthropic.com/en/docs/about-claude/models
    Maker("anthropic", "anthropic", ("claude-*",)),
    # https://ai.google.dev/gemini-api/docs/models
    Maker(
        "google",
        "gemini",
        (
            *("gemini-*", "gemma-*", "embedding-001", "text-embedding-004", "text-embedding-005"),
            *("text-multilingual-embedding-*", "imagen-*", "veo-*", "learnlm-*"),
        ),
    ),
    # https://docs.mistral.ai/getting-started/models
    Maker(
        "mistral",
        "mistral",
        (
            *("mistral-*", "ministral-*", "codestral-*", "devstral-*", "magistral-*", "pixtral-*", "open-mistral-*"),
            *("open-mixtral-*", "voxtral-*"),
        ),
    ),
    # https://docs.cohere.com/docs/models
    Maker("cohere", "cohere", ("command", "command-*", "embed-*", "rerank-*", "c4ai-*")),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
    Maker("aws", "bedrock", ("nova-*", "titan-*")),
    # https://docs.x.ai/docs/models
    Maker("x-ai", "openai", ("grok-*",)),
    # https://api-docs.deepseek.com/quick_start/pricing
    Maker("deepseek", "openai", ("deepseek-*",)),
    # https://docs.perplexity.ai/getting-started/models
    Maker("perplexity", "openai", ("sonar", "sonar-*")),
)


# Names are the clients': the memory for them is bounded.
@lru_cache(maxsize=1024)
def makers(model: str) -> tuple[Maker, ...]:
    """Those who make a model of that name; none if nobody is known to."""
    name = plain_name(model)
    return tuple(maker for maker in _MAKERS if any(fnmatchcase(name, glob) for glob in maker.globs))
