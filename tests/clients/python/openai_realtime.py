"""The OpenAI SDK's own realtime client: one session, two answers. The key is in OPENAI_API_KEY."""

import openai
from telling import tell

with openai.OpenAI().realtime.connect(model="gpt-realtime") as session:
    tell("session", session.recv().type)
    for turn in range(2):
        content = [{"type": "input_text", "text": "Grüße " * 200}]
        session.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        session.response.create()
        delta, done = session.recv(), session.recv()
        tell(f"turn {turn}", [delta.type, delta.delta, done.response.usage.total_tokens])
