"""The view *Asked vs sent*: what the client asked beside what went upstream, and, of a reply, what the provider
answered beside what the client was told; with the losses between them. Credentials are masked on both sides.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from mitmproxy import contentviews, http

from interpose.call import Call, Headers, Origin, Peer, Url
from interpose.formats.codecs.codec import parsed
from interpose.hosts.mitm import remarks
from interpose.masking.whole import Known
from interpose.wire.coding import decode
from interpose.wire.error import WireError

from . import usage
from .bounds import MOST_READ, readable, too_much
from .difference import difference, same
from .frame import View, is_reply, table
from .usage import losses, word

# A line of more is shown by its beginning, its length and what tells it from another one.
LONG = 400

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its first line, its headers, its body, and the size of that where only a part of it is there."""

    title: str
    line: str
    headers: Pairs
    body: bytes
    size: int


class AskedVsSent(View):
    """`whole` gives a stream as the message that it amounts to, as JSON; None for what is no stream that it knows."""

    title = "Asked vs sent"
    nothing = "Nothing is known of what became of this: it is no AI call, or it has not come to its end."

    def __init__(self, whole: Callable[[bytes, str, str], object | None] = lambda *_: None) -> None:
        self._whole = whole

    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None:
        flow = metadata.flow
        kept = remarks.known(flow)
        record = kept.get("record")
        if not isinstance(flow, http.HTTPFlow) or not isinstance(record, dict):
            return None
        reply = is_reply(metadata)
        sent, received = (counted(kept, name, record) for name in ("sent", "received"))
        theirs = received if reply else sent
        if theirs is None:
            return "\n".join([unsent(record, reply=reply), *lost(record, reply=reply)])
        ours = answered(flow, data) if reply else asked(flow, data)
        other = came(theirs, data) if reply else went(theirs, data)
        before, after = (other, ours) if reply else (ours, other)
        lines = [*heads(before, after), *by(record, len(listed(kept, "sent")))]
        lines += [*lost(record, reply=reply), ""]
        if theirs.get("body") is None:
            lines.append(f"Body: {after.title} as {before.title}, byte for byte ({before.size:,} bytes)")
        else:
            url = str((sent or {}).get("url", ""))
            places = (url, flow.request.url) if reply else None
            lines += bodies(before, after, lambda: self._wholes(before, after, places))
        lines.append("")
        return "\n".join([*lines, "Headers", *headers(before, after)])

    def _wholes(self, before: Side, after: Side, places: tuple[str, str] | None) -> Sequence[object | None]:
        """Two streams as messages, if that is what they are; `places` are the URLs that they came from."""
        if places is None:
            return ()
        sides = zip((before, after), places, strict=True)
        return [self._whole(side.body, at, kind_of(side)) for side, at in sides]


def listed(kept: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = kept.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def counted(kept: dict[str, Any], name: str, record: dict[str, Any]) -> dict[str, Any] | None:
    """Of several attempts, the one that the client was told of: the one that did not fail, else the last."""
    found = listed(kept, name)
    tried = usage.listed(record, "attempts")
    good = [number for number, each in enumerate(tried, 1) if isinstance(each, dict) and not each.get("reason")]
    return next((each for each in found if each.get("attempt") in good), found[-1] if found else None)


def unsent(record: dict[str, Any], *, reply: bool) -> str:
    how = word(record.get("outcome"))
    if reply:
        return f"No provider has answered; this is interpose's own answer ({how} {word(record.get('status'))})."
    return f"Nothing was sent ({how})."


# --- the two sides ----------------------------------------------------------------------------------------------------


def asked(flow: http.HTTPFlow, data: bytes) -> Side:
    request = flow.request
    known = known_of(flow)
    line = f"{request.method} {known.text(request.url)}"
    return Side("asked", line, pairs(known.headers(request.headers.fields)), data, len(data))


def answered(flow: http.HTTPFlow, data: bytes) -> Side:
    response = flow.response
    assert response is not None
    shown = pairs(known_of(flow).headers(response.headers.fields))
    return Side("answered", f"{response.status_code} {response.reason}".strip(), shown, data, len(data))


def went(entry: dict[str, Any], data: bytes) -> Side:
    line = f"{word(entry.get('method'))} {entry.get('url', '')}"
    return Side("sent", line, kept_pairs(entry), *body_of(entry, data))


def came(entry: dict[str, Any], data: bytes) -> Side:
    return Side("received", word(entry.get("status")), kept_pairs(entry), *body_of(entry, data))


def known_of(flow: http.HTTPFlow) -> Known:
    request = flow.request
    url = Url(Origin(request.scheme, request.host, request.port), request.path)
    return Known(Call(request.method, url, request.headers.fields, b"", Peer("")))


def pairs(headers: Headers) -> Pairs:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def kept_pairs(entry: dict[str, Any]) -> Pairs:
    found = entry.get("headers")
    return [
        (str(pair[0]), str(pair[1]))
        for pair in (found if isinstance(found, list) else ())
        if isinstance(pair, list) and len(pair) == 2
    ]


def body_of(entry: dict[str, Any], data: bytes) -> tuple[bytes, int]:
    """A body that was kept, without its content coding; else it is the flow's own."""
    body = entry.get("body")
    if not isinstance(body, bytes):
        return data, len(data)
    coding = value_of(kept_pairs(entry), "content-encoding")
    if coding and not entry.get("decoded"):
        try:
            body = decode(body, coding, MOST_READ)
        except WireError:
            pass
    size = entry.get("size")
    return body, size if isinstance(size, int) else len(body)


def kind_of(side: Side) -> str:
    return value_of(side.headers, "content-type")


def value_of(headers: Pairs, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


# --- beside each other ------------------------------------------------------------------------------------------------


def heads(before: Side, after: Side) -> Iterator[str]:
    width = max(len(before.title), len(after.title))
    for sign, side in (("-", before), ("+", after)) if before.line != after.line else ((" ", before), (" ", after)):
        yield f"{sign} {side.title:<{width}}  {side.line}"


def by(record: dict[str, Any], sends: int) -> Iterator[str]:
    said = [
        f"{name} {word(record[column])}"
        for name, column in (("route", "route"), ("provider", "provider"), ("credential", "credential"))
        if record.get(column)
    ]
    if said:
        yield f"  {', '.join(said)}"
    if sends > 1:
        yield f"  one of {sends} attempts; see Usage & cost for the others"


def headers(before: Side, after: Side) -> Iterator[str]:
    names = sorted({name.lower() for side in (before, after) for name, _ in side.headers})
    for name in names:
        ours, theirs = ([value for key, value in side.headers if key.lower() == name] for side in (before, after))
        if ours == theirs:
            yield from (f"  {name}: {clip(value)}" for value in ours)
        else:
            yield from (f"- {name}: {clip(value)}" for value in ours)
            yield from (f"+ {name}: {clip(value)}" for value in theirs)


def bodies(before: Side, after: Side, wholes: Callable[[], Sequence[object | None]]) -> Iterator[str]:
    """The bodies, where they differ."""
    yield f"Body: {before.size:,} bytes {before.title}, {after.size:,} bytes {after.title}"
    if any(too_much(side.body) is not None or len(readable(side.body)) < len(side.body) for side in (before, after)):
        yield "  too large to be shown beside each other"
        return
    as_json = wholes()
    if as_json and all(each is not None for each in as_json):
        yield "  (streams, each as the message that it amounts to)"
        ours, theirs = (lines_of(each) for each in as_json)
    else:
        ours, theirs = text_of(before), text_of(after)
    for side in (before, after):
        if side.size > len(side.body):
            yield f"  (of what was {side.title}, {len(side.body):,} bytes are kept)"
    if same(ours, theirs):
        yield "  the same but for blanks"
    else:
        yield from difference(ours, theirs)


def text_of(side: Side) -> list[str]:
    try:
        return lines_of(parsed(side.body))
    except (ValueError, RecursionError):
        return [clip(line) for line in side.body.decode("utf-8", "replace").splitlines()]


def lines_of(document: object) -> list[str]:
    """JSON over as many lines as it has members."""
    try:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # integers beyond 64 bits, halves of characters
        text = json.dumps(document, indent=2, ensure_ascii=False)
    return [clip(line) for line in text.split("\n")]


def clip(line: str) -> str:
    """A line that one can read, and by which two that differ anywhere still differ."""
    if len(line) <= LONG:
        return line
    told = line.strip().removesuffix(",")
    return f"{line[: LONG - 100]}… ({len(told):,} characters, {zlib.crc32(told.encode('utf-8', 'surrogatepass')):08x})"


def lost(record: dict[str, Any], *, reply: bool) -> Iterator[str]:
    """What got lost on the way, in the direction that is shown."""
    found = [row for row in losses(record) if row[1].endswith(" of the reply") == reply]
    if found:
        yield ""
        yield f"Losses ({len(found)})"
        yield from table([(how, path.removesuffix(" of the reply"), why) for how, path, why in found])
