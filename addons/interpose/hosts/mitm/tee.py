"""A bounded copy of a body that streams past, for whoever looks at the flow: what is shown may be cut, and credentials
that an upstream has said back are masked in it; what is sent never is.
"""

from __future__ import annotations

import re

from mitmproxy import http

from interpose.masking import torn
from interpose.secret import Scrubber
from interpose.wire.coding import decoder
from interpose.wire.error import WireError

# As much of a compressed body is decoded to look for credentials in it, and no more of it is shown then.
DECODED = 32 * 1024 * 1024
# Of these the events are lines of text: SSE, lines of JSON, Gemini's array.
STREAMED = re.compile("event-stream|json")


class Tee:
    """The first `limit` bytes of a body; `size` counts all of it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if room := self.limit - len(self._kept):
            self._kept += data[:room]

    @property
    def cut(self) -> bool:
        """Whether there was more than is kept."""
        return self.size > len(self._kept)

    def content(self) -> bytes:
        return bytes(self._kept)


def show(response: http.Response, copy: Tee, scrubber: Scrubber) -> None:
    """Puts a copy of a body into a flow, without the credentials that an upstream may have said in it."""
    body = copy.content()
    if (clean := masked(body, response.headers, scrubber, cut=copy.cut)) is not None:
        response.headers.pop("content-encoding", None)
        body = clean
    response.data.content = body


def masked(body: bytes, headers: http.Headers, scrubber: Scrubber, *, cut: bool = False) -> bytes | None:
    """The body, decoded, with every credential in it masked; None if it can be shown as it is.

    `cut` says that it ends early, which may be in the midst of a credential.
    """
    plain, whole = body, True
    reader = decoder(headers.get("content-encoding"), limit=DECODED)
    if reader is not None:
        pieces: list[bytes] = []
        try:
            pieces.extend(reader.feed_pieces(body))
        except WireError:
            # Broken, or larger than anybody looks at: what has been read so far is shown in its place.
            whole = False
        plain = b"".join(pieces)
    clean = scrubber.scrub_bytes(plain, cut=cut)
    if STREAMED.search(headers.get("content-type") or ""):
        # Views and exports put together what a stream says in pieces.
        clean = torn.masked(clean, torn.literally(scrubber.values))
    return None if clean == plain and whole else clean
