"""What the played providers answer: small, complete replies in each wire format, as bytes, piece by piece.

Shapes follow the providers' published API references (the URL stands at each). The texts are made up; the token counts
are chosen so that no two of them are equal.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass

from .upstream import Exchange

SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "application/vnd.amazon.eventstream"


def data(value: object, event: str | None = None) -> bytes:
    """One server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def typed(value: dict[str, object]) -> bytes:
    """An event whose name is its object's `type`."""
    return data(value, str(value["type"]))


def frame(event: str, payload: object) -> bytes:
    """One message of `application/vnd.amazon.eventstream`: lengths, headers, payload, checksums.

    https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
    """
    headers = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", 7, len(value)) + value
        for name, value in (
            (b":event-type", event.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack("!I", binascii.crc32(message))


@dataclass(frozen=True, slots=True)
class Script:
    """A streamed reply: where it is asked for, the pieces, and what it says was used (input, output)."""

    name: str
    host: str
    path: str
    request: bytes
    content_type: str
    pieces: tuple[bytes, ...]
    tokens: tuple[int, int]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    async def play(self, exchange: Exchange) -> None:
        await exchange.stream(self.content_type)
        for piece in self.pieces:
            await exchange.chunk(piece)
        await exchange.end()


def _chat(delta: dict[str, object], finish: str | None = None) -> bytes:
    return data(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


# https://platform.openai.com/docs/api-reference/chat-streaming
CHAT = Script(
    "openai-chat",
    "api.openai.com",
    "/v1/chat/completions",
    b'{"model": "gpt-4o-mini", "stream": true,  "stream_options": {"include_usage": true},"messages":[{"role":"user",'
    b'"content":"Hi \\u00e9"}]}',
    SSE,
    (
        _chat({"role": "assistant", "content": ""}),
        _chat({"content": "Good"}),
        _chat({"content": " morning ☀"}),
        _chat({}, "stop"),
        data(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": "gpt-4o-mini",
                "choices": [],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
            }
        ),
        b"data: [DONE]\n\n",
    ),
    (11, 7),
)
CHAT_JSON = json.dumps(
    {
        "id": "chatcmpl-2",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Good morning ☀"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18},
    },
    indent=2,
).encode()

_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "model": "gpt-4o-mini",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant"}
_TEXT = {"type": "output_text", "text": "Good evening", "annotations": []}
_ITEM = {**_MESSAGE, "status": "completed", "content": [_TEXT]}
_DONE = {
    **_RESPONSE,
    "status": "completed",
    "output": [_ITEM],
    "usage": {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20,
    },
}


def _events(*events: dict[str, object]) -> tuple[dict[str, object], ...]:
    return events


_AT: dict[str, object] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
# https://platform.openai.com/docs/api-reference/responses-streaming
RESPONSES = Script(
    "openai-responses",
    "api.openai.com",
    "/v1/responses",
    b'{"model":"gpt-4o-mini","stream":true,"input":"Hi"}',
    SSE,
    tuple(
        typed({"sequence_number": number} | event)
        for number, event in enumerate(
            _events(
                {"type": "response.created", "response": {**_RESPONSE, "status": "in_progress", "output": []}},
                {
                    "type": "response.output_item.added",
                    "output_index": 0,
                    "item": {**_MESSAGE, "status": "in_progress", "content": []},
                },
                {"type": "response.content_part.added", **_AT, "part": {**_TEXT, "text": ""}},
                {"type": "response.output_text.delta", **_AT, "delta": "Good", "logprobs": []},
                {"type": "response.output_text.delta", **_AT, "delta": " evening", "logprobs": []},
                {"type": "response.output_text.done", **_AT, "text": "Good evening", "logprobs": []},
                {"type": "response.content_part.done", **_AT, "part": _TEXT},
                {"type": "response.output_item.done", "output_index": 0, "item": _ITEM},
                {"type": "response.completed", "response": _DONE},
            )
        )
    ),
    (17, 3),
)
RESPONSES_JSON = json.dumps(_DONE).encode()

# https://platform.openai.com/docs/api-reference/embeddings: the SDK asks for base64 of little-endian floats.
VECTOR = (0.25, -0.5, 1.0)
EMBEDDINGS_JSON = json.dumps(
    {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [
            {
                "object": "embedding",
                "index": 0,
                "embedding": base64.b64encode(struct.pack("<3f", *VECTOR)).decode(),
            }
        ],
        "usage": {"prompt_tokens": 19, "total_tokens": 19},
    }
).encode()
MODELS_JSON = (
    b'{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1700000000,"owned_by":"system"}]}'
)

_ANTHROPIC_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-simulated",
    "stop_sequence": None,
}
# https://docs.claude.com/en/docs/build-with-claude/streaming. Input excludes what the cache read and wrote.
MESSAGES = Script(
    "anthropic",
    "api.anthropic.com",
    "/v1/messages",
    b'{"model":"claude-simulated","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}',
    SSE,
    (
        typed(
            {
                "type": "message_start",
                "message": {
                    **_ANTHROPIC_MESSAGE,
                    "content": [],
                    "stop_reason": None,
                    "usage": {
                        "input_tokens": 4,
                        "cache_creation_input_tokens": 2,
                        "cache_read_input_tokens": 17,
                        "output_tokens": 1,
                    },
                },
            }
        ),
        typed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        typed({"type": "ping"}),
        typed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bonjour"}}),
        typed({"type": "content_block_stop", "index": 0}),
        typed(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 9},
            }
        ),
        typed({"type": "message_stop"}),
    ),
    (23, 9),
)
MESSAGES_JSON = json.dumps(
    {
        **_ANTHROPIC_MESSAGE,
        "content": [{"type": "text", "text": "Bonjour"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 29, "output_tokens": 6},
    }
).encode()


def _gemini(text: str, **more: object) -> dict[str, object]:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}],
        "usageMetadata": {"promptTokenCount": 31, "candidatesTokenCount": 8, "totalTokenCount": 39},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }


# https://ai.google.dev/api/generate-content; its streams end lines with CRLF.
GENERATE = Script(
    "gemini",
    "generativelanguage.googleapis.com",
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}',
    "text/event-stream",
    (
        data(_gemini("Ciao ")).replace(b"\n", b"\r\n"),
        data(_gemini("bella", finishReason="STOP")).replace(b"\n", b"\r\n"),
    ),
    (31, 8),
)
GENERATE_JSON = json.dumps(_gemini("Ciao bella", finishReason="STOP")).encode()

# https://github.com/ollama/ollama/blob/main/docs/api.md
OLLAMA_CHAT = Script(
    "ollama",
    "localhost:11434",
    "/api/chat",
    b'{"model":"llama3.2","messages":[{"role":"user","content":"Hi"}]}',
    NDJSON,
    tuple(
        json.dumps({"model": "llama3.2", "created_at": "2024-01-01T00:00:00Z", **rest}).encode() + b"\n"
        for rest in (
            {"message": {"role": "assistant", "content": "Hallo"}, "done": False},
            {"message": {"role": "assistant", "content": " Welt"}, "done": False},
            {
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 37,
                "eval_count": 4,
            },
        )
    ),
    (37, 4),
)

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html: usage comes after the stop.
CONVERSE = Script(
    "bedrock-converse",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "/model/anthropic.claude-3-5-haiku-20241022-v1%3A0/converse-stream",
    b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}',
    EVENT_STREAM,
    (
        frame("messageStart", {"role": "assistant"}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hola"}}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " mundo"}}),
        frame("contentBlockStop", {"contentBlockIndex": 0}),
        frame("messageStop", {"stopReason": "end_turn"}),
        frame(
            "metadata",
            {"usage": {"inputTokens": 41, "outputTokens": 2, "totalTokens": 43}, "metrics": {"latencyMs": 5}},
        ),
    ),
    (41, 2),
)

STREAMS = (CHAT, RESPONSES, MESSAGES, GENERATE, OLLAMA_CHAT, CONVERSE)


async def providers(exchange: Exchange) -> None:
    """The played providers: each path answered as its provider would, streamed when the request says so."""
    request = exchange.request
    host, streams = request.values("host")[0].decode(), b'"stream":true' in request.body.replace(b" ", b"")
    # google-genai asks below /v1beta or /v1, by its settings.
    path = request.path.replace("/v1/models/gemini", "/v1beta/models/gemini")
    whole, streamed = {
        (CHAT.host, "/v1/chat/completions"): (CHAT_JSON, CHAT),
        (CHAT.host, "/v1/responses"): (RESPONSES_JSON, RESPONSES),
        (CHAT.host, "/v1/embeddings"): (EMBEDDINGS_JSON, None),
        (CHAT.host, "/v1/models"): (MODELS_JSON, None),
        (MESSAGES.host, "/v1/messages"): (MESSAGES_JSON, MESSAGES),
        (GENERATE.host, "/v1beta/models/gemini-2.5-flash:generateContent"): (GENERATE_JSON, None),
        (GENERATE.host, "/v1beta/models/gemini-2.5-flash:streamGenerateContent"): (b"", GENERATE),
    }[host, path]
    if streamed is not None and (streams or not whole):
        await streamed.play(exchange)
    else:
        await exchange.json(whole)


# What Claude streams to whom it greets.
CLAUDE_SAYS = b"".join(
    b"event: %b\ndata: %b\n\n" % (json.loads(each)["type"].encode(), each)
    for each in (
        b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],'
        b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Good "}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"day"}}',
        b'{"type":"content_block_stop","index":0}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}',
        b'{"type":"message_stop"}',
    )
)
