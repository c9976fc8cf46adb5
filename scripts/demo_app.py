"""An ordinary application: the official OpenAI SDK and a key that is worth nothing."""

from openai import OpenAI

client = OpenAI(api_key="sk-dummy")

stream = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Why put a proxy before an AI provider?"}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

texts = ["a proxy", "a provider"]
found = client.embeddings.create(model="text-embedding-3-small", input=texts)
print(f"Embedded {len(found.data)} texts.")
