"""Ollama's own API: chats, and prompts gone on with, in lines of JSON.

https://github.com/ollama/ollama/blob/main/docs/api.md. Clients of either path are answered in its shape; providers are
always asked to chat.

`facts`    its words, and what is left over
`parts`    images and tool calls <-> blocks
`requests` requests read; `writing` writes them; `settings` does both for what stands beside the messages
`replies`  whole replies both ways; `errors` error bodies
`streams`  lines read; `writer` writes them
"""

from __future__ import annotations

from interpose.formats.codecs.chat.errors import read_error, status_for
from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests, writing
from .facts import NAME
from .streams import Reader
from .writer import Writer

CODEC = Codec(
    name=NAME,
    stream_type="application/x-ndjson",
    read_request=requests.read_request,
    write_request=writing.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=Reader,
    writer=Writer,
    read_error=read_error,
    write_error=errors.write_error,
    status_for=status_for,
)
