"""Cohere's error bodies: https://docs.cohere.com/reference/errors"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from interpose.formats.codecs.chat import errors
from interpose.formats.codecs.codec import Json
from interpose.ir import Failed


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    failed = errors.read_error(status, headers, body)
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return failed
    _name(failed, document)
    return failed


def _name(failed: Failed, document: Any) -> None:
    """What it is, where it says more than a message: TOO_MANY_TOKENS and the like."""
    kind = document.get("error_type") if isinstance(document, dict) else None
    if isinstance(kind, str) and kind:
        failed.type = failed.type or kind


def failed_of(document: Json, status: int = 502) -> Failed:
    """An error in a stream."""
    failed = errors.failed_of(document, status)
    _name(failed, document)
    return failed


def write_error(failed: Failed) -> Json:
    """A message is all that its clients look for."""
    return {"message": failed.message or "the model failed to answer"}
