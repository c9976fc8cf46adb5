"""Bedrock's count-tokens: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html.

What is counted is a body of InvokeModel in base64. Of those, Claude's are read and written here.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from interpose.formats.codecs import CODECS
from interpose.formats.codecs.codec import Asked, Json, Malformed, Target, Written, encoded, loads
from interpose.ir import Request

from . import anthropic
from .neutral import Envelope, codec_of, elsewhere

TOKENS = "inputTokens"
KEPT = anthropic.KEPT | {"anthropic_version", "anthropic_beta"}


def unwrap(body: Json, asked: Asked) -> tuple[Json, Asked]:
    given = body.get("input")
    inside = given.get("invokeModel") if isinstance(given, dict) else None
    packed = inside.get("body") if isinstance(inside, dict) else None
    try:
        found: Any = loads(base64.b64decode(packed or "", validate=True).decode())
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise Malformed("input.invokeModel.body", "it must be a JSON object in base64")
    return found, elsewhere(asked, asked.path.removesuffix("/count-tokens") + "/invoke")


def wrap(written: Written, request: Request, target: Target) -> Written:
    """The body must have a limit, which changes no count."""
    packed = base64.b64encode(encoded({"max_tokens": 1, **written.body})).decode()
    path = f"/model/{quote(target.model, safe=':')}/count-tokens"
    return Written(path, {"input": {"invokeModel": {"body": packed}}})


CLAUDE = codec_of(CODECS["bedrock-anthropic"], Envelope(unwrap, wrap, TOKENS, KEPT))
