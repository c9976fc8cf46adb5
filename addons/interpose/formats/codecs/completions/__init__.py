"""Legacy completions (`/v1/completions`): a prompt continued, for clients that never moved on to chats.

https://platform.openai.com/docs/api-reference/completions

`requests` the prompt as a user's message, and what of it no chat can do
`replies`  whole replies; `streams` chunks. Error bodies are Chat's.
"""

from __future__ import annotations

from functools import partial

from interpose.formats.codecs.chat import errors
from interpose.formats.codecs.chat.streams import Reader
from interpose.formats.codecs.codec import Codec

from . import replies, requests
from .requests import NAME
from .streams import Choice, Writer

CODEC = Codec(
    name=NAME,
    stream_type="text/event-stream",
    read_request=requests.read_request,
    write_request=requests.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=partial(Reader, Choice, NAME),
    writer=Writer,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=errors.status_for,
)
