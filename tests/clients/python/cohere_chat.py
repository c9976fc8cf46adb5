"""cohere: chat whole and streamed, embed, a refusal, a stream that breaks off. The key is in CO_API_KEY."""

import cohere
import httpx
from telling import tell

client = cohere.ClientV2()
ONCE = {"max_retries": 0}


def ask(text):
    return {"model": "command-a-03-2025", "messages": [{"role": "user", "content": text}], "request_options": ONCE}


def words(events):
    for event in events:
        if event.type == "content-delta":
            yield event.delta.message.content.text
        elif event.type == "message-end":
            yield event.delta.usage.tokens.output_tokens


reply = client.chat(**ask("Hi"))
called = reply.message.tool_calls[0].function
tell("whole", [called.name, called.arguments, reply.usage.tokens.input_tokens, reply.usage.tokens.output_tokens])

stream = words(client.chat_stream(**ask("Hi")))
tell("first", next(stream))
tell("rest", list(stream))

reply = client.embed(model="embed-v4.0", input_type="search_query", texts=["Hi"], embedding_types=["float"])
tell("embedded", [reply.embeddings.float_, reply.meta.billed_units.input_tokens])

try:
    client.chat(**ask("please refuse"))
except cohere.errors.TooManyRequestsError as error:
    tell("refused", [type(error).__name__, error.status_code, error.body])

stream = words(client.chat_stream(**ask("please break")))
tell("first", next(stream))
try:
    tell("rest", list(stream))
except httpx.RemoteProtocolError as error:
    tell("broken", type(error).__name__)
