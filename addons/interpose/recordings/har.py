"""HAR files: what browsers, API clients and proxies write. http://www.softwareishard.com/blog/har-12-spec/

Read as they come, entry by entry, so that size is no matter; an entry that is no call is told of and left out, and of
a file that breaks off, what came before is used. Bodies stand there decoded, whatever the headers say.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from interpose.call import DEFAULT_PORTS, Headers, Origin, Url, without
from interpose.formats.hosts import canonical_host

from .model import OF_WIRE, Answered, Asked, Flaws, Recorded, Spoken

BOM = b"\xef\xbb\xbf"
# The stages of a call before its answer's head; `ssl` is a part of `connect`.
_BEFORE = ("blocked", "dns", "connect", "send", "wait")


def read(file: BinaryIO, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of a HAR file. `name` is what the file is called; what cannot be read goes to `flaws`."""
    import ijson

    number = unheard = bodiless = 0
    try:
        for number, entry in enumerate(ijson.items(_Bare(file), "log.entries.item", use_float=True), start=1):
            try:
                call = recorded(entry, f"{name}#{number}")
            except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
                said = f"{type(error).__name__}: {error}"[:100]
                flaws.add(f"{name}: left out an entry that is no call: {said}", f"entry {number}")
                continue
            if call.answered is None and not call.websocket:
                unheard += 1
            elif call.answered is not None and call.answered.body is None and call.asked.method != "HEAD":
                bodiless += 1
            yield call
    except ijson.JSONError as error:
        said = str(error).partition("\n")[0].strip()
        flaws.add(f"{name}: breaks off after entry {number} ({said}){'; what came before is used' if number else ''}")
    else:
        if not number:
            flaws.add(f"{name}: has no entries; a HAR file has them in log.entries")
    if bodiless:
        flaws.add(f"{name}: {bodiless} of {number} entries have no reply body: save the HAR with content")
    if unheard:
        flaws.add(f"{name}: {unheard} of {number} entries have no answer")


class _Bare:
    """The file without the byte order mark that some write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if not self._begun and data:
            self._begun = True
            while len(data) < len(BOM) and (more := self._file.read(len(BOM) - len(data))):
                data += more
            if data.startswith(BOM):
                data = data.removeprefix(BOM) or self._file.read(size)
        return data


def recorded(entry: Mapping[str, Any], place: str) -> Recorded:
    """One entry. Raises KeyError, TypeError, ValueError and AttributeError for one that is no call."""
    request, response = entry["request"], entry.get("response") or {}
    timings = entry.get("timings") or {}
    began = sum(max(_number(timings.get(name)), 0.0) for name in _BEFORE) / 1000
    whole = _number(entry.get("time")) / 1000
    ended = max(whole, began + max(_number(timings.get("receive")), 0.0) / 1000)
    started = _moment(entry["startedDateTime"])
    socket = entry.get("_resourceType") == "websocket" or response.get("status") == 101
    return Recorded(
        id=place,
        place=place,
        started_at=started,
        asked=_asked(request),
        answered=_answered(response, began, ended),
        websocket=socket,
        spoken=_spoken(entry.get("_webSocketMessages") or (), started),
        error=response.get("_error") or None,
    )


def _asked(request: Mapping[str, Any]) -> Asked:
    headers = _headers(request.get("headers") or ())
    posted = request.get("postData")
    body: bytes | None = b""
    if posted is not None:
        body = _posted(posted)
        headers = without(headers, OF_WIRE)
    elif _number(request.get("bodySize")) > 0:
        # There was one, and it was left out.
        body = None
    return Asked(str(request["method"]).upper(), _url(request["url"]), headers, body)


def _posted(posted: Mapping[str, Any]) -> bytes | None:
    text = posted.get("text")
    if text is not None:
        if posted.get("encoding") == "base64" or posted.get("_encoding") == "base64":
            return base64.b64decode(text)
        return str(text).encode("utf-8", "surrogatepass")
    if posted.get("params") and "urlencoded" in str(posted.get("mimeType")):
        return urlencode([(pair["name"], pair.get("value") or "") for pair in posted["params"]]).encode()
    return None


def _answered(response: Mapping[str, Any], began: float, ended: float) -> Answered | None:
    status = int(_number(response.get("status")))
    if status < 100:
        return None
    headers = _headers(response.get("headers") or ())
    content = response.get("content") or {}
    text = content.get("text")
    body: bytes | None = None
    if text is not None:
        headers = without(headers, OF_WIRE)
        if content.get("encoding") == "base64":
            body = base64.b64decode(text)
        else:
            body = str(text).encode("utf-8", "surrogatepass")
    elif status in (204, 304) or content.get("size") == 0:
        body = b""
    return Answered(status, headers, body, str(response.get("statusText") or ""), began=began, ended=ended)


def _headers(pairs: Any) -> Headers:
    """Of either notation, without the pseudo headers of HTTP/2, which the URL and the status tell."""
    named = ((pair["name"], pair["value"]) if isinstance(pair, Mapping) else (pair[0], pair[1]) for pair in pairs)
    return tuple((_bytes(name), _bytes(value)) for name, value in named if not str(name).startswith(":"))


def _bytes(text: Any) -> bytes:
    return str(text).encode("utf-8", "surrogatepass")


def _url(text: str) -> Url:
    parts = urlsplit(text)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{text[:100]} is no URL of HTTP")
    origin = Origin(scheme, canonical_host(parts.hostname), parts.port or DEFAULT_PORTS[scheme])
    return Url(origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _spoken(messages: Any, started: float) -> tuple[Spoken, ...]:
    found = []
    for message in messages:
        text = message.get("opcode") != 2
        data = str(message.get("data") or "")
        content = data.encode("utf-8", "surrogatepass") if text else base64.b64decode(data)
        found.append(Spoken(_number(message.get("time")) - started, message.get("type") == "send", text, content))
    return tuple(found)


def _moment(text: str) -> float:
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


def _number(value: Any) -> float:
    """A number that may be left out, or not be one."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
