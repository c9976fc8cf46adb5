"""Bedrock's count-tokens: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html.

What is counted is a conversation of Converse, or a body of InvokeModel in base64: of these, Claude's are understood.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from interpose.formats.codecs import CODECS
from interpose.formats.codecs.codec import Asked, Json, Malformed, Target, Written, encoded, loads
from interpose.ir import Request

from . import anthropic
from .neutral import Envelope, codec_of, elsewhere

TOKENS = "inputTokens"
ACTION = "/count-tokens"
CONVERSED = frozenset(("messages", "system", "toolConfig", "additionalModelRequestFields"))
INVOKED = anthropic.KEPT | {"anthropic_version", "anthropic_beta"}


def _input(body: Json) -> Json:
    given = body.get("input")
    if not isinstance(given, dict):
        raise Malformed("input", "it must be an object")
    return given


def unwrap_conversation(body: Json, asked: Asked) -> tuple[Json, Asked]:
    inside = _input(body).get("converse")
    if not isinstance(inside, dict):
        raise Malformed("input.converse", "it must be an object")
    return inside, elsewhere(asked, asked.path.removesuffix(ACTION) + "/converse")


def unwrap_body(body: Json, asked: Asked) -> tuple[Json, Asked]:
    inside = _input(body).get("invokeModel")
    packed = inside.get("body") if isinstance(inside, dict) else None
    try:
        found: Any = loads(base64.b64decode(packed or "", validate=True).decode())
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise Malformed("input.invokeModel.body", "it must be a JSON object in base64")
    return found, elsewhere(asked, asked.path.removesuffix(ACTION) + "/invoke")


def wrap_conversation(written: Written, request: Request, target: Target) -> Written:
    return Written(_path(target), {"input": {"converse": written.body}})


def wrap_body(written: Written, request: Request, target: Target) -> Written:
    """The body must have a limit, which changes no count."""
    packed = base64.b64encode(encoded({"max_tokens": 1, **written.body})).decode()
    return Written(_path(target), {"input": {"invokeModel": {"body": packed}}})


def _path(target: Target) -> str:
    return f"/model/{quote(target.model, safe=':')}{ACTION}"


CONVERSE = codec_of(CODECS["bedrock-converse"], Envelope(unwrap_conversation, wrap_conversation, TOKENS, CONVERSED))
CLAUDE = codec_of(CODECS["bedrock-anthropic"], Envelope(unwrap_body, wrap_body, TOKENS, INVOKED))


def _read_either(body: Json, asked: Asked) -> Request:
    codec = CLAUDE if "invokeModel" in _input(body) and "claude" in asked.path else CONVERSE
    return codec.read_request(body, asked)


# A client's question says itself which of the two it is.
CLIENT = replace(CONVERSE, read_request=_read_either)
