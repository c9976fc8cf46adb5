"""What a request's body holds, for rules that ask: how large it is, and what a conversation brings along.

Read only when a rule asks, and once a call: a conversation is read by its client's codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import orjson

from interpose.call import Call, header, upgrades
from interpose.formats.codecs import CODECS, Asked, Malformed
from interpose.formats.dialects import codec_of_client
from interpose.formats.endpoints import Match
from interpose.ir import Block, Media, Request, ToolResult
from interpose.rules.facts import Brought, Content
from interpose.wire.coding import decode
from interpose.wire.error import TooLarge, WireError

from .metering import estimated_input

# A call's body is whole up to this size, and streams through beyond. One that arrives compressed is
# decoded up to it; of a larger one nothing else is known.
PEEK_LIMIT = 8 * 1024 * 1024
# The same at the gateway; Anthropic takes 32 MB, the largest of all providers.
# https://docs.anthropic.com/en/api/overview#request-size-limits
GATEWAY_LIMIT = 32 * 1024 * 1024
BEYOND = Content(PEEK_LIMIT + 1, estimated_input(PEEK_LIMIT + 1), at_least=True)
_MEDIA: Mapping[str, Brought] = {"image": "images", "document": "documents", "audio": "audio"}


def plain_body(call: Call) -> bytes:
    """The request's body without its content coding. Raises WireError if that is unknown, broken or too large."""
    assert isinstance(call.body, bytes)
    coding = header(call.headers, b"content-encoding")
    if coding is None:
        return call.body
    limit = GATEWAY_LIMIT if call.at_gateway else PEEK_LIMIT
    return decode(call.body, coding.decode("latin-1"), limit)


def reader(call: Call, match: Match) -> Callable[[], Content | None]:
    """What reads the body of that call, once."""

    @cache
    def read() -> Content | None:
        if not isinstance(call.body, bytes):
            if upgrades(call.headers):
                return None
            told = header(call.headers, b"content-length")
            size = int(told) if told is not None and told.isdigit() else None
            # Who does not say how much will come must not seem to send little: it streams since it is more than that.
            return BEYOND if size is None else Content(size, estimated_input(size))
        try:
            body = plain_body(call)
        except TooLarge:
            return BEYOND
        except WireError:
            return Content(len(call.body), estimated_input(len(call.body)))
        request = conversation(call, match, body)
        return Content(
            len(body),
            estimated_input(body),
            brought(request) if request is not None else frozenset(),
            allowed(request) if request is not None else None,
        )

    return read


def conversation(call: Call, match: Match, body: bytes) -> Request | None:
    """What the client asks, as its codec reads it; None for what is no conversation, or is malformed."""
    model_in_url = match.model if match.model_span is not None else None
    codec = CODECS.get(codec_of_client(match.wire, model_in_url)) if match.endpoint in ("chat", "completions") else None
    if codec is None:
        return None
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in call.headers}
    path = match.api_path if match.model_kept or model_in_url is None else call.url.path
    try:
        document = orjson.loads(body)
        return (
            codec.read_request(document, Asked(path, call.url.query, headers)) if isinstance(document, dict) else None
        )
    except (orjson.JSONDecodeError, Malformed):
        return None


def allowed(request: Request) -> int | None:
    """The most output that the client allows. Less than nothing is no limit: some servers take -1 for "any"."""
    most = request.max_tokens
    return None if most is None or most < 0 else most


def brought(request: Request) -> frozenset[Brought]:
    found: set[Brought] = {"tools"} if request.tools else set()
    for message in request.messages:
        found.update(_media(message.blocks))
    return frozenset(found)


def _media(blocks: Iterable[Block]) -> Iterable[Brought]:
    for block in blocks:
        if isinstance(block, Media) and block.kind in _MEDIA:
            yield _MEDIA[block.kind]
        elif isinstance(block, ToolResult):
            yield from _media(block.content)
