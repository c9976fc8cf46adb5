"""Lists of models between formats, and single models: each read into `neutral` and written from it.

Bedrock's are no part of the API that runs its models, and have no list here.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs import Codec
from interpose.formats.kinds import Entry

from . import anthropic, cohere, gemini, ollama, openai
from .neutral import Reply, Request

PROVIDERS: Mapping[str, Codec[Request, Reply]] = {
    "openai": openai.CODEC,
    "openai-responses": openai.CODEC,
    "anthropic": anthropic.CODEC,
    "gemini": gemini.CODEC,
    "cohere": cohere.CODEC,
    "mistral": openai.MISTRAL_CODEC,
    "ollama": ollama.CODEC,
}
CLIENTS = (
    Entry("openai", r"/models(?:/.+)?", openai.CODEC, "GET"),
    Entry("anthropic", r"/v1/models(?:/[^/]+)?", anthropic.CODEC, "GET"),
    Entry("gemini", r"/v1(?:(?:alpha|beta)\d*)?/models(?:/[^/:]+)?", gemini.CODEC, "GET"),
    Entry("cohere", r"/v1/models(?:/[^/]+)?", cohere.CODEC, "GET"),
    Entry("mistral", r"/v1/models(?:/[^/]+)?", openai.MISTRAL_CODEC, "GET"),
    Entry("ollama", r"/api/tags", ollama.CODEC, "GET"),
)
