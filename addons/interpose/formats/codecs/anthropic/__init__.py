"""Anthropic Messages, by itself and in the clouds' envelopes around it.

`requests_in`, `blocks_in`                    requests read
`requests_out`, `settings_out`, `blocks_out`  requests written
`replies`, `usage`, `errors`                  whole replies, both ways
`reader`, `writer`, `framing`                 streams
`envelopes`, `names`                          what is data

The versions 2023-06-01 and 2026-10-21 are two dialects: `Target.version` says which is written (2023-06-01 if none is
told), and both are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, StreamReader, StreamWriter, Target, Written
from interpose.ir import Failed, Losses, Reply, Request

from . import errors, replies, requests_in, requests_out
from .envelopes import ANTHROPIC, BEDROCK, EVENT_STREAM, VERTEX, Envelope
from .framing import BedrockFrames, SseFrames, bedrock_failure, bedrock_frame, sse_failure, sse_frame
from .names import FORMAT
from .reader import MessagesReader
from .writer import MessagesWriter


class AnthropicCodec:
    """`name` is the format's, whatever the envelope: what one of them reads is no other's `Own`."""

    name = FORMAT

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.stream_type = envelope.stream_type
        self._binary = envelope.stream_type == EVENT_STREAM

    def read_request(self, body: Json, asked: Asked) -> Request:
        return requests_in.read_request(body, asked, self.envelope)

    def write_request(self, request: Request, target: Target, losses: Losses) -> Written:
        return requests_out.write_request(request, target, losses, self.envelope)

    def read_reply(self, body: Json) -> Reply:
        return replies.read_reply(body)

    def write_reply(self, reply: Reply, client: Client, losses: Losses) -> Json:
        return replies.write_reply(reply, client, losses)

    def reader(self) -> StreamReader:
        return MessagesReader(BedrockFrames() if self._binary else SseFrames())

    def writer(self, client: Client, losses: Losses) -> StreamWriter:
        if self._binary:
            return MessagesWriter(client, losses, bedrock_frame, bedrock_failure)
        return MessagesWriter(client, losses, sse_frame, sse_failure)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failed:
        return errors.read_error(status, headers, body)

    def write_error(self, failed: Failed) -> Json:
        """Bedrock's has a message alone, for its type is in the header x-amzn-errortype."""
        return {"message": failed.message} if self._binary else errors.write_error(failed)

    def status_for(self, status: int) -> int:
        return self.envelope.overloaded if status == errors.STATUSES["overloaded_error"] else status


CODEC = AnthropicCodec(ANTHROPIC)
CODECS: Mapping[str, Codec] = {
    ANTHROPIC.name: CODEC,
    BEDROCK.name: AnthropicCodec(BEDROCK),
    VERTEX.name: AnthropicCodec(VERTEX),
}
