"""Gemini's countTokens: https://ai.google.dev/api/tokens#method:-models.counttokens.

Google AI takes contents alone, or a whole request inside; Vertex AI takes the fields of one beside each other:
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens
"""

from __future__ import annotations

from interpose.formats.codecs import CODECS
from interpose.formats.codecs.codec import Asked, Json, Malformed, Target, Written
from interpose.ir import Request

from .neutral import Envelope, codec_of, elsewhere

INSIDE = "generateContentRequest"
TOKENS, CACHED = "totalTokens", "cachedContentTokenCount"


def unwrap(body: Json, asked: Asked) -> tuple[Json, Asked]:
    there = elsewhere(asked, asked.path.replace("countTokens", "generateContent"))
    inside = body.get(INSIDE)
    if inside is None:
        return body, there
    if not isinstance(inside, dict):
        raise Malformed(INSIDE, "it must be an object")
    return inside, there


def wrap(written: Written, request: Request, target: Target) -> Written:
    body = written.body
    if set(body) != {"contents"}:
        body = {INSIDE: {"model": f"models/{target.model}", **body}}
    return Written(_path(written), body)


def wrap_for_vertex(written: Written, request: Request, target: Target) -> Written:
    return Written(_path(written), written.body)


def _path(written: Written) -> str:
    return written.path.rpartition(":")[0] + ":countTokens"


# The same tokens by what they stand for; and what Vertex bills some models by.
SILENT = frozenset(("promptTokensDetails", "cacheTokensDetails", "totalBillableCharacters"))
CODEC = codec_of(CODECS["gemini"], Envelope(unwrap, wrap, TOKENS, cached=CACHED, silent=SILENT))
ON_VERTEX = codec_of(CODECS["gemini"], Envelope(unwrap, wrap_for_vertex, TOKENS, cached=CACHED, silent=SILENT))
