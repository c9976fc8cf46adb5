"""Who makes a model, by its name: where a call goes that names a model and nothing else.

As formats of the contract, since that is what a provider of the rules has. A name that nobody here is known to make is
no mistake: it may be served by any of them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from .capabilities import plain_name

# Each maker's own list of models; the names are those under which it serves them.
_MAKERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # https://platform.openai.com/docs/models
    (
        "openai",
        (
            *("gpt-*", "chatgpt-*", "o1", "o1-*", "o3", "o3-*", "o4-*", "codex-*", "computer-use-*", "davinci-*"),
            *("babbage-*", "text-embedding-*", "omni-moderation-*", "text-moderation-*", "dall-e-*", "whisper-*"),
            *("tts-*", "sora-*"),
        ),
    ),
    # https://docs.anthropic.com/en/docs/about-claude/models
    ("anthropic", ("claude-*",)),
    # https://ai.google.dev/gemini-api/docs/models
    ("gemini", ("gemini-*", "gemma-*", "text-embedding-004", "imagen-*", "veo-*", "learnlm-*")),
    # https://docs.mistral.ai/getting-started/models
    (
        "mistral",
        (
            *("mistral-*", "ministral-*", "codestral-*", "devstral-*", "magistral-*", "pixtral-*", "open-mistral-*"),
            *("open-mixtral-*", "voxtral-*"),
        ),
    ),
    # https://docs.cohere.com/docs/models
    ("cohere", ("command", "command-*", "embed-*", "rerank-*", "c4ai-*")),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
    ("bedrock", ("nova-*", "titan-*")),
)


# Names are the clients': the memory for them is bounded.
@lru_cache(maxsize=1024)
def makers(model: str) -> tuple[str, ...]:
    """The formats of those who make a model of that name; none if nobody is known to."""
    name = plain_name(model)
    return tuple(maker for maker, globs in _MAKERS if any(fnmatchcase(name, glob) for glob in globs))
