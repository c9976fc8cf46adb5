"""Third stage: is the request well formed? What no provider would take is answered here, before it costs anything.

Only at the gateway, and only where `/openapi.json` says what is expected (`formats.operations`): who is intercepted
speaks to a provider, which is the one to answer. Who calls is known by now, so that a stranger learns nothing but that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from interpose.call import Call, header, upgrades
from interpose.errors import Refusal
from interpose.formats.operations import body_at, methods_at
from interpose.formats.requests import flaw_in
from interpose.wire.error import NotAnObject, TooComplex, TooLarge, WireError
from interpose.wire.jsonedit import BOM, parse

from .content import GATEWAY_LIMIT, plain_body
from .draft import Draft, Stage

MEGABYTES = GATEWAY_LIMIT // (1024 * 1024)
_JSON = re.compile(rb"[a-z]+/(?:[a-z0-9.+-]*[.+-])?json", re.IGNORECASE)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Validity(Stage):
    """Refuses a body that is missing, unreadable, or not what its operation asks for."""

    name = "validity"

    def decide(self, draft: Draft) -> None:
        call = draft.call
        if call.barred is not None:
            raise call.barred
        if not call.at_gateway:
            return
        schema = body_at(call.method, call.url.path)
        if schema is None:
            return
        check_type(call)
        document = draft.document if draft.document is not None else read(call)
        if (flaw := flaw_in(schema, document)) is not None:
            raise Refusal(400, flaw.code, flaw.message, param=flaw.param)
        draft.note(f"the body is a {schema}")


def check_type(call: Call) -> None:
    """Refuses a body that says of itself that it is no JSON. One that says nothing is tried."""
    told = (header(call.headers, b"content-type") or b"").partition(b";")[0].strip()
    if told and not _JSON.fullmatch(told):
        raise Refusal(
            415,
            "unsupported_content_type",
            "Unsupported content type. Send the body as JSON, with Content-Type: application/json.",
            param="Content-Type",
        )


def read(call: Call) -> Mapping[str, object]:
    """The members of the body. Raises Refusal for one that cannot be read."""
    if not isinstance(call.body, bytes):
        raise too_large(f"The body is larger than the {MEGABYTES} MiB that can be read.")
    if not call.body:
        raise Refusal(400, "empty_body", "The body is empty. Send a JSON object.")
    try:
        body = plain_body(call)
    except TooLarge:
        raise too_large(f"Decoded, the body is larger than the {MEGABYTES} MiB that can be read.") from None
    except WireError as error:
        raise Refusal(
            400, "invalid_encoding", f"The body cannot be decoded: {error}.", param="Content-Encoding"
        ) from None
    try:
        return parse(body)
    except TooComplex:
        raise too_large("The body has more values than can be read. Send it in several requests.") from None
    except NotAnObject:
        raise Refusal(400, "invalid_type", "Invalid type for the body: expected a JSON object.") from None
    except WireError as error:
        raise Refusal(400, "invalid_json", f"The body is not valid JSON: {_where(body) or error}.") from None


def too_large(message: str) -> Refusal:
    return Refusal(413, "request_too_large", message)


def _where(body: bytes) -> str | None:
    """What is wrong with it as JSON, and where; None if that is no matter of a place."""
    try:
        orjson.loads(_SURROGATE.sub(rb"\\ufffd", body.removeprefix(BOM)))
    except orjson.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno} (character {error.pos})"
    return None


def check_method(call: Call) -> None:
    """Refuses a method that an operation's path has not; a WebSocket begins with a GET."""
    methods = methods_at(call.url.path)
    if methods and not upgrades(call.headers) and call.method not in methods:
        allowed = ", ".join(methods)
        raise Refusal(
            405,
            "method_not_allowed",
            f"{call.url.path[:100]} takes {allowed} only.",
            headers=((b"allow", allowed.encode()),),
        )
