"""Cohere's chat, version 2: content in parts, a plan beside calls, citations, documents, and a stream of named events.

https://docs.cohere.com/v2/reference/chat

`facts`     its words, and what is left over
`parts`     content and documents <-> blocks
`calls`     tool calls and their plan <-> blocks
`citations` citations <-> what texts rest on
`requests`  requests read; `writing` and `settings` write them
`replies`   whole replies both ways; `usage` what was used; `errors` error bodies
`streams`   events read; `writer` writes them
"""

from __future__ import annotations

from interpose.formats.codecs.chat.errors import status_for
from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests, writing
from .facts import NAME
from .streams import Reader
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
    status_for=status_for,
)
