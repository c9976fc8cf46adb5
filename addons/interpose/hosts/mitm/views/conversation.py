"""The views *Conversation* and *Reassembled*: who said what, and a stream as the one message that it amounts to.

They need nothing but the bodies: what a flow's file holds is enough. Both are read and put into words by
`transcripts`; here is decided for what they are shown first, and how much they may do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mitmproxy import contentviews, http

from interpose.hosts.mitm import remarks
from interpose.transcripts import Material, Transcript, read, render, render_answers
from interpose.transcripts.documents import pretty
from interpose.transcripts.recognising import recognise

from .bounds import left_out, readable, too_much
from .frame import View, is_reply

# A reply is read by the request that it answers, where that is soon read.
MOST_CONTEXT = 256 * 1024
# mitmweb breaks no lines, so that texts are broken here; of long ones that takes too long.
WIDTH = 80
MOST_BROKEN = 256 * 1024
RULE = "─" * WIDTH


class Conversation(View):
    title = "Conversation"
    nothing = "This is no body of an AI call: there is no conversation in it."

    def priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        """First of all for what a codec reads."""
        material = material_of(data, metadata)
        if material is None or not data:
            return -1
        known = recognise(material.method, material.url, format_=material.format, endpoint=material.endpoint)
        return 2 if known.codec is not None else -1

    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None:
        material = material_of(data, metadata)
        if material is None:
            return None
        if (why := too_much(data)) is not None:
            return why
        if is_reply(metadata):
            found = read(material)
            return "\n".join([*notes(found), render_answers(found, width=width_for(data)), *left_out(data)])
        return "\n".join([render(read(material), width=width_for(data)), *left_out(data)])


class Reassembled(View):
    title = "Reassembled"
    nothing = "This is no reply to an AI call: there is nothing to be put together."

    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None:
        material = material_of(data, metadata)
        if material is None or not is_reply(metadata):
            return None
        if (why := too_much(data)) is not None:
            return why
        found = read(material)
        text = "\n".join([*notes(found), render_answers(found, width=width_for(data))])
        if found.whole is None:
            return "\n".join([text, *left_out(data)])
        return "\n".join([text, *left_out(data), RULE, pretty(found.whole)])


def whole(data: bytes, url: str, content_type: str) -> Any:
    """A stream as the JSON message that it amounts to; None for what is no stream, or of no format that is known."""
    if too_much(data) is not None:
        return None
    found = read(
        Material(url=url, status=200, reply=readable(data), reply_headers={"content-type": content_type}),
    )
    return found.whole if found.streamed else None


def material_of(data: bytes, metadata: contentviews.Metadata) -> Material | None:
    """What is known of the call whose body is shown; None where that is no body of a call over HTTP."""
    flow, message = metadata.flow, metadata.http_message
    if not isinstance(flow, http.HTTPFlow) or message is None or flow.websocket is not None:
        return None
    kept = remarks.known(flow)
    record = kept.get("record")
    record = record if isinstance(record, dict) else {}
    known = Material(
        method=flow.request.method,
        url=flow.request.url,
        format=_word(record.get("client_format")),
        endpoint=_word(record.get("endpoint")),
        request_headers=_headers(flow.request),
        request_cut=kept.get("request_cut") is True,
        reply_cut=kept.get("reply_cut") is True,
    )
    shown = readable(data)
    cut = len(shown) < len(data)
    if not isinstance(message, http.Response):
        return replace(known, request=shown, request_cut=known.request_cut or cut)
    return replace(
        known,
        request=_context(flow.request),
        status=message.status_code,
        reply=shown,
        reply_headers=_headers(message),
        reply_cut=known.reply_cut or cut,
    )


def width_for(data: bytes) -> int:
    return WIDTH if len(data) <= MOST_BROKEN else 0


def notes(found: Transcript) -> list[str]:
    told = " · ".join(each for each in (found.format, found.endpoint, found.answered) if each)
    return [told, *(f"note: {remarks.clipped(note, 500)}" for note in found.notes), ""]


def _context(request: http.Request) -> bytes:
    """The request that a reply is read by, where that is soon read."""
    if len(request.raw_content or b"") > MOST_CONTEXT:
        return b""
    body = request.get_content(strict=False) or b""
    return b"" if too_much(body) is not None else readable(body)


def _headers(message: http.Message) -> dict[str, str]:
    """Without a content coding: mitmproxy has taken it off."""
    return {name.lower(): value for name, value in message.headers.items() if name.lower() != "content-encoding"}


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
