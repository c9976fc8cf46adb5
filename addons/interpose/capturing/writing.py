"""What was seen of a call -> its rows in the ledger: decoded, scrubbed, cut, compressed. For a thread: it is slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from interpose.call import Headers, header, header_values
from interpose.ledger.packing import digest_of, stored
from interpose.ledger.record import Capture, Record, utc_text

from .decoding import Plain, plain, spoken
from .onlooker import SLACK, Seen, Side
from .scrubbing import Found, Moved, Secrets, clipped, find, scrubbed

# What a ledger's column of JSON holds, less what stands around it.
MOST_HEADERS = 60_000
MOST_MOMENTS = 2_000
LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Written:
    """The rows, in order; `echoed` are the attempts whose reply told a credential back; `crowded` says that something
    is missing for want of room.
    """

    rows: tuple[Capture, ...]
    echoed: tuple[int, ...]
    crowded: bool


def written(seen: Seen, record: Record, credentials: tuple[str, ...]) -> Written:
    """`credentials` are those of this process, whoever's call it is."""
    assert seen.known is not None
    secrets = Secrets.of(seen.known, credentials, seen.rules.scrub)
    seen.asked.url = seen.known.url(seen.call.url)
    seen.asked.headers = seen.known.headers(seen.call.headers)
    began = datetime.fromisoformat(record.started_at).timestamp()
    agreed = b""
    if seen.session and seen.answered is not None:
        agreed = b",".join(header_values(seen.answered.headers, b"sec-websocket-extensions"))
    finder = _Finder(secrets)
    known: set[str] = set()
    rows = [_row(seen, side, finder, began, agreed, known) for side in seen.sides()]
    echoed = [row.attempt for row in rows if row.part == "received" and '"credential"' in row.notes]
    crowded = any(side.pieces.crowded for side in seen.sides())
    return Written(tuple(rows), tuple(echoed), crowded)


class _Finder:
    """Looks once at a body that several parts have."""

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets
        self._last: list[tuple[bytes, bool, Found]] = []

    def find(self, data: bytes, *, streamed: bool) -> Found:
        for seen, how, found in self._last:
            if how == streamed and seen == data:
                return found
        found = find(data, self.secrets, streamed=streamed)
        self._last.append((data, streamed, found))
        return found

    def texts(self, texts: Sequence[bytes]) -> tuple[list[str], tuple[str, ...]]:
        """Values of headers or a URL, and what stood there."""
        data = b"\n".join(texts)
        found = find(data, self.secrets, ends=False)
        told = scrubbed(data, found.spans).split(b"\n")
        if len(told) != len(texts):
            # A pattern has matched across them.
            told = [scrubbed(each, find(each, self.secrets, ends=False).spans) for each in texts]
        return [each.decode("utf-8", "replace") for each in told], found.words


def _row(seen: Seen, side: Side, finder: _Finder, began: float, agreed: bytes, known: set[str]) -> Capture:
    limit = seen.rules.body_limit
    data = _plain(seen, side, agreed, limit + SLACK)
    session = seen.session and side.pieces.size > 0
    found = finder.find(data.data, streamed=session or side.part in ("received", "answered"))
    spans = clipped(found.spans, limit)
    body = scrubbed(data.data[:limit], spans)
    moved = Moved(spans)
    words = dict.fromkeys(found.words)
    headers, in_headers = _headers(side.headers, finder)
    urls, in_url = finder.texts([] if side.url is None else [side.url.encode("utf-8", "surrogateescape")])
    words |= dict.fromkeys((*in_headers, *in_url))
    notes = {
        "cut": not side.pieces.crowded and not data.undecodable and (not data.whole or len(data.data) > limit),
        "gap": side.pieces.crowded,
        "undecodable": data.undecodable,
        "websocket": session,
    }
    digest = digest_of(body)
    encoding, kept = ("", None) if digest in known else stored(body)
    known.add(digest)
    return Capture(
        id=seen.id,
        at=utc_text(began + side.began / 1000),
        part=side.part,
        attempt=side.attempt,
        method=side.method,
        url=urls[0] if side.url is not None else None,
        status=side.status,
        headers=headers,
        media_type=LINES if session else _media_type(side.headers),
        size=side.pieces.size,
        kept=len(body),
        digest=digest,
        encoding=encoding,
        timing=_timing(data, moved, limit, len(body)),
        notes=orjson.dumps([*(word for word, holds in notes.items() if holds), *words]).decode(),
        body=kept,
    )


def _plain(seen: Seen, side: Side, agreed: bytes, limit: int) -> Plain:
    pieces = side.pieces
    if seen.session:
        client = side.part in ("asked", "sent")
        return spoken(pieces.chunks, pieces.moments, pieces.size, agreed, limit, client=client)
    coding = ", ".join(value.decode("latin-1") for value in header_values(side.headers, b"content-encoding"))
    return plain(pieces.chunks, pieces.moments, pieces.size, coding, limit)


def _headers(headers: Headers, finder: _Finder) -> tuple[str, tuple[str, ...]]:
    """As JSON; they were masked before, and are looked through again, for all spellings."""
    told: list[tuple[str, str]] = []
    left = MOST_HEADERS
    texts, words = finder.texts([value for _, value in headers])
    for (name, _), text in zip(headers, texts, strict=False):
        told.append((name.decode("latin-1"), text))
        # As much as a character may take in JSON.
        left -= 6 * (len(name) + len(text)) + 8
        if left < 0:
            told[-1] = ("…", f"{len(headers) - len(told) + 1} more")
            break
    return orjson.dumps(told).decode(), words


def _media_type(headers: Headers) -> str | None:
    value = header(headers, b"content-type")
    return value.partition(b";")[0].strip().lower().decode("latin-1") if value is not None else None


def _timing(data: Plain, moved: Moved, limit: int, size: int) -> str:
    """[[milliseconds, bytes of the kept body], …]"""
    told: list[tuple[float, int]] = []
    at = 0
    for ms, end in data.moments:
        place = size if end >= min(limit, len(data.data)) else moved.at(end)
        if place > at:
            told.append((round(ms, 3), place - at))
            at = place
    return orjson.dumps(told[:MOST_MOMENTS]).decode()
