"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses, and servers after its open description,
https://www.openresponses.org. It is the only format in which a turn is a list of items.

`names` what all agree on · `parts`, `items`, `turns` blocks and items · `requests`, `writing` requests ·
`replies` · `reader`, `writer`, `output` streams · `errors`
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests, writing
from .names import NAME
from .reader import Reader
from .writer import Writer

CODEC = Codec(
    name=NAME,
    stream_type="text/event-stream",
    read_request=requests.read_request,
    write_request=writing.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=Reader,
    writer=Writer,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=errors.status_for,
)
