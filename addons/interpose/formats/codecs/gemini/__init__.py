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

from collections.abc import Mapping

from interpose.formats.codecs.codec import Asked, Client, Json, StreamReader, StreamWriter, Target, Written
from interpose.ir import Failed, Losses, Reply, Request

from . import errors, replies, requests
from .reader import Reader
from .spelling import NAME
from .writer import Writer


class GeminiCodec:
    """A `Codec`. A client that does not ask for `alt=sse` gets a JSON array, whatever `stream_type` says."""

    name = NAME
    stream_type = "text/event-stream"

    def read_request(self, body: Json, asked: Asked) -> Request:
        return requests.read_request(body, asked)

    def write_request(self, request: Request, target: Target, losses: Losses) -> Written:
        return requests.write_request(request, target, losses)

    def read_reply(self, body: Json) -> Reply:
        return replies.read_reply(body)

    def write_reply(self, reply: Reply, client: Client, losses: Losses) -> Json:
        return replies.write_reply(reply, client, losses)

    def reader(self) -> StreamReader:
        return Reader()

    def writer(self, client: Client, losses: Losses) -> StreamWriter:
        return Writer(client, losses)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed:
        return errors.read_error(status, headers, body)

    def write_error(self, failed: Failed) -> Json:
        return errors.write_error(failed)

    def status_for(self, status: int) -> int:
        return errors.status_for(status)


CODEC = GeminiCodec()
