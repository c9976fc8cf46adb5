"""google-genai's own Live client: one session, one turn. The key is in GEMINI_API_KEY."""

import asyncio

from google import genai
from google.genai import types
from telling import tell


async def main():
    client = genai.Client()
    config = {"response_modalities": ["TEXT"]}
    async with client.aio.live.connect(model="gemini-live-2.5-flash-preview", config=config) as session:
        turn = types.Content(role="user", parts=[types.Part(text="Hi")])
        await session.send_client_content(turns=turn, turn_complete=True)
        async for message in session.receive():
            used = message.usage_metadata
            tell("message", [message.text, used.total_token_count if used else None])


asyncio.run(main())
