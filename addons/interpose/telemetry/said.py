"""What was heard of a call -> what its event tells of it: decoded, scrubbed, read, cut. For a thread: it is slow.

Bodies are scrubbed as the ledger's are, so that a pattern of the rules finds what it finds there, and each text once
more when it is put together: what a stream has torn apart, or a frame has in base64, is whole then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from interpose.call import Headers, header, header_values
from interpose.capturing.decoding import plain
from interpose.capturing.onlooker import SLACK
from interpose.capturing.pieces import Pieces
from interpose.capturing.scrubbing import Secrets, clipped, find, scrubbed
from interpose.ledger.record import Record
from interpose.transcripts import Material, read

from .heard import LARGEST, Heard
from .messages import NOTES, Content, content
from .outbox import COMPLAIN_EVERY

logger = logging.getLogger(__name__)

# A change within a frame of it would break the frame.
_FRAMED = b"application/vnd.amazon.eventstream"


class Reader:
    """For one thread. `credentials` gives those of this process."""

    def __init__(self, credentials: Callable[[], tuple[str, ...]], timer: Callable[[], float]) -> None:
        self._credentials = credentials
        self._timer = timer
        self._left_out = 0
        self._complained = float("-inf")
        self._failed = False

    def read(self, heard: Heard, record: Record, *, hurried: bool) -> Mapping[str, Any]:
        """What was said, as attributes; none of it where there is no time (`hurried`), or was no room. Never raises."""
        heard.end()
        if hurried or heard.crowded:
            self._leave_out()
            return _nothing("there was no room")
        try:
            return _said(heard, record, self._credentials())
        except Exception as error:  # noqa: BLE001 - a stranger's bodies: the call is told all the same
            if not self._failed:
                self._failed = True
                # Not its message, which may quote what was said.
                logger.error("what was said in a call cannot be told (%s); this is said once", type(error).__name__)
            return _nothing("it could not be read")

    def _leave_out(self) -> None:
        self._left_out += 1
        now = self._timer()
        if now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            logger.warning(
                "telemetry: calls come faster than what is said in them can be told: it is left out of %d events so "
                "far, which say so; all else is told",
                self._left_out,
            )


def _nothing(why: str) -> dict[str, Any]:
    return {NOTES: [f"left out: {why}"]}


def _said(heard: Heard, record: Record, credentials: tuple[str, ...]) -> dict[str, Any]:
    assert heard.known is not None
    if heard.status == 101:
        return _nothing("it was said over a WebSocket")
    secrets = Secrets.of(heard.known, credentials, heard.scrub)
    found = Content()
    request, request_cut = _body(heard.asked, heard.asking, secrets, "request", found.notes)
    reply, reply_cut = _body(heard.answered_with, heard.headers, secrets, "reply", found.notes)
    transcript = read(
        Material(
            method=heard.method,
            url=heard.known.url(heard.url),
            format=record.client_format or "",
            endpoint=record.endpoint,
            request=request,
            request_headers=_named(heard.known.headers(heard.asking)),
            request_cut=request_cut,
            status=heard.status,
            reply=reply,
            reply_headers=_named(heard.headers),
            reply_cut=reply_cut or record.outcome == "aborted",
        )
    )
    told = content(transcript, record.outcome, partial(_clean, secrets=secrets), heard.known.text)
    told.notes = [*found.notes, *told.notes]
    return told.told()


def _body(pieces: Pieces, headers: Headers, secrets: Secrets, what: str, notes: list[str]) -> tuple[bytes, bool]:
    """A body without its coding and without secrets, and whether it is less than all of it."""
    coding = ", ".join(value.decode("latin-1") for value in header_values(headers, b"content-encoding"))
    data = plain(pieces.chunks, pieces.moments, pieces.size, coding, LARGEST + SLACK)
    if data.undecodable:
        notes.append(f"the {what} could not be decoded to its end")
    whole = data.data
    if (header(headers, b"content-type") or b"").lower().startswith(_FRAMED):
        return whole[:LARGEST], not data.whole or len(whole) > LARGEST
    spans = clipped(find(whole, secrets, streamed=what == "reply").spans, LARGEST)
    return scrubbed(whole[:LARGEST], spans), not data.whole or len(whole) > LARGEST


def _clean(text: str, *, secrets: Secrets) -> str:
    data = text.encode("utf-8", "backslashreplace")
    found = find(data, secrets)
    return scrubbed(data, found.spans).decode("utf-8", "replace")


def _named(headers: Headers) -> Mapping[str, str]:
    # What it was coded in is undone.
    return {
        name.decode("latin-1").lower(): value.decode("utf-8", "replace")
        for name, value in headers
        if name.lower() != b"content-encoding"
    }
