"""Which format a call is in: by its URL, as calls are claimed; where that says nothing, by the shape of its bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from interpose.formats import counting, embeddings
from interpose.formats.codecs import CODECS, OF_PROVIDER, Codec
from interpose.formats.dialects import codec_of_client
from interpose.formats.endpoints import Match, classify
from interpose.formats.hosts import GATEWAY, generic_row, known
from interpose.formats.kinds import Kind

# How much of a body is looked at for what gives a format away.
HEAD = 16 * 1024
_BESIDE = {
    "count_tokens": Kind(counting.CLIENTS, counting.PROVIDERS),
    "embeddings": Kind(embeddings.CLIENTS, embeddings.PROVIDERS),
}
_CONVERSATIONS = ("chat", "completions", "other")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a call is. `codec` reads its bodies; None for what is no conversation, or in a shape that nobody knows.
    `path` and `query` are within the format's API, as `codecs.Asked` has them. `guessed` says that the bodies told.
    """

    format: str
    endpoint: str
    wire: str = "none"
    codec: Codec[Any, Any] | None = None
    path: str = ""
    query: str = ""
    model: str = ""
    guessed: bool = False


def recognise(
    method: str, url: str, *, format_: str = "", endpoint: str = "", request: Any = None, reply: bytes = b""
) -> Recognised:
    """`format_` and `endpoint` are what is known already, of a ledger's record say; `request` is the parsed body."""
    match, query = _matched(method, url)
    if match is not None and match.known and (not format_ or match.format == format_):
        codec = _codec(match, method)
        if codec is not None or match.endpoint not in _CONVERSATIONS or match.endpoint == "other":
            return Recognised(match.format, match.endpoint, match.wire, codec, match.api_path, query, match.model or "")
    name = _by_shape(request, reply)
    if not name and format_ and endpoint in ("chat", "completions"):
        name = OF_PROVIDER.get(format_, "")
    if not name:
        told = match.format if match is not None and match.known else ""
        kind = match.endpoint if match is not None and match.known else "other"
        wire = match.wire if match is not None and match.known else "none"
        return Recognised(format_ or told, endpoint or kind, wire, None, urlsplit(url).path, query)
    kind = "completions" if name == "openai-completions" else "chat"
    codec = CODECS[name]
    path = _PATHS.get(name, "")
    return Recognised(format_ or _FORMATS[name], endpoint or kind, codec.wire or name, codec, path, query, guessed=True)


def _matched(method: str, url: str) -> tuple[Match | None, str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        row = known(host) or (generic_row(host, parts.port or 443) if host else GATEWAY)
        query = parts.query
        return classify(row, method, parts.path + (f"?{query}" if query else "")), query
    except ValueError:
        return None, ""


def _codec(match: Match, method: str) -> Codec[Any, Any] | None:
    if (kind := _BESIDE.get(match.endpoint)) is not None:
        return kind.client(match.format, method, match.api_path)
    if method != "POST" or match.endpoint not in _CONVERSATIONS:
        return None
    return CODECS.get(codec_of_client(match.wire, match.model))


_FORMATS: Mapping[str, str] = {
    **{codec: format_ for format_, codec in OF_PROVIDER.items()},
    "openai-completions": "openai",
    "bedrock-anthropic": "bedrock",
    "vertex-anthropic": "anthropic",
}
# Where the formats say in the URL what others say in the body.
_PATHS = {
    "gemini": "/v1beta/models/unknown:generateContent",
    "bedrock-converse": "/model/unknown/converse",
    "bedrock-anthropic": "/model/unknown/invoke",
}
# What gives a reply away, in the first of it, whole or streamed.
_REPLIES = tuple(
    (name, re.compile(pattern.replace(b" ", rb"\s*")))
    for name, pattern in (
        ("openai-responses", rb'"object" : "response"|"type" : "response\.'),
        ("anthropic", rb'"type" : "message(?:_start)?" [,}]'),
        ("cohere", rb'"type" : "message-start"'),
        ("openai-completions", rb'"object" : "text_completion"'),
        ("openai-chat", rb'"object" : "chat\.completion|"choices" : \['),
        ("gemini", rb'"candidates" : \['),
        ("bedrock-converse", rb'"output" : \{ "message" :|:event-type\W+messageStart'),
        ("ollama", rb'"done" : (?:true|false)'),
    )
)


def _has(*keys: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: all(key in body for key in keys)


# What gives a request away, the first that holds.
_REQUESTS: tuple[tuple[str, Callable[[dict[str, Any]], bool]], ...] = (
    ("gemini", lambda body: isinstance(body.get("contents"), list)),
    ("vertex-anthropic", lambda body: "messages" in body and str(body.get("anthropic_version")).startswith("vertex")),
    ("bedrock-anthropic", _has("messages", "anthropic_version")),
    ("bedrock-converse", _has("messages", "inferenceConfig")),
    ("bedrock-converse", _has("messages", "toolConfig")),
    ("anthropic", _has("messages", "system", "max_tokens")),
)


def _by_shape(request: Any, reply: bytes) -> str:
    """The name of the codec of bodies in that shape, "" if they have none."""
    body = request if isinstance(request, dict) else {}
    for name, holds in _REQUESTS:
        if holds(body):
            return name
    if body and not any(key in body for key in ("messages", "input", "prompt", "message")):
        return ""
    head = reply[:HEAD]
    for name, pattern in _REPLIES:
        if pattern.search(head):
            return name
    return "openai-chat" if isinstance(body.get("messages"), list) else ""
