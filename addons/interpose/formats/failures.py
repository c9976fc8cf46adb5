"""Refusals in each format's own words: the JSON error body, and the event that ends a stream with an error.

One row per contract name. Truthful in the client's own terms, so that its SDK raises the exception it would raise for
the provider; nothing here decides what is refused.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interpose.call import Headers
from interpose.errors import Refusal

from .keys import BY_FORMAT, Placement

JSON_TYPE = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """A reply to send with `Refusal.status`: `headers` holds its content type and what the format adds to it."""

    body: bytes
    headers: Headers = JSON_TYPE


@dataclass(frozen=True, slots=True)
class Format:
    """A wire format: `error` renders a refusal as a reply, `stream_error` as the bytes that end a running stream.

    `stream_error` may follow any number of whole events; for SSE it also ends an event that was left open. It brings
    no end marker ([DONE], message_stop): success is never invented. `placement` is where its providers take a key.
    """

    name: str
    error: Callable[[Refusal], ErrorBody]
    stream_error: Callable[[Refusal], bytes]
    placement: Placement


def _json(value: object) -> bytes:
    # "replace": a lone surrogate, which hostile input can bring into a message, becomes "?".
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _sse(value: object, event: bytes = b"") -> bytes:
    # The blank line in front ends an event that was cut off, lest ours be joined to it.
    return b"\n\n" + (b"event: " + event + b"\n" if event else b"") + b"data: " + _json(value) + b"\n\n"


def _openai(refusal: Refusal) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/error-codes"""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.type,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def _openai_stream(refusal: Refusal) -> bytes:
    return _sse(_openai(refusal))


def _responses_stream(refusal: Refusal) -> bytes:
    """An `error` event: https://platform.openai.com/docs/api-reference/responses-streaming/error

    The documented fields are flat, but the SDK raises only for a nested object, as OpenAI itself sends: both are here.
    """
    flat = {"code": refusal.code, "message": refusal.message, "param": refusal.param}
    return _sse({"type": "error", **flat, **_openai(refusal)}, b"error")


# https://docs.claude.com/en/api/errors
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _anthropic(refusal: Refusal) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": None}


# https://cloud.google.com/apis/design/errors#handling_errors
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _gemini(refusal: Refusal) -> dict[str, Any]:
    status = _GOOGLE_STATUS.get(refusal.status, "INTERNAL" if refusal.status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": refusal.status, "message": refusal.message, "status": status}}


# Names and status codes of the service's model, where a status has none the nearest that clients treat alike:
# https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
_BEDROCK_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


def bedrock_type(status: int) -> str:
    """Which of Bedrock's exceptions has that status."""
    return _BEDROCK_TYPES.get(status, "InternalServerException" if status >= 500 else "ValidationException")


def _bedrock(refusal: Refusal) -> ErrorBody:
    name = (b"x-amzn-errortype", bedrock_type(refusal.status).encode())
    return ErrorBody(_json({"message": refusal.message}), (*JSON_TYPE, name))


def _bedrock_stream(refusal: Refusal) -> bytes:
    """An exception frame: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the framing)

    Exception names in a stream begin with a small letter: "throttlingException".
    """
    name = bedrock_type(refusal.status)
    headers = b"".join(
        bytes((len(key),)) + key + b"\x07" + struct.pack(">H", len(value)) + value
        for key, value in (
            (b":exception-type", (name[0].lower() + name[1:]).encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"exception"),
        )
    )
    payload = _json({"message": refusal.message})
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _cohere(refusal: Refusal) -> dict[str, Any]:
    """https://docs.cohere.com/reference/errors"""
    return {"message": refusal.message}


def _cohere_stream(refusal: Refusal) -> bytes:
    """Chat v2 says it in its last event: https://docs.cohere.com/reference/chat-stream"""
    delta = {"finish_reason": "ERROR", "error": refusal.message}
    return _sse({"type": "message-end", "delta": delta}, b"message-end")


def _mistral(refusal: Refusal) -> dict[str, Any]:
    """https://docs.mistral.ai/api, as its servers answer: flat, with "object" saying what it is."""
    flat = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return {"object": "error", **flat, "raw_status_code": refusal.status}


def _ollama(refusal: Refusal) -> dict[str, Any]:
    """https://docs.ollama.com/api/errors"""
    return {"error": refusal.message}


def _body(render: Callable[[Refusal], dict[str, Any]]) -> Callable[[Refusal], ErrorBody]:
    return lambda refusal: ErrorBody(_json(render(refusal)))


_RENDERERS: dict[str, tuple[Callable[[Refusal], ErrorBody], Callable[[Refusal], bytes]]] = {
    "openai": (_body(_openai), _openai_stream),
    "openai-responses": (_body(_openai), _responses_stream),
    "anthropic": (_body(_anthropic), lambda refusal: _sse(_anthropic(refusal), b"error")),
    "gemini": (_body(_gemini), lambda refusal: _sse(_gemini(refusal))),
    "bedrock": (_bedrock, _bedrock_stream),
    "cohere": (_body(_cohere), _cohere_stream),
    "mistral": (_body(_mistral), lambda refusal: _sse(_mistral(refusal))),
    # No empty line in front: Ollama's own client parses every line.
    "ollama": (_body(_ollama), lambda refusal: _json(_ollama(refusal)) + b"\n"),
}
FORMAT_ROWS = tuple(Format(name, *renderers, BY_FORMAT[name]) for name, renderers in _RENDERERS.items())
