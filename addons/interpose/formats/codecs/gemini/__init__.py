"""Gemini's generateContent and streamGenerateContent, on Google AI and on Vertex: the same bodies at different paths.

https://ai.google.dev/api/generate-content, and for Vertex
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference

`requests`  what is asked; `tools` and `settings` are parts of it, `schemas` what they have of OpenAPI
`parts`     parts read as blocks, `writing` blocks written as parts
`replies`   whole replies; `usage` and `stops` are parts of them
`reader`    a provider's stream, `writer` a client's; `partial` a function's arguments that come in pieces
`errors`    what went wrong
`spelling`  camelCase and snake_case, and what is left over in nested objects
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests
from .reader import Reader
from .spelling import NAME
from .writer import Writer

CODEC = Codec(
    name=NAME,
    stream_type="text/event-stream",
    read_request=requests.read_request,
    write_request=requests.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=Reader,
    writer=Writer,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=errors.status_for,
)
