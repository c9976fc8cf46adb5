"""Mistral's chat completions: near to OpenAI's, with content in typed chunks, ids of nine characters, strict fields.

https://docs.mistral.ai/api/endpoint/chat. What is the same as in Chat is Chat's code; what is here differs. Of its
siblings that answer in the same shape, agents name a stored agent instead of a model, and fill-in-the-middle has a
prompt instead of messages.

`facts`    its words, and what is left over
`chunks`   content <-> blocks, in every role
`calls`    tool calls <-> blocks
`requests` requests read; `writing` and `settings` write them
`replies`  whole replies both ways; `errors` error bodies
`streams`  chunks read; `writer` writes them
"""

from __future__ import annotations

from interpose.formats.codecs.chat.errors import status_for
from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests, writing
from .facts import NAME
from .streams import MistralReader
from .writer import Writer

CODEC = Codec(
    name=NAME,
    stream_type="text/event-stream",
    read_request=requests.read_request,
    write_request=writing.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=MistralReader,
    writer=Writer,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=status_for,
)
