"""Errors: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors

What kind of error it is stands in the header x-amzn-errortype, and in a stream in the frame's headers.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from interpose.formats.codecs.anthropic import errors
from interpose.formats.codecs.anthropic.errors import EXCEPTIONS
from interpose.formats.codecs.codec import encoded
from interpose.ir import Failed
from interpose.wire.eventstream import encode_message

from .names import Json

# A body may tell its kind itself, where no header does, and every SDK of AWS looks there:
# https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
KIND = "__type"
KINDS: Mapping[int, str] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
KNOWN = frozenset(KINDS.values()) | {"ModelNotReadyException", "ExpiredTokenException", "ServiceQuotaExceededException"}
# ModelTimeoutException is none of ConverseStream's.
FRAMES: Mapping[int, str] = {status: kind for kind, status in EXCEPTIONS.items() if status != 408} | {
    408: "internalServerException",
    502: "serviceUnavailableException",
    504: "serviceUnavailableException",
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    """As InvokeModel's, which has the same headers and bodies; and those that tell their kind in the body."""
    failed = errors.read_error(status, headers, body)
    if failed.type is None:
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            return failed
        kind = told.get(KIND) if isinstance(told, dict) else None
        if isinstance(kind, str):
            failed.type = kind.rpartition("#")[2].partition(":")[0]
    return failed


def kind_of(failed: Failed) -> str:
    """Bedrock's own word is kept; any other's is told by the status."""
    if failed.type in KNOWN:
        return failed.type
    unknown = "InternalServerException" if failed.status >= 500 else "ValidationException"
    return KINDS.get(status_for(failed.status), unknown)


def write_error(failed: Failed) -> Json:
    return {"message": failed.message, KIND: kind_of(failed)}


def status_for(status: int) -> int:
    """Anthropic's 529 is unknown to the SDKs of AWS: 503 says the same."""
    return 503 if status == 529 else status


def write_failure(failed: Failed) -> bytes:
    """An exception as a frame, which ends a stream."""
    unknown = "internalServerException" if failed.status >= 500 else "validationException"
    kind = FRAMES.get(status_for(failed.status), unknown)
    if failed.type is not None and failed.type in FRAMES.values():
        kind = failed.type
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_message(headers, encoded({"message": failed.message}))
