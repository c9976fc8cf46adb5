"""Anthropic's /v1/messages/count_tokens, on Vertex AI too: https://platform.claude.com/docs/en/api/messages-count-tokens."""

from __future__ import annotations

from interpose.formats.codecs import CODECS
from interpose.formats.codecs.codec import Asked, Json, Target, Written
from interpose.ir import Request

from .neutral import Envelope, codec_of

PATH = "/v1/messages/count_tokens"
TOKENS = "input_tokens"
KEPT = frozenset(
    (
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "output_format",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    )
)


def unwrap(body: Json, asked: Asked) -> tuple[Json, Asked]:
    # Vertex' clients say there which version of the API they speak, where others have a header.
    body.pop("anthropic_version", None)
    return body, Asked(PATH, asked.query, asked.headers)


def wrap(written: Written, request: Request, target: Target) -> Written:
    return Written(PATH, written.body, "", written.headers)


def wrap_for_vertex(written: Written, request: Request, target: Target) -> Written:
    """https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai"""
    return Written(PATH, {"anthropic_version": "vertex-2023-10-16", **written.body})


CODEC = codec_of(CODECS["anthropic"], Envelope(unwrap, wrap, TOKENS, KEPT))
ON_VERTEX = codec_of(CODECS["anthropic"], Envelope(unwrap, wrap_for_vertex, TOKENS, KEPT))
