"""The question that `interpose explain` is asked, as a call: what an application would send, and who it would be."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from interpose.call import DEFAULT_PORTS, Call, Entrance, Headers, Origin, Peer, Url
from interpose.errors import InterposeError
from interpose.formats.codecs.codec import encoded, parsed
from interpose.formats.endpoints import Match, classify
from interpose.formats.examples import example
from interpose.formats.hosts import GATEWAY, HostRow, canonical_host
from interpose.issued import Keys
from interpose.rules.compiled import ClientKey, Rules
from interpose.rules.problem import did_you_mean, printable
from interpose.stages.claim import Territory
from interpose.state import state_path

from .terminal import refuse

# Of the clients that there are, so many are named.
SOME = 10


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for on the command line."""

    rules: Path
    url: str
    model: str | None
    headers: Sequence[str]
    request: Path | None
    client: str | None
    method: str | None
    format: str
    state: Path | None


def asked_call(rules: Rules, question: Question) -> tuple[Call, HostRow | None]:
    """The call, and the row of the host table that claims it; None if none does. One that names a path and no host is
    a call at the gateway.
    """
    at_gateway = question.url.startswith("/")
    url = _url(f"http://{GATEWAY.pattern}{question.url}" if at_gateway else question.url)
    row = GATEWAY if at_gateway else Territory(rules).row(url.origin.host, url.origin.port)
    match = classify(row, question.method or "POST", url.target) if row is not None else None
    if match is not None and not match.known and question.method is None and question.request is None:
        # What is no POST may be a list: GET /v1/models.
        match = classify(row, "GET", url.target) if row is not None else None
        method = "GET" if match is not None and match.known else "POST"
    else:
        method = question.method or "POST"
    body = b"" if method == "GET" else _body(question, match)
    host = url.origin.host if DEFAULT_PORTS.get(url.origin.scheme) == url.origin.port else _with_port(url.origin)
    headers = ((b"host", host.encode()), *_headers(question.headers))
    if body and not any(name.lower() == b"content-type" for name, _ in headers):
        headers = (*headers, (b"content-type", b"application/json"))
    if at_gateway:
        return Call(method, url, headers, body, Peer("127.0.0.1"), Entrance.GATEWAY), row
    entrance = Entrance.GATEWAY if url.origin.host == rules.intercept.virtual_host else Entrance.INTERCEPT
    return Call(method, url, headers, body, Peer("127.0.0.1"), entrance, sni=url.origin.host), row


def asked_client(rules: Rules, question: Question) -> ClientKey | None:
    """Whom the call is to come from: a client of the rules, or one that a key was issued to."""
    if question.client is None:
        return None
    known = {key.name: key for key in rules.clients.keys}
    keys = Keys(state_path(question.state, os.environ), timer=time.monotonic)
    try:
        if (listed := known.get(question.client)) is not None:
            return replace(listed, revoked=keys.revoked(listed))
        if (key := keys.named(question.client)) is not None:
            return key
        names = [*known, *(key.name for key in keys.list() if key.revoked_at is None)]
    finally:
        keys.close()
    some = f"there are {', '.join(names[:SOME])}" + (" and others" if len(names) > SOME else "")
    hint = did_you_mean(question.client, names) or (some if names else "there are none")
    return refuse(
        f"--client {printable(question.client)} is no client of the rules, and no key was issued to it; {hint}"
    )


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError
        origin = Origin(parts.scheme, canonical_host(parts.hostname), parts.port or DEFAULT_PORTS[parts.scheme])
    except ValueError:
        refuse(f"--url {printable(text)} is no URL; write for example https://api.openai.com/v1/chat/completions")
    return Url(origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _with_port(origin: Origin) -> str:
    return str(origin).partition("://")[2]


def _headers(given: Sequence[str]) -> Headers:
    pairs = []
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            refuse(f"--header {printable(name)} has no colon; write for example --header 'x-team: research'")
        pairs.append((name.strip().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")))
    return tuple(pairs)


def _body(question: Question, match: Match | None) -> bytes:
    """The request's body: the file's, with the model if one is named; without a file, an example of one word."""
    if question.request is not None:
        try:
            data = sys.stdin.buffer.read() if str(question.request) == "-" else question.request.read_bytes()
        except OSError as error:
            raise InterposeError(f"{question.request}: {error.strerror or error}") from error
        if question.model is None:
            return data
        try:
            document = parsed(data)
        except ValueError as error:
            raise InterposeError(f"{question.request}: it is not JSON, so no model can be put in: {error}") from None
        return encoded({**document, "model": question.model}) if isinstance(document, dict) else data
    return example(match, question.model)
