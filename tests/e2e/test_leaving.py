"""Clients that leave: the upstream is left at once, other streams go on, and the one record says aborted."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, Script
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
# What the project holds itself to, in seconds. A busy machine may stop for longer by itself: the best of a few tries
# counts, which a proxy that is slow in earnest does not pass either.
LEAVES_WITHIN = 0.2
TRIES = 3


async def tunnel(proxy: Proxy, host: str = OPENAI, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca, *alpn))


async def start_http1(client: Client, script: Script) -> None:
    await client.send(request_bytes("POST", script.path, script.host, JSON, body=script.request))


class Http1Aborts:
    """An HTTP/1.1 client whose connection is torn down."""

    name = "HTTP/1.1, aborted"

    async def begin(self, proxy: Proxy) -> None:
        self.client = await tunnel(proxy)
        await start_http1(self.client, CHAT)

    async def leave(self) -> None:
        self.client.abort()

    async def close(self) -> None:
        self.client.abort()


class Http1Closes(Http1Aborts):
    """An HTTP/1.1 client that says goodbye."""

    name = "HTTP/1.1, closed"

    async def leave(self) -> None:
        self.client.writer.close()


class Http2Cancels:
    """An HTTP/2 client that resets its stream and keeps the connection."""

    name = "HTTP/2, stream cancelled"

    async def begin(self, proxy: Proxy) -> None:
        self.client = await H2Client.over(await tunnel(proxy, OPENAI, "h2"))
        self.stream = await self.client.post(CHAT.path, OPENAI, body=CHAT.request)

    async def leave(self) -> None:
        self.client.cancel(self.stream)

    async def close(self) -> None:
        await self.client.__aexit__()


class Http2Drops(Http2Cancels):
    """An HTTP/2 client whose connection is torn down."""

    name = "HTTP/2, connection dropped"

    async def leave(self) -> None:
        await self.close()


Leaver = Http1Aborts | Http2Cancels
LEAVING: list[type[Leaver]] = [Http1Aborts, Http1Closes, Http2Cancels, Http2Drops]


async def leave(proxy: Proxy, upstream: Upstream, client: Leaver, when: str) -> float:
    """Begins a stream, leaves it; the seconds from then until the upstream sees its connection closed."""
    first, left, gone_at = asyncio.Event(), asyncio.Event(), 0.0

    async def hold(exchange: Exchange) -> None:
        nonlocal gone_at
        if when != "before the head":
            await exchange.stream(CHAT.content_type)
        if when == "mid-stream":
            await exchange.chunk(CHAT.pieces[0] + CHAT.pieces[1])
        first.set()
        await exchange.gone.wait()
        gone_at = exchange.connection.gone_at or 0.0
        left.set()

    with upstream.answering(hold):
        await client.begin(proxy)
        await first.wait()
        left_at = asyncio.get_running_loop().time()
        await client.leave()
        async with asyncio.timeout(10):
            await left.wait()
        await client.close()
    return gone_at - left_at


@pytest.mark.parametrize("when", ["before the head", "after the head", "mid-stream"])
@pytest.mark.parametrize("way", LEAVING, ids=lambda way: way.name)
async def test_the_upstream_is_left_when_the_client_has_gone(
    audit: Proxy, upstream: Upstream, way: type[Leaver], when: str
) -> None:
    """Whenever and however the client leaves, the upstream's connection is closed at once; one record: aborted."""
    mark = audit.ledger.mark()
    took: list[float] = []
    while not took or (took[-1] >= LEAVES_WITHIN and len(took) < TRIES):
        took.append(await leave(audit, upstream, way(), when))
    print(f"the upstream was left after {', '.join(f'{each * 1000:.1f} ms' for each in took)} ({way.name}, {when})")
    assert took[-1] < LEAVES_WITHIN
    rows = await audit.ledger.rows(mark, len(took))
    assert {row["outcome"] for row in rows} == {"aborted"}


async def test_a_cancelled_http2_stream_leaves_the_others_alone(audit: Proxy, upstream: Upstream) -> None:
    """One stream's cancellation closes one upstream connection; the streams beside it go on to their ends."""
    release, began = asyncio.Event(), asyncio.Semaphore(0)
    mark = audit.ledger.mark()

    async def hold(exchange: Exchange) -> None:
        await exchange.stream(CHAT.content_type)
        await exchange.chunk(CHAT.pieces[0])
        began.release()
        if exchange.request.values("x-number") == [b"1"]:
            await exchange.gone.wait()
            release.set()
            return
        await release.wait()
        for piece in CHAT.pieces[1:]:
            await exchange.chunk(piece)
        await exchange.end()

    with upstream.answering(hold):
        async with await H2Client.over(await tunnel(audit, OPENAI, "h2")) as client:
            streams = [
                await client.post(CHAT.path, OPENAI, ("x-number", str(number)), body=CHAT.request)
                for number in range(3)
            ]
            for _ in streams:
                await began.acquire()
            client.cancel(streams[1])
            for stream in (streams[0], streams[2]):
                await client.response(stream)
                assert (stream.ended, bytes(stream.body)) == ("complete", CHAT.body)
    outcomes = sorted(row["outcome"] for row in await audit.ledger.rows(mark, 3))
    assert outcomes == ["aborted", "ok", "ok"]
