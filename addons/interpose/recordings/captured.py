"""Calls that a ledger has captured, as recorded calls."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson

from interpose.call import DEFAULT_PORTS, Headers, Origin, Url
from interpose.ledger.captures import Captured, Part

from .model import OF_WIRE, Answered, Asked, Flaws, Recorded, Sent, Spoken
from .records import moment, recorded


def from_captured(captured: Captured, name: str, flaws: Flaws) -> Recorded | None:
    """The call; None for one of which neither its record nor what was asked is there."""
    for part in captured.parts:
        if part.flaw is not None:
            flaws.add(f"{name}: call {captured.id}, {part.part}: {part.flaw}; shown without it")
    asked, answered = captured.of("asked"), captured.of("answered")
    call: Recorded | None = None
    if captured.record is not None:
        call = recorded(captured.record, f"{name}#{captured.id}")
    elif asked is not None:
        call = Recorded(captured.id, f"{name}#{captured.id}", moment(asked.at), _asked(asked, None), masked=True)
    if call is None:
        return None
    if asked is not None:
        call.asked = _asked(asked, call.asked.url)
    if answered is not None:
        call.answered = _answered(answered, call.answered)
    call.spoken = tuple(sorted((*_spoken(asked, client=True), *_spoken(answered, client=False)), key=_when))
    call.websocket = call.websocket or bool(call.spoken)
    attempts = dict.fromkeys(part.attempt for part in captured.parts if part.attempt)
    call.sent = tuple(_sent(captured, attempt, call) for attempt in attempts)
    call.masked = True
    return call


def _spoken(part: Part | None, *, client: bool) -> Iterator[Spoken]:
    """The messages of one side of a WebSocket: a line of JSON each."""
    if part is None or "websocket" not in part.notes:
        return
    for line in (part.body or b"").splitlines():
        try:
            told = orjson.loads(line)
            at = float(told.get("ms", 0)) / 1000
            if isinstance(text := told.get("text"), str):
                yield Spoken(at, client, text=True, content=text.encode())
            elif isinstance(binary := told.get("binary"), str):
                yield Spoken(at, client, text=False, content=base64.b64decode(binary))
        except (ValueError, TypeError, AttributeError):
            continue  # the last line of a body that was cut


def _when(spoken: Spoken) -> float:
    return spoken.at


def _sent(captured: Captured, attempt: int, call: Recorded) -> Sent:
    sent, received = captured.of("sent", attempt), captured.of("received", attempt)
    return Sent(
        attempt,
        _asked(sent, call.asked.url) if sent is not None else Asked(call.asked.method, call.asked.url, (), None),
        None if received is None else _answered(received, None),
    )


def _asked(part: Part, url: Url | None) -> Asked:
    found = _url(part.url) if part.url else None
    return Asked(
        part.method or "POST",
        found or url or Url(Origin("https", "unknown", 443), "/"),
        _headers(part),
        part.body,
        part.size if part.cut else None,
    )


def _answered(part: Part, known: Answered | None) -> Answered:
    return Answered(
        part.status or (known.status if known is not None else 0),
        _headers(part),
        part.body,
        size=part.size if part.cut else None,
        began=known.began if known is not None else None,
        ended=known.ended if known is not None else None,
        chunks=tuple((when / 1000, count) for when, count in part.timing),
        error=known.error if known is not None else None,
    )


def _headers(part: Part) -> Headers:
    return tuple(
        (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
        for name, value in part.headers
        if name.lower().encode("utf-8", "surrogateescape") not in OF_WIRE
    )


def _url(text: str) -> Url | None:
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname:
        return None
    query = f"?{parts.query}" if parts.query else ""
    return Url(Origin(parts.scheme, parts.hostname, port), (parts.path or "/") + query)
