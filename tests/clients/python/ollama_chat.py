"""ollama: chat whole and streamed, a refusal, a stream that breaks off. OLLAMA_HOST and OLLAMA_API_KEY say where."""

import httpx
import ollama
from telling import tell

client = ollama.Client()


def ask(text):
    return {"model": "llama3.2", "messages": [{"role": "user", "content": text}]}


def words(chunks):
    for chunk in chunks:
        if chunk.message.content:
            yield chunk.message.content
        if chunk.done:
            yield chunk.eval_count


reply = client.chat(**ask("Hi"))
called = reply.message.tool_calls[0].function
tell("whole", [called.name, called.arguments, reply.prompt_eval_count, reply.eval_count])

stream = words(client.chat(**ask("Hi"), stream=True))
tell("first", next(stream))
tell("rest", list(stream))

try:
    client.chat(**ask("please refuse"))
except ollama.ResponseError as error:
    tell("refused", [type(error).__name__, error.status_code, error.error])

stream = words(client.chat(**ask("please break"), stream=True))
tell("first", next(stream))
try:
    tell("rest", list(stream))
except httpx.RemoteProtocolError as error:
    tell("broken", type(error).__name__)
