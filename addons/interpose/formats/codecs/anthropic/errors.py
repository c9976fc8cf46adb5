"""Errors: https://platform.claude.com/docs/en/api/errors, and those of the clouds around Claude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from interpose.ir import Failed

from .names import Json

STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
TYPES: Mapping[int, str] = {status: kind for kind, status in STATUSES.items()} | {503: "overloaded_error"}
# Of an event stream: the exceptions of ResponseStream in botocore's model of bedrock-runtime.
EXCEPTIONS: Mapping[str, int] = {
    "internalServerException": 500,
    "modelStreamErrorException": 424,
    "validationException": 400,
    "throttlingException": 429,
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
}
SHORT = 1000


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    try:
        told: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    if isinstance(told, list) and told:  # Google's, now and then
        told = told[0]
    message, kind, code = None, None, None
    if isinstance(told, dict):
        error = told.get("error")
        if isinstance(error, dict):
            # Google's has the status' name where Anthropic's has the type.
            message, kind = _text(error, "message"), _text(error, "type") or _text(error, "status")
        else:
            message = _text(told, "message") or _text(told, "Message") or (error if isinstance(error, str) else None)
    # Bedrock's type: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
    if kind is None and (named := headers.get("x-amzn-errortype")):
        kind = named.partition(":")[0]
    if message is None:
        message = body[:SHORT].decode("utf-8", "replace").strip() or f"The provider answered with status {status}."
    return Failed(message, status, kind, code, None, retry_after(headers))


def _text(node: Json, key: str) -> str | None:
    value = node.get(key)
    return value if isinstance(value, str) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """In seconds: `retry-after-ms` first, for it is the more precise. A date is not read, for that takes a clock."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def type_of(failed: Failed) -> str:
    """Anthropic's own word is kept; any other's is told by the status."""
    if failed.type is not None and failed.type in STATUSES:
        return failed.type
    return TYPES.get(failed.status, "api_error" if failed.status >= 500 else "invalid_request_error")


def write_error(failed: Failed) -> Json:
    return {"type": "error", "error": {"type": type_of(failed), "message": failed.message}, "request_id": None}


def failed_event(event: Json) -> Failed:
    """An `error` event in mid-stream."""
    error = event.get("error")
    if not isinstance(error, dict):
        return Failed(error if isinstance(error, str) else "The provider's stream ended in an error.")
    kind = _text(error, "type")
    message = _text(error, "message") or "The provider's stream ended in an error."
    return Failed(message, STATUSES.get(kind or "", 502), kind)
