"""Legacy completions (`/v1/completions`): a prompt continued, for clients that never moved on to chats.

https://platform.openai.com/docs/api-reference/completions

`requests` the prompt as a user's message, and what of it no chat can do
`replies`  whole replies; `streams` chunks. Error bodies are Chat's.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs.chat import errors
from interpose.formats.codecs.chat.streams import Reader
from interpose.formats.codecs.codec import Asked, Client, Json, StreamReader, StreamWriter, Target, Written
from interpose.ir import Failed, Losses, Reply, Request

from . import replies, requests
from .requests import NAME
from .streams import Choice, Writer


class CompletionsCodec:
    name = NAME
    stream_type = "text/event-stream"

    def read_request(self, body: Json, asked: Asked) -> Request:
        return requests.read_request(body)

    def write_request(self, request: Request, target: Target, losses: Losses) -> Written:
        return requests.write_request(request, target, losses)

    def read_reply(self, body: Json) -> Reply:
        return replies.read_reply(body)

    def write_reply(self, reply: Reply, client: Client, losses: Losses) -> Json:
        return replies.write_reply(reply, client, losses)

    def reader(self) -> StreamReader:
        return Reader(Choice, NAME)

    def writer(self, client: Client, losses: Losses) -> StreamWriter:
        return Writer(client, losses)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed:
        return errors.read_error(status, headers, body)

    def write_error(self, failed: Failed) -> Json:
        return errors.write_error(failed)

    def status_for(self, status: int) -> int:
        return errors.status_for(status)


CODEC = CompletionsCodec()
