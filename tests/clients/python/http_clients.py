"""Python's HTTP clients, named as arguments: each streams a chat and writes what comes as it comes."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator

URL = "https://api.openai.com/v1/chat/completions"
BODY = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
HEADERS = {"Authorization": f"Bearer {sys.argv[1]}", "Content-Type": "application/json"}


def by_urllib() -> Iterator[bytes]:
    """The standard library, which trusts by ssl.create_default_context."""
    from urllib.request import Request, urlopen

    with urlopen(Request(URL, BODY, HEADERS)) as reply:
        while data := reply.read1():
            yield data


def by_requests() -> Iterator[bytes]:
    import requests

    with requests.post(URL, data=BODY, headers=HEADERS, stream=True, timeout=60) as reply:
        yield from reply.iter_content(None)


def by_httpx() -> Iterator[bytes]:
    import httpx

    with httpx.stream("POST", URL, content=BODY, headers=HEADERS, timeout=60) as reply:
        yield from reply.iter_raw()


def by_urllib3() -> Iterator[bytes]:
    """urllib3 looks at no environment: the program has to hand it the proxy, and gets the trust by ssl's default."""
    import os

    import urllib3

    proxy = urllib3.ProxyManager(os.environ["HTTPS_PROXY"])
    yield from proxy.request("POST", URL, body=BODY, headers=HEADERS, preload_content=False).stream()


async def aiohttp_pieces() -> AsyncIterator[bytes]:
    """aiohttp heeds the environment with trust_env alone."""
    import aiohttp

    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.post(URL, data=BODY, headers=HEADERS) as reply,
    ):
        async for data in reply.content.iter_any():
            yield data


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def by_aiohttp() -> None:
    async for data in aiohttp_pieces():
        write(data)


CLIENTS: dict[str, Callable[[], Iterator[bytes]]] = {
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx": by_httpx,
    "urllib3": by_urllib3,
}

for name in sys.argv[2:]:
    if name == "aiohttp":
        asyncio.run(by_aiohttp())
    else:
        for piece in CLIENTS[name]():
            write(piece)
