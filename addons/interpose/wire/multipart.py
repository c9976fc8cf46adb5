"""Where a form field's value stands in a multipart body; for reading it and for replacing it in place.

Nothing is decoded or copied: a form with a 25 MB file in it is walked from delimiter to delimiter.
https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

import re

# No form of an AI API has so many parts; a body that does is not walked to its end.
MAX_PARTS = 256
_BOUNDARY = re.compile(rb"""boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE)
_NAME = re.compile(rb"""[;\s]name=(?:"([^"]*)"|([^\s;"]+))""", re.IGNORECASE)


def field_spans(body: bytes, content_type: bytes, name: bytes) -> list[tuple[int, int]]:
    """The span of the value of every field of that name that is no file; empty if the body is no such form."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or not content_type.lower().lstrip().startswith(b"multipart/"):
        return []
    delimiter = b"--" + (boundary[1] or boundary[2])
    spans: list[tuple[int, int]] = []
    at = body.find(delimiter)
    for _ in range(MAX_PARTS):
        if at < 0:
            break
        start = at + len(delimiter)
        end = body.find(b"\r\n" + delimiter, start)
        if end < 0:
            break
        head_end = body.find(b"\r\n\r\n", start, end)
        if head_end >= 0:
            head = body[start:head_end]
            named = _NAME.search(head)
            if named is not None and (named[1] or named[2]) == name and b"filename" not in head.lower():
                spans.append((head_end + 4, end))
        at = end + 2
    return spans


def replace_field(body: bytes, content_type: bytes, name: bytes, value: bytes) -> bytes | None:
    """The body with that value in the place of every such field's; None if there is none."""
    spans = field_spans(body, content_type, name)
    if not spans:
        return None
    for start, end in reversed(spans):
        body = body[:start] + value + body[end:]
    return body
