"""Mistral's error bodies: flat, as OpenAI's inside, or a list of what is wrong with the request, as FastAPI's.

https://docs.mistral.ai/api
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from interpose.errors import ERROR_TYPES
from interpose.formats.codecs.chat import errors
from interpose.formats.codecs.codec import Json
from interpose.ir import Failed


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    failed = errors.read_error(status, headers, body)
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return failed
    details(failed, document)
    return failed


def details(failed: Failed, document: Any) -> None:
    """`detail` on top, or inside of `message`: each with `loc`, `msg` and `type`."""
    if not isinstance(document, dict):
        return
    inner = document.get("message")
    found = document.get("detail") or (inner.get("detail") if isinstance(inner, dict) else None)
    if not isinstance(found, list) or not found or not isinstance(first := found[0], dict):
        return
    if isinstance(said := first.get("msg"), str) and said:
        failed.message = said
    if isinstance(kind := document.get("type") or first.get("type"), str):
        failed.type = kind
    place = first.get("loc")
    if isinstance(place, list) and place:
        failed.param = ".".join(str(step) for step in place if isinstance(step, str | int) and step != "body") or None


def write_error(failed: Failed) -> Json:
    """As its servers answer: flat, with `object` saying what it is."""
    return {
        "object": "error",
        "message": failed.message,
        "type": failed.type or ERROR_TYPES.get(failed.status, "api_error"),
        "param": failed.param,
        "code": failed.code,
        "raw_status_code": errors.status_for(failed.status),
    }
