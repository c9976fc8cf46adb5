"""OpenAI's /responses/input_tokens: https://platform.openai.com/docs/api-reference/responses/input-tokens.

It counts for a model of theirs whatever endpoint is asked afterwards; Chat Completions has none of its own.
"""

from __future__ import annotations

from interpose.formats.codecs import CODECS
from interpose.formats.codecs.codec import Asked, Json, Target, Written
from interpose.ir import Request

from .neutral import Envelope, codec_of, elsewhere

PATH = "/responses/input_tokens"
KEPT = frozenset(
    (
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    )
)


def unwrap(body: Json, asked: Asked) -> tuple[Json, Asked]:
    return body, elsewhere(asked, "/responses")


def wrap(written: Written, request: Request, target: Target) -> Written:
    return Written(PATH, written.body)


SAID = {"object": "response.input_tokens"}
CODEC = codec_of(CODECS["openai-responses"], Envelope(unwrap, wrap, "input_tokens", KEPT, said=SAID))
