"""websockets, asynchronous: the Responses API over a WebSocket, spoken by hand. The key is in OPENAI_API_KEY."""

import asyncio
import json
import os

import websockets
from telling import tell


async def main():
    key = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with websockets.connect("wss://api.openai.com/v1/responses", additional_headers=key) as session:
        for turn in range(2):
            await session.send(json.dumps({"type": "response.create", "model": "gpt-5-mini", "input": "Hi"}))
            delta, done = json.loads(await session.recv()), json.loads(await session.recv())
            tell(f"turn {turn}", [delta["type"], delta["delta"], done["response"]["usage"]["total_tokens"]])
        tell("ping", (await (await session.ping("are you there"))) >= 0)
        try:
            await session.recv()
        except websockets.ConnectionClosedError as error:
            tell("closed", [error.rcvd.code, error.rcvd.reason])


asyncio.run(main())
