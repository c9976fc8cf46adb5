"""Slots of `concurrent` limits come back, however calls end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, OWN
from tests.e2e.test_leaving import tunnel
from tests.e2e.test_limits import answer, limited
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = b'{"model": "m", "messages": []}'
HEADERS = (("Content-Type", "application/json"), ("Authorization", f"Bearer {OWN}"))
CALL = request_bytes("POST", "/v1/chat/completions", OPENAI, *HEADERS, body=BODY)
LONG = (*HEADERS, ("Content-Length", str(64 * 1024 * 1024)))
UPLOAD = request_bytes("POST", "/v1/files", OPENAI, *LONG)
SOCKET = request_bytes(
    "GET", "/v1/realtime?model=m", OPENAI, HEADERS[1], ("Connection", "Upgrade"), ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)  # fmt: skip
SLOTS = 2

Way = Callable[[Proxy, Upstream], Awaitable[None]]


async def hang(exchange: Exchange) -> None:
    """An upstream that reads the request and says nothing until it is left."""
    await exchange.gone.wait()


async def drip(exchange: Exchange) -> None:
    """One that begins a stream and never ends it."""
    await exchange.stream("text/event-stream")
    await exchange.chunk(b": hello\n\n")
    await exchange.gone.wait()


async def flood(exchange: Exchange) -> None:
    """One that sends more than anybody reads."""
    await exchange.stream("application/octet-stream")
    while not exchange.gone.is_set():
        await exchange.chunk(b"x" * 65536)


async def cut(exchange: Exchange) -> None:
    exchange.reset()


async def switch(exchange: Exchange) -> None:
    await exchange.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    await exchange.gone.wait()


def aborting(handler: Callable[[Exchange], Awaitable[None]], sent: bytes, *, reads: bool) -> Way:
    async def way(proxy: Proxy, upstream: Upstream) -> None:
        client = await tunnel(proxy)
        before = len(upstream.requests)
        with upstream.answering(handler):
            await client.send(sent)
            while len(upstream.requests) == before:
                await asyncio.sleep(0.01)
            if reads:
                await client.reader.readuntil(b"\r\n\r\n")
            client.abort()

    return way


async def half_a_request(proxy: Proxy, upstream: Upstream) -> None:
    client = await tunnel(proxy)
    await client.send(CALL[:-5])
    client.abort()


async def two_at_once_and_away(proxy: Proxy, upstream: Upstream) -> None:
    client = await tunnel(proxy)
    with upstream.answering(answer):
        await client.send(CALL + CALL)
        client.abort()


async def an_upload_that_stops(proxy: Proxy, upstream: Upstream) -> None:
    client = await tunnel(proxy)
    before = len(upstream.requests)
    with upstream.answering(hang, reads_itself=True):
        await client.send(UPLOAD + b"x" * (9 * 1024 * 1024))
        while len(upstream.requests) == before:
            await asyncio.sleep(0.01)
        client.abort()


async def a_cancelled_stream(proxy: Proxy, upstream: Upstream) -> None:
    client = await H2Client.over(await tunnel(proxy, OPENAI, "h2"))
    before = len(upstream.requests)
    with upstream.answering(drip):
        stream = await client.post("/v1/chat/completions", OPENAI, body=BODY)
        while len(upstream.requests) == before:
            await asyncio.sleep(0.01)
        client.cancel(stream)
    await client.__aexit__()


async def an_upstream_that_breaks(proxy: Proxy, upstream: Upstream) -> None:
    client = await tunnel(proxy)
    with upstream.answering(cut):
        await client.send(CALL)
        assert (await client.response()).status == 502
    client.abort()


WAYS: dict[str, Way] = {
    "before the head": aborting(hang, CALL, reads=False),
    "in a stream": aborting(drip, CALL, reads=True),
    "without reading": aborting(flood, CALL, reads=False),
    "in a session": aborting(switch, SOCKET, reads=True),
    "before a session": aborting(hang, SOCKET, reads=False),
    "half a request": half_a_request,
    "pipelined": two_at_once_and_away,
    "in an upload": an_upload_that_stops,
    "a stream of HTTP/2": a_cancelled_stream,
    "broken upstream": an_upstream_that_breaks,
}


@pytest.mark.parametrize("name", WAYS)
async def test_slots_come_back(farm: Farm, authority: Authority, upstream: Upstream, name: str) -> None:
    """As many calls as there are slots, and more, end in that way; after them all slots are to be had."""
    proxy = await limited(farm, authority, upstream, "slots", {"name": "few", "concurrent": SLOTS})
    for _ in range(SLOTS + 2):
        await WAYS[name](proxy, upstream)
        # The proxy hears of the client's end in its own time: a slot that is never free again never passes.
        await free(proxy, upstream)
    release, inside = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(exchange: Exchange) -> None:
        inside.release()
        await release.wait()
        await answer(exchange)

    clients = [await tunnel(proxy) for _ in range(SLOTS + 1)]
    with upstream.answering(wait):
        for client in clients[:SLOTS]:
            await client.send(CALL)
            await inside.acquire()
        await clients[SLOTS].send(CALL)
        assert (await clients[SLOTS].response()).status == 429
        release.set()
        assert [(await client.response()).status for client in clients[:SLOTS]] == [200] * SLOTS
    for client in clients:
        client.abort()


async def free(proxy: Proxy, upstream: Upstream) -> None:
    """Waits until a call is let in."""
    client = await tunnel(proxy)
    async with asyncio.timeout(20):
        while True:
            with upstream.answering(answer):
                await client.send(CALL)
                if (await client.response()).status == 200:
                    break
    client.abort()
