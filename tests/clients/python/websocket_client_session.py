"""websocket-client: one session at OpenAI's realtime endpoint, spoken by hand. The key is in OPENAI_API_KEY."""

import json
import os

import websocket
from telling import tell

session = websocket.create_connection(
    "wss://api.openai.com/v1/realtime?model=gpt-realtime",
    header=[f"Authorization: Bearer {os.environ['OPENAI_API_KEY']}"],
)
tell("session", json.loads(session.recv())["type"])
for turn in range(2):
    session.send(json.dumps({"type": "conversation.item.create", "item": {}}))
    session.send(json.dumps({"type": "response.create"}))
    delta, done = json.loads(session.recv()), json.loads(session.recv())
    tell(f"turn {turn}", [delta["type"], delta["delta"], done["response"]["usage"]["total_tokens"]])
session.close(1000)
