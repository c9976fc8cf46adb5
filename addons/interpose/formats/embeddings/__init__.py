"""Embeddings between formats: each read into `neutral` and written from it, by codecs of the same shape as those of
conversations. None is streamed.

A client's codec is found by the format and the path that it asked, a provider's by its format.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs import Codec
from interpose.formats.kinds import Entry

from . import bedrock, cohere, gemini, ollama, openai, vertex
from .neutral import Reply, Request

PROVIDERS: Mapping[str, Codec[Request, Reply]] = {
    "openai": openai.CODEC,
    "openai-responses": openai.CODEC,
    "gemini": gemini.CODEC,
    "gemini/vertex": vertex.CODEC,
    "cohere": cohere.CODEC,
    "mistral": openai.MISTRAL_CODEC,
    "bedrock": bedrock.CODEC,
    "ollama": ollama.CODEC,
}
CLIENTS = (
    Entry("openai", r"/embeddings", openai.CODEC),
    Entry(
        "gemini",
        r"/v1(?:(?:alpha|beta)\d*)?/(?:models|tunedModels)/[^/]+(?::|%3[Aa])(?:embedContent|batchEmbedContents)",
        gemini.CODEC,
    ),
    Entry("gemini", r"(?:/v1(?:(?:alpha|beta)\d*)?|/publishers/google)/models/[^/]+(?::|%3[Aa])predict", vertex.CODEC),
    Entry("cohere", r"/v[12]/embed", cohere.CODEC),
    Entry("mistral", r"/v1/embeddings", openai.MISTRAL_CODEC),
    Entry("bedrock", r"/model/[^/]*(?:cohere\.|titan-)embed[^/]*/invoke", bedrock.CODEC),
    Entry("ollama", r"/api/embed(?:dings)?", ollama.CODEC),
)
