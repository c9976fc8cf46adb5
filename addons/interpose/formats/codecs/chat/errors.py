"""Error bodies of OpenAI and of the servers compatible with it, read and written.

https://platform.openai.com/docs/guides/error-codes. Compatible servers write them flat, as text, in a list, or as
FastAPI does; every one of these is read, OpenAI's is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from interpose.errors import ERROR_TYPES
from interpose.formats.codecs.codec import Json
from interpose.ir import Failed

SHORTENED = 500


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    failed = Failed("", status, retry_after=retry_after(headers))
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        text = body[: SHORTENED * 4].decode("utf-8", "replace").strip()
        failed.message = text[:SHORTENED] or f"the provider answered with status {status} and no body"
        return failed
    fill(failed, document)
    return failed


def fill(failed: Failed, document: Any) -> None:
    """Message, type, code and param of an error object, wherever a server puts it."""
    if isinstance(document, list) and document:
        # Gemini's OpenAI endpoint: https://ai.google.dev/gemini-api/docs/openai
        document = document[0]
    error = document
    if isinstance(document, dict):
        error = next((document[key] for key in ("error", "detail", "message") if document.get(key)), None)
        if isinstance(error, str):
            document = {**document, "message": error}
            error = document
    if isinstance(error, dict):
        failed.message = _text(error.get("message")) or failed.message
        failed.type = _text(error.get("type")) or _text(error.get("status"))
        failed.code = _text(error.get("code"))
        failed.param = _text(error.get("param"))
    elif isinstance(error, list) and error:
        # FastAPI's, of vLLM and others: {"detail": [{"loc", "msg", "type"}]}
        first = error[0]
        failed.message = _text(first.get("msg") if isinstance(first, dict) else first) or ""
    elif isinstance(error, str):
        failed.message = error
    failed.message = failed.message or shortened(document)


def shortened(document: Any) -> str:
    try:
        return orjson.dumps(document)[:SHORTENED].decode("utf-8", "replace")
    except TypeError:
        return "the provider's error could not be read"


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int and value.bit_length() < 64 else None


def failed_of(document: Any, status: int = 502) -> Failed:
    """An error object in a stream, or in a reply with status 200; a code that is an HTTP status is taken for it."""
    failed = Failed("", status)
    fill(failed, document)
    if failed.code is not None and failed.code.isdecimal() and 400 <= int(failed.code[:4]) < 600:
        failed.status = int(failed.code)
    return failed


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds: `retry-after-ms` first, as OpenAI's SDKs have it; a date is not read, for there is no clock here."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    return None


def write_error(failed: Failed) -> Json:
    return {
        "error": {
            "message": failed.message,
            "type": failed.type or ERROR_TYPES.get(failed.status, "api_error"),
            "param": failed.param,
            "code": failed.code,
        }
    }


def status_for(status: int) -> int:
    """Anthropic's 529 is unknown to OpenAI's clients: 503 says the same."""
    return 503 if status == 529 else status
