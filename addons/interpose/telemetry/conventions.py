"""The names of OpenTelemetry's conventions, and which of their values stands for what of ours. Data alone.

The GenAI conventions have a repository of their own since version 1.42, whose next names are not released: the names
here are those of 1.41, which backends know, and the token counters of the new repository, which say what the histogram
of 1.41 cannot (cached tokens, thoughts).

Sources: https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai
https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai
https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/http/http-spans.md
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from interpose.formats.hosts import HostTable
from interpose.formats.known_hosts import EVERY_ROW

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"
SCOPE: Final = "interpose"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - a name
TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105 - a name
# What was asked and answered, where the rules want it told.
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
RESEND: Final = "http.request.resend_count"
PATH: Final = "url.path"
SCHEME: Final = "url.scheme"

# The event of a call with its details, and that of one which failed.
DETAILS: Final = "gen_ai.client.inference.operation.details"
EXCEPTION: Final = "gen_ai.client.operation.exception"

# What of our usage is which of theirs.
USAGE: Final[Mapping[str, str]] = {
    "input_tokens": INPUT_TOKENS,
    "cache_read_tokens": CACHE_READ_TOKENS,
    "cache_write_tokens": CACHE_WRITE_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "reasoning_tokens": REASONING_TOKENS,
}

# Our endpoints as operations. What the conventions have no word for keeps ours: "a custom value MAY be used".
_OPERATIONS: Mapping[str, str] = {"chat": "chat", "completions": "text_completion", "embeddings": "embeddings"}
# What a format calls its own chats.
_OF_FORMAT: Mapping[str, str] = {"gemini": "generate_content"}
# The legacy completions, which are chats of ours.
_COMPLETIONS = ("/completions", "/complete")

# How providers are called: by dialect, by host, else by format.
_OF_DIALECT: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "perplexity": "perplexity",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
_OF_PROVIDER_FORMAT: Mapping[str, str] = {
    "openai": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "gcp.gemini",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "mistral": "mistral_ai",
    "ollama": "ollama",
}
_ROWS = HostTable(EVERY_ROW)


def operation(endpoint: str, format_: str | None, path: str) -> str:
    """What an endpoint does, in the conventions' words where they have one."""
    if endpoint == "chat":
        if path.rstrip("/").endswith(_COMPLETIONS) and "/chat/" not in path:
            return "text_completion"
        return _OF_FORMAT.get(format_ or "", "chat")
    return _OPERATIONS.get(endpoint, endpoint)


@lru_cache(maxsize=4096)
def provider(host: str, format_: str | None, dialect: str | None) -> str:
    """Who is behind a host: by its dialect, else by its format, whatever the rules call it. A known host that speaks
    somebody else's format is called by its dialect.
    """
    row = _ROWS.find(host)
    spoken = dialect or (row.dialect if row is not None else None)
    if spoken is not None:
        return _OF_DIALECT.get(spoken, spoken)
    format_ = format_ or (row.format if row is not None else None)
    return _OF_PROVIDER_FORMAT.get(format_ or "", format_ or "_OTHER")
