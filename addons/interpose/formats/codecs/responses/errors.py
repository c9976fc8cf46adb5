"""Errors: https://platform.openai.com/docs/guides/error-codes, and as events of a stream:
https://platform.openai.com/docs/api-reference/responses-streaming/error
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from interpose.formats.codecs.codec import Json
from interpose.ir import Failed

SHOWN = 500  # characters of a body that is no JSON

TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
# The codes that a failed response may have: https://platform.openai.com/docs/api-reference/responses/object
STATUSES = {
    "rate_limit_exceeded": 429,
    "invalid_prompt": 400,
    "server_error": 500,
    "vector_store_timeout": 504,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
    "misalignment_policy_violation": 400,
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "server_is_overloaded": 503,
    "slow_down": 503,
}
IMAGE_CODES = frozenset(
    (
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    )
)
FAILED_CODES = IMAGE_CODES | {
    "server_error",
    "rate_limit_exceeded",
    "invalid_prompt",
    "data_residency_mismatch",
    "bio_policy",
    "misalignment_policy_violation",
    "vector_store_timeout",
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    failed = of_json(told, status) if isinstance(told, dict) else None
    if failed is None:
        text = body.decode("utf-8", "replace").strip()
        failed = Failed(text[:SHOWN] or f"the provider answered with status {status}", status)
    failed.retry_after = retry_after(headers)
    return failed


def of_json(told: Json, status: int) -> Failed | None:
    """An error object, in any of the shapes that servers of this format send; None if there is none."""
    error = told.get("error")
    if isinstance(error, dict):
        return _failed(error, status)
    if isinstance(error, str):
        # xAI: {"code": …, "error": "…"}
        return Failed(error, status, code=_text(told, "code"), type=_text(told, "type"), param=_text(told, "param"))
    if isinstance(told.get("message"), str):
        return _failed(told, status)
    detail = told.get("detail")
    if isinstance(detail, str):
        return Failed(detail, status)
    return None


def _failed(error: Json, status: int) -> Failed:
    code = error.get("code")
    return Failed(
        _text(error, "message") or _text(error, "type") or "an error without a message",
        status,
        _text(error, "type"),
        str(code) if type(code) is int else _text(error, "code"),
        _text(error, "param"),
    )


def _text(error: Json, key: str) -> str | None:
    value = error.get(key)
    return value if isinstance(value, str) else None


def of_stream(error: Any) -> Failed:
    """The error of an `error` event or of a failed response: it has no status but what its code says."""
    failed = of_json({"error": error}, 502) if isinstance(error, dict | str) else None
    if failed is None:
        return Failed("the response failed, and no reason was given")
    failed.status = 400 if failed.code in IMAGE_CODES else STATUSES.get(failed.code or "", 502)
    return failed


def retry_after(headers: Mapping[str, str]) -> float | None:
    """In seconds; retry-after-ms comes first, as in OpenAI's own client. A date is left to who has a clock."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 1e7:
            return seconds
    return None


def write_error(failed: Failed) -> Json:
    status = status_for(failed.status)
    kind = failed.type or TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "error": {
            "message": failed.message,
            "type": kind,
            "param": failed.param,
            "code": failed.code or CODES.get(status),
        }
    }


def failed_code(failed: Failed) -> str:
    """The code of a failed response: one of a list, and a client may parse it strictly."""
    if failed.code in FAILED_CODES:
        assert failed.code is not None
        return failed.code
    if failed.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if 400 <= failed.status < 500 else "server_error"


def status_for(status: int) -> int:
    """529 is Anthropic's alone."""
    return 503 if status == 529 else status
