"""OpenAI Chat Completions, and what the servers compatible with it make of it.

https://platform.openai.com/docs/api-reference/chat

`facts`     its words, and the smallest readers of values
`parts`     content parts <-> blocks
`turns`     an assistant's message <-> blocks; `layout` keeps what Chat's fields cannot
`requests`  requests read; `writing` and `settings` write them
`replies`   whole replies both ways; `counts` their usage; `errors` error bodies
`streams`   chunks read (`choices`, `calls`); `writer` writes them
"""

from __future__ import annotations

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
    status_for=errors.status_for,
)
