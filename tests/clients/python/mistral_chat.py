"""mistralai: chat whole and streamed, a refusal, a stream that breaks off. The key is in MISTRAL_API_KEY."""

import os

import httpx2
from mistralai.client import Mistral
from mistralai.client.errors import MistralError
from telling import tell


def ask(text):
    return {"model": "mistral-small-latest", "messages": [{"role": "user", "content": text}]}


def words(events):
    for event in events:
        if event.data.choices[0].delta.content:
            yield event.data.choices[0].delta.content
        if event.data.usage:
            yield event.data.usage.completion_tokens


with Mistral(api_key=os.environ["MISTRAL_API_KEY"]) as client:
    reply = client.chat.complete(**ask("Hi"))
    called = reply.choices[0].message.tool_calls[0].function
    tell("whole", [called.name, called.arguments, reply.usage.prompt_tokens, reply.usage.completion_tokens])

    stream = words(client.chat.stream(**ask("Hi")))
    tell("first", next(stream))
    tell("rest", list(stream))

    try:
        client.chat.complete(**ask("please refuse"))
    except MistralError as error:
        tell("refused", [type(error).__name__, error.status_code, error.body])

    stream = words(client.chat.stream(**ask("please break")))
    tell("first", next(stream))
    try:
        tell("rest", list(stream))
    except httpx2.RemoteProtocolError as error:
        tell("broken", type(error).__name__)
