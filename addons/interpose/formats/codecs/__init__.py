"""Codecs: each wire format read into the neutral conversation (`interpose.ir`) and written from it.

`codec` is what every one of them is, and the conventions that make any of them understand any other. They are sans-I/O:
parsed JSON and bytes in, the same out.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import anthropic, chat, cohere, completions, converse, gemini, mistral, ollama, responses
from .codec import Asked, Client, Codec, Malformed, StreamReader, StreamWriter, Target, Written

__all__ = [
    "CODECS",
    "OF_PROVIDER",
    "Asked",
    "Client",
    "Codec",
    "Malformed",
    "StreamReader",
    "StreamWriter",
    "Target",
    "Written",
    "owner",
]

CODECS: Mapping[str, Codec] = {
    **{
        codec.name: codec
        for codec in (
            chat.CODEC,
            cohere.CODEC,
            completions.CODEC,
            converse.CODEC,
            gemini.CODEC,
            mistral.CODEC,
            ollama.CODEC,
            responses.CODEC,
        )
    },
    **anthropic.CODECS,
}


def owner(codec: Codec) -> str:
    """The name of the `Own` that a codec lays over what it writes: envelopes around one format share it."""
    return anthropic.CODEC.name if codec.name in anthropic.CODECS else codec.name


# The codec of each provider format; a client's is named by the wire of what it asked.
OF_PROVIDER: Mapping[str, str] = {
    "openai": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "bedrock": "bedrock-converse",
    "cohere": "cohere",
    "mistral": "mistral",
    "ollama": "ollama",
}
