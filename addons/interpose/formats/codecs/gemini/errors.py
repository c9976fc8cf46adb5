"""Errors: https://cloud.google.com/apis/design/errors#error_model, with details of google.rpc.*"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Failed

from .spelling import loads

# https://cloud.google.com/apis/design/errors#handling_errors
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES = {word: code for code, word in STATUS.items() if code != 502} | {
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "ALREADY_EXISTS": 409,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
}
_RPC = "type.googleapis.com/google.rpc."
_LONGEST = 500


def error_in(body: Any, status: int | None = None) -> Failed:
    """What an error object says: `{"error": {…}}`, the object alone, or a list of one. Never raises."""
    while type(body) is list and body:
        body = body[0]
    error = body.get("error", body) if type(body) is dict else body
    if type(error) is not dict:
        message = error if type(error) is str and error else "the provider reports an error"
        return Failed(message[:_LONGEST], _status(status, None, None))
    said, word, code = error.get("message"), error.get("status"), error.get("code")
    failed = Failed(said if type(said) is str and said else "the provider reports an error")
    failed.type = word if type(word) is str else None
    failed.status = _status(status, code, failed.type)
    details = error.get("details")
    for detail in details if type(details) is list else ():
        if type(detail) is dict and type(kind := detail.get("@type")) is str:
            _detail(detail, kind.rpartition(".")[2], failed)
    return failed


def _status(status: int | None, code: Any, word: str | None) -> int:
    if status is not None and status >= 400:
        return status
    if type(code) is int and 400 <= code <= 599:
        return code
    return _CODES.get(word or "", 502)


def _detail(detail: Json, kind: str, failed: Failed) -> None:
    """https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto"""
    if kind == "RetryInfo":
        failed.retry_after = seconds(detail.get("retryDelay"))
    elif kind == "ErrorInfo" and type(reason := detail.get("reason")) is str:
        failed.code = reason
    elif kind == "BadRequest" and type(violations := detail.get("fieldViolations")) is list and violations:
        first = violations[0]
        if type(first) is dict and type(field := first.get("field")) is str:
            failed.param = field


def seconds(told: Any) -> float | None:
    """A Duration in protobuf's JSON: "34.4s"."""
    if type(told) is not str or not told.endswith("s"):
        return None
    try:
        value = float(told[:-1])
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    try:
        failed = error_in(loads(body), status)
    except (ValueError, RecursionError):
        text = body[: 4 * _LONGEST].decode("utf-8", "replace").strip()[:_LONGEST]
        failed = Failed(text or f"the provider answered with status {status}", status if status >= 400 else 502)
    if failed.retry_after is None:
        failed.retry_after = _retry_after(headers)
    return failed


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`retry-after-ms` is the finer of the two. A date says nothing without a clock."""
    milliseconds = seconds(headers.get("retry-after-ms", "") + "s")
    return milliseconds / 1000 if milliseconds is not None else seconds(headers.get("retry-after", "") + "s")


def write_error(failed: Failed) -> Json:
    code = status_for(failed.status)
    word = STATUS.get(code, "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
    details: list[Json] = []
    ours = failed.type is None or failed.type in _CODES
    if ours and failed.type is not None:
        word = failed.type
    if failed.code is not None or not ours:
        # A reason is in capitals; the provider's own words are in the metadata.
        told = {"type": failed.type, "code": failed.code, "param": failed.param}
        reason = (failed.code or failed.type or "").upper().replace("-", "_").replace(" ", "_")
        metadata = {} if ours else {key: value for key, value in told.items() if value is not None}
        info: Json = {"@type": f"{_RPC}ErrorInfo", "reason": reason}
        details.append({**info, "metadata": metadata} if metadata else info)
    if failed.param is not None:
        violation = {"field": failed.param, "description": failed.message}
        details.append({"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]})
    if failed.retry_after is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{failed.retry_after:.9g}s"})
    error: Json = {"code": code, "message": failed.message, "status": word}
    if details:
        error["details"] = details
    return {"error": error}


def status_for(status: int) -> int:
    """529 is Anthropic's alone."""
    if status == 529:
        return 503
    return status if 400 <= status <= 599 else 502
