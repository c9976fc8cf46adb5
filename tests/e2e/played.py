"""The providers as the programs of tests/clients meet them: whole replies with a tool call, streams, refusals, cuts.

What is played follows from the request alone: its path, and what the prompt asks for. A stream is held after its
first words until the test goes on, which it does when the program has told that it got them.

Shapes follow the providers' published API references (the URL stands at each). No two token counts are equal.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from .replies import CHAT, CHAT_JSON, CONVERSE, EVENT_STREAM, NDJSON, OLLAMA_CHAT, SSE, data, frame
from .upstream import Exchange, Header

REFUSED = "please refuse"
BROKEN = "please break"

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Played:
    """One path of a provider: the whole reply, or the pieces of a stream, the first `shown` of which are not held."""

    whole: bytes = b""
    pieces: tuple[bytes, ...] = ()
    content_type: str = SSE
    shown: int = 2
    refusal: bytes = b'{"message":"slow down"}'
    refused_with: tuple[Header, ...] = ((b"content-type", b"application/json"),)


def chunk_of_model(event: object) -> bytes:
    """A piece of InvokeModelWithResponseStream: the model's own event in base64.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
    """
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
CONVERSE_JSON = json.dumps(
    {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"text": "Hola"},
                    {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Lima"}}},
                ],
            }
        },
        "stopReason": "tool_use",
        "usage": {"inputTokens": 47, "outputTokens": 12, "totalTokens": 59},
        "metrics": {"latencyMs": 5},
    }
).encode()
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
INVOKE_JSON = json.dumps(
    {
        "id": "msg_2",
        "type": "message",
        "role": "assistant",
        "model": "claude-simulated",
        "content": [{"type": "text", "text": "Hola de nuevo"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 53, "output_tokens": 14},
    }
).encode()
INVOKE = (
    chunk_of_model(
        {
            "type": "message_start",
            "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 59, "output_tokens": 1}},
        }
    ),
    chunk_of_model({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Buenas"}}),
    chunk_of_model({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " noches"}}),
    chunk_of_model({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}),
    chunk_of_model(
        {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 59, "outputTokenCount": 15},
        }
    ),
)
# https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
THROTTLED: tuple[Header, ...] = ((b"content-type", b"application/json"), (b"x-amzn-errortype", b"ThrottlingException"))

# https://docs.cohere.com/reference/chat and https://docs.cohere.com/reference/chat-stream
COHERE_JSON = json.dumps(
    {
        "id": "c-1",
        "finish_reason": "TOOL_CALL",
        "message": {
            "role": "assistant",
            "tool_plan": "I look",
            "tool_calls": [
                {"id": "w_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Lima"}'}}
            ],
        },
        "usage": {
            "billed_units": {"input_tokens": 5, "output_tokens": 6},
            "tokens": {"input_tokens": 61, "output_tokens": 16},
        },
    }
).encode()


def _cohere_text(text: str) -> bytes:
    delta = {"message": {"content": {"text": text}}}
    return data({"type": "content-delta", "index": 0, "delta": delta}, "content-delta")


COHERE = (
    data({"type": "message-start", "id": "c-2", "delta": {"message": {"role": "assistant"}}}, "message-start"),
    _cohere_text("Salut"),
    _cohere_text(" monde"),
    data(
        {
            "type": "message-end",
            "delta": {
                "finish_reason": "COMPLETE",
                "usage": {
                    "billed_units": {"input_tokens": 3, "output_tokens": 2},
                    "tokens": {"input_tokens": 67, "output_tokens": 18},
                },
            },
        },
        "message-end",
    ),
    b"data: [DONE]\n\n",
)
# https://docs.cohere.com/reference/embed
COHERE_EMBED = json.dumps(
    {
        "id": "e-1",
        "embeddings": {"float": [[0.25, -0.5]]},
        "texts": ["Hi"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 71}},
        "response_type": "embeddings_by_type",
    }
).encode()


def _mistral(delta: Mapping[str, object], **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    head = {"id": "m-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "mistral-small-latest"}
    return data({**head, "choices": [choice], **more})


# https://docs.mistral.ai/api/endpoint/chat
MISTRAL_JSON = json.dumps(
    {
        "id": "m-2",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "mistral-small-latest",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "w00000001",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Lima"}'},
                            "index": 0,
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 73, "completion_tokens": 21, "total_tokens": 94},
    }
).encode()
MISTRAL = (
    _mistral({"role": "assistant", "content": ""}),
    _mistral({"content": "Bon"}),
    _mistral({"content": "soir"}),
    _mistral(
        {"content": ""},
        finish_reason="stop",
        usage={"prompt_tokens": 79, "completion_tokens": 22, "total_tokens": 101},
    ),
    b"data: [DONE]\n\n",
)

# https://github.com/ollama/ollama/blob/main/docs/api.md
OLLAMA_JSON = json.dumps(
    {
        "model": "llama3.2",
        "created_at": "2024-01-01T00:00:00Z",
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Lima"}}}],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 83,
        "eval_count": 24,
    }
).encode()

_MODEL = "/model/anthropic.claude-3-5-haiku-20241022-v1%3A0"
PATHS: dict[str, Played] = {
    f"{_MODEL}/converse": Played(CONVERSE_JSON, refused_with=THROTTLED),
    f"{_MODEL}/converse-stream": Played(pieces=CONVERSE.pieces, content_type=EVENT_STREAM),
    f"{_MODEL}/invoke": Played(INVOKE_JSON),
    f"{_MODEL}/invoke-with-response-stream": Played(pieces=INVOKE, content_type=EVENT_STREAM),
    "/v2/chat": Played(COHERE_JSON, COHERE),
    "/v2/embed": Played(COHERE_EMBED),
    "/api/chat": Played(OLLAMA_JSON, OLLAMA_CHAT.pieces, NDJSON, shown=1, refusal=b'{"error":"slow down"}'),
}
MISTRAL_CHAT = Played(MISTRAL_JSON, MISTRAL)
OPENAI_CHAT = Played(CHAT_JSON, CHAT.pieces)


def played_at(host: str, path: str) -> Played:
    """OpenAI's and Mistral's paths are the same."""
    if path == "/v1/chat/completions":
        return MISTRAL_CHAT if host == "api.mistral.ai" else OPENAI_CHAT
    return PATHS[path]


@dataclass(slots=True)
class Stage:
    """Answers as its table says; `go_on` lets the stream go on that is being held."""

    _held: asyncio.Event = field(default_factory=asyncio.Event)

    def go_on(self) -> None:
        self._held.set()

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        played = played_at(request.values("host")[0].decode(), request.path)
        if request.anywhere(REFUSED):
            await exchange.reply(played.refusal, 429, list(played.refused_with), "Too Many Requests")
        elif played.pieces and (not played.whole or _asks_for_stream(bytes(request.body))):
            held = self._held = asyncio.Event()
            await exchange.stream(played.content_type)
            await exchange.chunk(b"".join(played.pieces[: played.shown]))
            await held.wait()
            if request.anywhere(BROKEN):
                exchange.reset()
                return
            for piece in played.pieces[played.shown :]:
                await exchange.chunk(piece)
            await exchange.end()
        else:
            await exchange.json(played.whole)

    def __hash__(self) -> int:
        return id(self)


def _asks_for_stream(body: bytes) -> bool:
    return json.loads(body).get("stream") is True
