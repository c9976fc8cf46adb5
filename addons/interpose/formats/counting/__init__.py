"""Counts of tokens between formats: the endpoints that count, each around the codec of its conversations (`neutral`).

Chat Completions, Cohere, Mistral and Ollama have none for conversations: such a call is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs import Codec
from interpose.formats.kinds import Entry
from interpose.ir import Request

from . import anthropic, bedrock, gemini, openai
from .neutral import Count

PROVIDERS: Mapping[str, Codec[Request, Count]] = {
    "openai": openai.CODEC,
    "openai-responses": openai.CODEC,
    "anthropic": anthropic.CODEC,
    "anthropic/vertex": anthropic.ON_VERTEX,
    "anthropic/bedrock": bedrock.CLAUDE,
    "bedrock": bedrock.CONVERSE,
    "gemini": gemini.CODEC,
    "gemini/vertex": gemini.ON_VERTEX,
}
CLIENTS = (
    Entry("openai-responses", openai.PATH, openai.CODEC),
    Entry("anthropic", anthropic.PATH, anthropic.CODEC),
    Entry("gemini", r"/v1(?:(?:alpha|beta)\d*)?/(?:models|tunedModels)/[^/:]+(?::|%3[Aa])countTokens", gemini.CODEC),
    Entry("bedrock", r"/model/.+/count-tokens", bedrock.CLIENT),
)
