"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses, and servers after its open description,
https://www.openresponses.org. It is the only format in which a turn is a list of items.

`names` what all agree on · `parts`, `items`, `turns` blocks and items · `requests`, `writing` requests ·
`replies` · `reader`, `writer`, `output` streams · `errors`
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs.codec import Asked, Client, Json, StreamReader, StreamWriter, Target, Written
from interpose.ir import Failed, Losses, Reply, Request

from . import errors, replies, requests, writing
from .names import NAME
from .reader import Reader
from .writer import Writer

__all__ = ["CODEC", "Responses"]


class Responses:
    name = NAME
    stream_type = "text/event-stream"

    def read_request(self, body: Json, asked: Asked) -> Request:
        return requests.read_request(body, asked)

    def write_request(self, request: Request, target: Target, losses: Losses) -> Written:
        return writing.write_request(request, target, losses)

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


CODEC = Responses()
