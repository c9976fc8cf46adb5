"""Errors by the contract name of a format, for codecs that are no conversation's: what a provider's says, and how a
client is told.

The conversations' codecs have their own, and these are the same; the formats beside them read any shape of error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interpose.errors import Refusal
from interpose.formats.failures import FORMAT_ROWS
from interpose.ir import Failed

from . import anthropic, chat, gemini, responses
from .chat import errors
from .codec import Codec, Json, loads

_RENDERED = {row.name: row.error for row in FORMAT_ROWS}


@dataclass(frozen=True, slots=True)
class Errors:
    """The three functions of a `Codec` that are about errors."""

    read: Callable[[int, Mapping[str, str], bytes], Failed]
    write: Callable[[Failed], Json]
    status_for: Callable[[int], int]


def _of(codec: Codec) -> Errors:
    return Errors(codec.read_error, codec.write_error, codec.status_for)


def _plain(name: str) -> Errors:
    """Those of a format whose errors are a status and a message."""

    def write(failed: Failed) -> Json:
        refusal = Refusal(errors.status_for(failed.status), failed.code or "", failed.message)
        refused = _RENDERED[name](refusal)
        told: Json = loads(refused.body.decode())
        named = next((value.decode() for key, value in refused.headers if key == b"x-amzn-errortype"), None)
        # AWS' SDKs look for the type in the body where no header has it.
        return told if named is None else {"__type": named, **told}

    return Errors(errors.read_error, write, errors.status_for)


ERRORS: Mapping[str, Errors] = {
    "openai": _of(chat.CODEC),
    "openai-responses": _of(responses.CODEC),
    "anthropic": _of(anthropic.CODEC),
    "gemini": _of(gemini.CODEC),
    **{name: _plain(name) for name in ("bedrock", "cohere", "mistral", "ollama")},
}
