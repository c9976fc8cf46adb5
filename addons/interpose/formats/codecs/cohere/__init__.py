"""Cohere's chat, version 2: content in parts, a plan beside calls, citations, documents, and a stream of named events.

https://docs.cohere.com/v2/reference/chat. Clients of the first version are answered in its shape; providers are always
asked in the second.

`facts`     its words, and what is left over
`parts`     content and documents <-> blocks
`calls`     tool calls and their plan <-> blocks
`citations` citations <-> what texts rest on
`requests`  requests read; `writing` and `settings` write them
`replies`   whole replies both ways; `usage` what was used; `errors` error bodies
`streams`   events read; `writer` writes them
`first`     the first version, for clients; `versions` tells which of them is asked
"""

from __future__ import annotations

from interpose.formats.codecs.chat.errors import status_for
from interpose.formats.codecs.codec import Codec

from . import errors, replies, versions
from .facts import NAME
from .streams import Reader

CODEC = Codec(
    name=NAME,
    stream_type="text/event-stream",
    read_request=versions.read_request,
    write_request=versions.write_request,
    read_reply=replies.read_reply,
    write_reply=versions.write_reply,
    reader=Reader,
    writer=versions.writer,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=status_for,
)
