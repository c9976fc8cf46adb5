"""mistralai's own types: each line of stdin is [kind, value], each answer what the SDK read, or its error.

`request` is validated by the request's type; `reply` and `stream` are what a server answers, JSON and text.
"""

import json
import sys

import httpx2
from mistralai.client import Mistral, models

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def dumped(model):
    return model.model_dump(mode="json", by_alias=True)


answer = {}
transport = httpx2.MockTransport(
    lambda _: httpx2.Response(200, headers={"content-type": answer["type"]}, content=answer["body"].encode())
)
client = Mistral(api_key="sk-FAKE-none", client=httpx2.Client(transport=transport))


def request(value):
    kind = models.ChatCompletionStreamRequest if value.get("stream") else models.ChatCompletionRequest
    return dumped(kind.model_validate(value))


def reply(value):
    answer.update(type="application/json", body=json.dumps(value))
    return dumped(client.chat.complete(**ASKED))


def stream(value):
    answer.update(type="text/event-stream", body=value)
    return [dumped(event.data) for event in client.chat.stream(**ASKED)]


KINDS = {"request": request, "reply": reply, "stream": stream}

for line in sys.stdin:
    kind, value = json.loads(line)
    try:
        told = {"read": KINDS[kind](value)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        told = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), flush=True)
