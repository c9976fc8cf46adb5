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
from interpose.formats.failures import bedrock_type
from interpose.ir import Failed, Losses, Request

from . import errors, replies, requests_in, requests_out
from .envelopes import ANTHROPIC, BEDROCK, EVENT_STREAM, VERTEX, Envelope
from .framing import BedrockFrames, SseFrames, bedrock_failure, bedrock_frame, sse_failure, sse_frame
from .names import FORMAT
from .reader import MessagesReader
from .writer import MessagesWriter


def _codec(envelope: Envelope) -> Codec:
    """The codec of an envelope. Its name is the format's, so that what one of them reads is another's `Own`."""
    binary = envelope.stream_type == EVENT_STREAM
    frame, failure = (bedrock_frame, bedrock_failure) if binary else (sse_frame, sse_failure)

    def read_request(body: Json, asked: Asked) -> Request:
        return requests_in.read_request(body, asked, envelope)

    def write_request(request: Request, target: Target, losses: Losses) -> Written:
        return requests_out.write_request(request, target, losses, envelope)

    def reader() -> StreamReader:
        return MessagesReader(BedrockFrames() if binary else SseFrames())

    def writer(client: Client, losses: Losses) -> StreamWriter:
        return MessagesWriter(client, losses, frame, failure)

    def write_error(failed: Failed) -> Json:
        """Of Bedrock's, AWS' SDKs look for the type in the body where the header x-amzn-errortype does not have it."""
        if not binary:
            return errors.write_error(failed)
        return {"message": failed.message, "__type": bedrock_type(status_for(failed.status))}

    def status_for(status: int) -> int:
        return envelope.overloaded if status == errors.STATUSES["overloaded_error"] else status

    return Codec(
        name=FORMAT,
        stream_type=envelope.stream_type,
        read_request=read_request,
        write_request=write_request,
        read_reply=replies.read_reply,
        write_reply=replies.write_reply,
        reader=reader,
        writer=writer,
        read_error=errors.read_error,
        write_error=write_error,
        status_for=status_for,
        wire="bedrock-invoke" if binary else "anthropic",
    )


CODEC = _codec(ANTHROPIC)
CODECS: Mapping[str, Codec] = {
    ANTHROPIC.name: CODEC,
    BEDROCK.name: _codec(BEDROCK),
    VERTEX.name: _codec(VERTEX),
}
