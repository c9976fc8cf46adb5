"""ollama's own types: each line of stdin is [kind, value], each answer what the SDK read, or its error.

`chat_request` and `generate_request` are validated by the requests' types; the others are what a server answers to a
chat or a prompt, whole (`chat`, `generate`) or streamed (`chat_stream`, `generate_stream`): JSON and text.
"""

import json
import sys

import httpx
import ollama
from ollama._types import ChatRequest, GenerateRequest

answer = {}
transport = httpx.MockTransport(
    lambda _: httpx.Response(200, headers={"content-type": answer["type"]}, content=answer["body"].encode())
)
client = ollama.Client(transport=transport)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
PROMPT = {"model": "m", "prompt": "Hi"}


def dumped(model):
    return model.model_dump(mode="json", exclude_none=True)


def typed(kind):
    return lambda value: dumped(kind.model_validate(value))


def whole(ask, arguments):
    def read(value):
        answer.update(type="application/json", body=json.dumps(value))
        return dumped(ask(**arguments))

    return read


def streamed(ask, arguments):
    def read(value):
        answer.update(type="application/x-ndjson", body=value)
        return [dumped(part) for part in ask(**arguments, stream=True)]

    return read


KINDS = {
    "chat_request": typed(ChatRequest),
    "generate_request": typed(GenerateRequest),
    "chat": whole(client.chat, CHAT),
    "generate": whole(client.generate, PROMPT),
    "chat_stream": streamed(client.chat, CHAT),
    "generate_stream": streamed(client.generate, PROMPT),
}

for line in sys.stdin:
    kind, value = json.loads(line)
    try:
        told = {"read": KINDS[kind](value)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        told = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), flush=True)
