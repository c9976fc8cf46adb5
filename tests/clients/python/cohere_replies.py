"""What cohere's SDK makes of a server's answers: each line of stdin is [kind, value], each answer what it read, or its
error. `chat` is a whole reply, as JSON; `chat_stream` the text of a stream; `first` and `first_stream` are those of the
API's first version.
"""

import json
import sys

import cohere
import httpx

answer = {}
transport = httpx.MockTransport(
    lambda _: httpx.Response(200, headers={"content-type": answer["type"]}, content=answer["body"].encode())
)
client = cohere.ClientV2("sk-FAKE-1", httpx_client=httpx.Client(transport=transport))
older = cohere.Client("sk-FAKE-1", httpx_client=httpx.Client(transport=transport))
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def dumped(model):
    return model.model_dump(mode="json", exclude_unset=True)


def whole(value):
    answer.update(type="application/json", body=json.dumps(value))
    return dumped(client.chat(**ASKED))


def streamed(value):
    answer.update(type="text/event-stream", body=value)
    return [dumped(event) for event in client.chat_stream(**ASKED)]


def first(value):
    answer.update(type="application/json", body=json.dumps(value))
    return dumped(older.chat(model="m", message="Hi"))


def first_streamed(value):
    answer.update(type="application/stream+json", body=value)
    return [dumped(event) for event in older.chat_stream(model="m", message="Hi")]


KINDS = {"chat": whole, "chat_stream": streamed, "first": first, "first_stream": first_streamed}

for line in sys.stdin:
    kind, value = json.loads(line)
    try:
        told = {"read": KINDS[kind](value)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        told = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), flush=True)
