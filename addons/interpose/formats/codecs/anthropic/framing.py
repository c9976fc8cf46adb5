"""Events of a stream in and out of their frames: server-sent events, or Bedrock's event stream with base64 inside."""

from __future__ import annotations

import binascii
import json
from typing import Any, Protocol

import orjson

from interpose.formats.codecs.codec import parsed
from interpose.ir import Failed
from interpose.wire.error import WireError
from interpose.wire.eventstream import EventStreamDecoder, Message, encode_message
from interpose.wire.sse import SseDecoder, SseEvent

from .errors import EXCEPTIONS, type_of, write_error
from .names import Json

DONE = b"[DONE]"  # never Anthropic's own, but some gateways'; it does not stand for message_stop


class Unreadable(Exception):
    """What came is no stream of this format."""


class Frames(Protocol):
    def feed(self, data: bytes) -> list[Json | Failed]:
        """Raises Unreadable."""

    def finish(self) -> list[Json | Failed]:
        """What was left without its end. Raises Unreadable."""


def parse(data: bytes) -> Any:
    """JSON, lone surrogates included, which orjson refuses. Raises Unreadable."""
    try:
        return parsed(data)
    except ValueError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise Unreadable(f"an event is no JSON: {data[:100]!r}") from None


def parse_object(data: bytes) -> Json:
    node = parse(data)
    if not isinstance(node, dict):
        raise Unreadable(f"an event is no JSON object: {data[:100]!r}")
    return node


def unreadable(error: Unreadable) -> Failed:
    return Failed(f"The provider's stream cannot be read: {error}")


def serialise(node: Json) -> bytes:
    try:
        return orjson.dumps(node)
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(node, separators=(",", ":")).encode()


class SseFrames:
    def __init__(self) -> None:
        self._decoder = SseDecoder()

    def feed(self, data: bytes) -> list[Json | Failed]:
        try:
            return self._parsed(self._decoder.feed(data))
        except WireError as error:
            raise Unreadable(str(error)) from None

    def finish(self) -> list[Json | Failed]:
        try:
            return self._parsed(self._decoder.finish())
        except WireError as error:
            raise Unreadable(str(error)) from None

    def _parsed(self, events: list[SseEvent]) -> list[Json | Failed]:
        parsed: list[Json | Failed] = []
        for event in events:
            if not event.data or event.data == DONE:
                continue
            try:
                node = parse_object(event.data)
            except Unreadable as error:
                # What came before it counts, as it does if it came in a chunk of its own.
                return [*parsed, unreadable(error)]
            if "type" not in node and event.event:
                node["type"] = event.event.decode("utf-8", "replace")
            parsed.append(node)
        return parsed


class BedrockFrames:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html"""

    def __init__(self) -> None:
        self._decoder = EventStreamDecoder()

    def feed(self, data: bytes) -> list[Json | Failed]:
        try:
            messages = self._decoder.feed(data)
        except WireError as error:
            raise Unreadable(str(error)) from None
        parsed: list[Json | Failed] = []
        for message in messages:
            try:
                parsed.append(self._parsed(message))
            except Unreadable as error:
                return [*parsed, unreadable(error)]
        return parsed

    def finish(self) -> list[Json | Failed]:
        try:
            self._decoder.finish()
        except WireError as error:
            raise Unreadable(str(error)) from None
        return []

    def _parsed(self, message: Message) -> Json | Failed:
        kind = message.headers.get(":message-type")
        if kind == "exception":
            return _exception(str(message.headers.get(":exception-type", "")), message.payload)
        if kind == "error":
            told = message.headers
            return Failed(str(told.get(":error-message", "")), 502, str(told.get(":error-code", "")))
        node = parse(message.payload) if message.payload else {}
        encoded = node.get("bytes") if isinstance(node, dict) else None
        if not isinstance(encoded, str):
            return {"type": str(message.headers.get(":event-type", "")), "payload": node}
        try:
            decoded = binascii.a2b_base64(encoded)
        except (ValueError, binascii.Error):
            raise Unreadable("a chunk's bytes are no base64") from None
        return parse_object(decoded)


def _exception(kind: str, payload: bytes) -> Failed:
    try:
        node = parse(payload)
    except Unreadable:
        node = None
    message = node.get("message") if isinstance(node, dict) else None
    return Failed(message if isinstance(message, str) else kind, EXCEPTIONS.get(kind, 502), kind)


def sse_frame(node: Json) -> bytes:
    """The SDK demands the `event:` line."""
    name: str = node["type"]
    return b"event: " + name.encode("utf-8", "replace") + b"\ndata: " + serialise(node) + b"\n\n"


def bedrock_frame(node: Json) -> bytes:
    payload = serialise({"bytes": binascii.b2a_base64(serialise(node), newline=False).decode()})
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, payload)


def sse_failure(failed: Failed) -> bytes:
    """The blank line ends an event that was left open."""
    return b"\n" + sse_frame(write_error(failed))


def bedrock_failure(failed: Failed) -> bytes:
    kind = failed.type
    if kind is None or kind not in EXCEPTIONS:
        overloaded = type_of(failed) == "overloaded_error"
        status = 503 if overloaded else failed.status
        kind = next((name for name, known in EXCEPTIONS.items() if known == status), "internalServerException")
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_message(headers, serialise({"message": failed.message}))
