"""Whose price list holds for what is sent to a host: the names that genai-prices gives to providers.

The dialect says it where there is one, else the host. A host that nobody knows is taken for a gateway in front of the
maker of its format: what it passes on costs what the maker asks, where that sells a model of the name. A server of
one's own, without a key, has no list: it costs what the rules say, or nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from interpose.formats.hosts import HostTable
from interpose.formats.known_hosts import EVERY_ROW

_ROWS = HostTable(EVERY_ROW)
# Our dialects -> the ids of https://github.com/pydantic/genai-prices/tree/main/prices/providers
_OF_DIALECT: Mapping[str, str] = {
    "avian": "avian",
    "azure": "azure",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "copilot": "github-copilot",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "doubleword": "doubleword",
    "fireworks": "fireworks",
    "groq": "groq",
    "minimax": "minimax",
    "moonshot": "moonshotai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zai": "zai",
}
_OF_HOST: Mapping[str, str] = {
    "api.anthropic.com": "anthropic",
    "api.cloudflare.com": "cloudflare",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "*.api.openai.com": "openai",
    "codestral.mistral.ai": "mistral",
    "generativelanguage.googleapis.com": "google",
    "open.bigmodel.cn": "zhipuai",
}


# Known for Ollama, and for whatever else listens on this machine.
_HERE = frozenset(("localhost", "127.0.0.1", "::1", "host.docker.internal"))
# Our formats -> their makers, by the same ids.
_OF_FORMAT: Mapping[str, str] = {
    "anthropic": "anthropic",
    "bedrock": "aws",
    "cohere": "cohere",
    "gemini": "google",
    "mistral": "mistral",
    "openai": "openai",
    "openai-responses": "openai",
}


@lru_cache(maxsize=4096)
def vendor(host: str, dialect: str | None = None, spoken: str | None = None) -> str | None:
    """The vendor behind a host, in a provider's dialect if the rules configure one; None if nobody knows. `spoken` is
    the format of a provider whose host may be a gateway's.
    """
    row = _ROWS.find(host)
    if (row is None or row.pattern in _HERE) and dialect is None:
        return _OF_FORMAT.get(spoken) if spoken is not None else None
    if row is not None and (known := _OF_HOST.get(row.pattern)) is not None:
        return known
    named = dialect or (row.dialect if row is not None else None)
    return _OF_DIALECT.get(named) if named is not None else None
