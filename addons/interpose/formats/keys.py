"""The client's keys: where they stand in a request, how they are taken out, and how a provider's key is put in.

Nothing here judges a key (virtual, placeholder, own): that is the `clients` stage. Everything that is not a key stays
byte for byte, in place. The only function that sees a secret is `place`, which returns it inside a header or a query.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Literal
from urllib.parse import quote, unquote

from interpose.call import Header, Headers, Login, Url, header

from .hostnames import HostRow

Placement = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "query-key", "sigv4"]
Where = Literal[
    "bearer", "basic", "authorization", "x-api-key", "x-goog-api-key", "api-key", "query-key", "subprotocol", "sigv4"
]


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key that the client sent. `header` is the raw pair, None for a key in the query.

    `where` equals a `Placement` where a provider's key can stand in the same way; "basic" is the password (or the user
    where the password is empty), "authorization" any other scheme or none, "sigv4" a signature, whose `value` is the
    public access key id.
    """

    value: str = field(repr=False)
    where: Where
    header: Header | None = field(default=None, repr=False)

    @property
    def kind(self) -> Literal["key", "sigv4"]:
        return "sigv4" if self.where == "sigv4" else "key"


_HEADERS: dict[bytes, Where] = {b"x-api-key": "x-api-key", b"x-goog-api-key": "x-goog-api-key", b"api-key": "api-key"}
# The session token belongs to a signature; Proxy-Authorization was meant for us and goes no further.
KEY_HEADERS = frozenset({b"authorization", *_HEADERS})
_STRIPPED = KEY_HEADERS | {b"x-amz-security-token", b"proxy-authorization"}
# Gemini's ?key=, Google's ?access_token= (https://cloud.google.com/apis/docs/system-parameters) and Azure's ?api-key=
# of WebSockets. Names are compared decoded and without case: what is left in would reach another origin.
_QUERY_NAMES = frozenset({"key", "access_token", "api-key"})
# How a browser, which can set no header, sends OpenAI's key: https://platform.openai.com/docs/guides/realtime-websocket
_SUBPROTOCOLS = b"sec-websocket-protocol"
_KEY_PROTOCOL = re.compile(rb"openai-insecure-api-key\.(.+)", re.IGNORECASE)
_ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)")


def client_keys(headers: Headers, url: Url) -> list[ClientKey]:
    """Every key of a request, in order: headers first, then the query. Empty values are no keys."""
    found = []
    for pair in headers:
        name = pair[0].lower()
        if name == b"authorization":
            key = _authorization(pair)
        elif name in _HEADERS:
            key = ClientKey(pair[1].decode("latin-1").strip(), _HEADERS[name], pair)
        elif name == _SUBPROTOCOLS:
            found += [ClientKey(value, "subprotocol", pair) for value in _keys_among_protocols(pair[1])]
            continue
        else:
            continue
        if key.value:
            found.append(key)
    for part in url.query.split("&") if url.query else ():
        if _is_query_key(part):
            value = unquote(part.partition("=")[2])
            if value:
                found.append(ClientKey(value, "query-key"))
    return found


def _keys_among_protocols(value: bytes) -> list[str]:
    offered = (_KEY_PROTOCOL.fullmatch(token.strip()) for token in value.split(b","))
    return [found[1].decode("latin-1") for found in offered if found is not None]


def _without_key_protocols(headers: Headers) -> Headers:
    """The headers without the subprotocols that carry a key; the others are offered as they were."""
    kept: list[Header] = []
    for name, value in headers:
        if name.lower() == _SUBPROTOCOLS and _keys_among_protocols(value):
            tokens = [token for token in value.split(b",") if _KEY_PROTOCOL.fullmatch(token.strip()) is None]
            if not tokens:
                continue
            kept.append((name, b",".join(tokens).strip()))
        else:
            kept.append((name, value))
    return tuple(kept)


def proxy_login(headers: Headers) -> Login | None:
    """What Proxy-Authorization says, if it is one: RFC 9110, 11.7.2."""
    value = header(headers, b"proxy-authorization")
    scheme, _, rest = (value or b"").decode("latin-1").strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return Login(None, rest) if rest else None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if password:
        return Login(user or None, password)
    return Login(None, user) if user else None


def _authorization(pair: Header) -> ClientKey:
    text = pair[1].decode("latin-1").strip()
    scheme, _, rest = text.partition(" ")
    read = _SCHEMES.get(scheme.lower())
    if read is not None:
        return read(rest.strip(), pair)
    # Replicate's "Token r8_…", an unknown scheme, or a bare key: https://replicate.com/docs/reference/http
    return ClientKey(rest.strip() or text, "authorization", pair)


def _bearer(rest: str, pair: Header) -> ClientKey:
    return ClientKey(rest, "bearer", pair)


def _basic(rest: str, pair: Header) -> ClientKey:
    try:
        user, _, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ClientKey(rest, "basic", pair)
    return ClientKey(password or user, "basic", pair)


def _signature(rest: str, pair: Header) -> ClientKey:
    found = _ACCESS_KEY.search(rest)
    return ClientKey(found[1] if found else rest, "sigv4", pair)


# https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
_SCHEMES: dict[str, Callable[[str, Header], ClientKey]] = {
    "bearer": _bearer,
    "basic": _basic,
    "aws4-hmac-sha256": _signature,
    "aws4-ecdsa-p256-sha256": _signature,
}


def _is_query_key(part: str) -> bool:
    name = part.partition("=")[0]
    return (unquote(name) if "%" in name else name).lower() in _QUERY_NAMES


def strip(headers: Headers, url: Url) -> tuple[Headers, Url]:
    """The request without any of the client's keys and without Proxy-Authorization; the rest is byte-identical."""
    kept = tuple(pair for pair in headers if pair[0].lower() not in _STRIPPED)
    return _without_key_protocols(kept), _strip_query(url, "")


def _strip_query(url: Url, first: str) -> Url:
    """The URL without its keys; `first`, if not empty, stands where the first of them stood, else at the end."""
    path, mark, query = url.target.partition("?")
    parts = query.split("&") if query else []
    kept: list[str] = []
    for part in parts:
        if not _is_query_key(part):
            kept.append(part)
        elif first:
            kept.append(first)
            first = ""
    if first:
        kept.append(first)
    if kept == parts:
        return url
    query = "&".join(kept)
    return with_fields(url, target=f"{path}{mark or '?'}{query}" if query else path)


_LINE_BREAKING = re.compile(r"[\x00-\x1f\x7f]")


def place(headers: Headers, url: Url, secret_value: str, placement: Placement) -> tuple[Headers, Url]:
    """The request with this one key and none of the client's.

    It stands where the client's first key header stood, under that header's spelling if it is the same one, else at
    the end. Raises ValueError, which does not repeat the value, for one that no header can carry. A signature is no
    key: `aws.signed` makes it.
    """
    if not secret_value or _LINE_BREAKING.search(secret_value):
        raise ValueError("the credential is empty or holds a control character, which no header can carry")
    if placement == "query-key":
        return strip(headers, url)[0], _strip_query(url, "key=" + quote(secret_value, safe=""))
    name, prefix = _PLACES[placement]
    value = prefix + secret_value.encode()
    out: list[Header] = []
    slot: int | None = None
    for pair in _without_key_protocols(headers):
        lower = pair[0].lower()
        if lower not in _STRIPPED:
            out.append(pair)
        elif slot is None and lower in KEY_HEADERS:
            slot = len(out)
            out.append((pair[0] if lower == name else name, value))
    if slot is None:
        out.append((name, value))
    return tuple(out), _strip_query(url, "")


_PLACES: dict[str, Header] = {
    "bearer": (b"authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
    "api-key": (b"api-key", b""),
}

BY_FORMAT: dict[str, Placement] = {
    "openai": "bearer",
    "openai-responses": "bearer",
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "bedrock": "bearer",
    "cohere": "bearer",
    "mistral": "bearer",
    "ollama": "bearer",
}
# https://learn.microsoft.com/azure/ai-foundry/openai/reference#authentication,
# https://cloud.google.com/vertex-ai/docs/authentication,
# https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html; Claude in Azure takes Anthropic's own header.
_BY_DIALECT: dict[tuple[str | None, str], Placement] = {
    ("azure", "openai"): "api-key",
    ("azure", "openai-responses"): "api-key",
    ("vertex", "anthropic"): "bearer",
    ("vertex", "gemini"): "bearer",
    ("bedrock", "anthropic"): "bearer",
}


def placement(format: str, dialect: str | None, host_row: HostRow | None, found: ClientKey | None) -> Placement:  # noqa: A002  (the contract's name)
    """Where a provider of that format and dialect takes its key.

    `host_row` is the row of the host that the key goes to: it gives the dialect where the rules give none. Raises
    KeyError for a format that is not the contract's.

    Claude's API takes both x-api-key and Bearer, and under anthropic-version 2026-10-21 its SDK sends Bearer: what the
    client used is kept. https://docs.claude.com/en/api/overview#authentication
    """
    if dialect is None and host_row is not None:
        dialect = host_row.dialect
    usual = _BY_DIALECT.get((dialect, format)) or BY_FORMAT[format]
    if usual == "x-api-key" and found is not None and found.where == "bearer":
        return "bearer"
    return usual
