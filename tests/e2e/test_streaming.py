"""Streaming is real: what the upstream has sent reaches the client before the upstream sends more, in every framing.

The upstream holds each piece back until the test has seen the one before it at the client, so a proxy that buffers
stops these tests for good.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.clients import PATIENCE, Client, client_tls, request_bytes
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, OLLAMA_CHAT, STREAMS, Script
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

TLS_STREAMS = [script for script in STREAMS if script is not OLLAMA_CHAT]
JSON = ("Content-Type", "application/json")


class Gated:
    """Plays a script piece by piece, each after the test has opened the next gate."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent = 0
        self._gate = asyncio.Semaphore(1)

    def open(self) -> None:
        self._gate.release()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.stream(self.script.content_type)
        for piece in self.script.pieces:
            async with asyncio.timeout(PATIENCE):
                await self._gate.acquire()
            await exchange.chunk(piece)
            self.sent += 1
        await exchange.end()


async def tunnel(proxy: Proxy, host: str = OPENAI, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca, *alpn))


def assert_recorded(row: dict[str, object], script: Script) -> None:
    assert (row["outcome"], row["status"], row["stream"]) == ("ok", 200, 1)
    assert (row["usage_source"], row["input_tokens"], row["output_tokens"]) == ("provider", *script.tokens)


@pytest.mark.parametrize("script", TLS_STREAMS, ids=lambda script: script.name)
async def test_every_piece_arrives_before_the_next_is_sent_http1(
    audit: Proxy, upstream: Upstream, script: Script
) -> None:
    """Over HTTP/1.1, event streams of each format arrive piece by piece, to the byte, and are metered."""
    mark, gated, seen = audit.ledger.mark(), Gated(script), b""
    with upstream.answering(gated):
        async with await tunnel(audit, script.host) as client:
            await client.send(request_bytes("POST", script.path, script.host, JSON, body=script.request))
            response = await client.head()
            assert response.value("content-type") == script.content_type.encode()
            for number, piece in enumerate(script.pieces, 1):
                seen += piece
                assert await client.body_until(response, seen) == seen
                assert gated.sent <= number
                gated.open()
            assert (await client.body(response)).complete
    assert bytes(response.body) == script.body
    assert bytes(upstream.request.body) == script.request
    assert_recorded(await audit.ledger.row(mark), script)


@pytest.mark.parametrize("script", TLS_STREAMS, ids=lambda script: script.name)
async def test_every_piece_arrives_before_the_next_is_sent_http2(
    audit: Proxy, upstream: Upstream, script: Script
) -> None:
    """Over HTTP/2, event streams of each format arrive piece by piece, to the byte, and are metered."""
    mark, gated, seen = audit.ledger.mark(), Gated(script), b""
    with upstream.answering(gated):
        async with await H2Client.over(await tunnel(audit, script.host, "h2")) as client:
            stream = await client.post(
                script.path, script.host, ("content-type", "application/json"), body=script.request
            )
            await client.head(stream)
            for number, piece in enumerate(script.pieces, 1):
                seen += piece
                assert await client.body_until(stream, seen) == seen
                assert gated.sent <= number
                gated.open()
            await client.response(stream)
    assert (stream.ended, bytes(stream.body)) == ("complete", script.body)
    assert bytes(upstream.request.body) == script.request
    assert_recorded(await audit.ledger.row(mark), script)


async def test_ndjson_by_absolute_form(audit: Proxy, plain_upstream: Upstream) -> None:
    """A plain-HTTP call by absolute-form streams NDJSON line by line, and is metered."""
    script = OLLAMA_CHAT
    mark, gated, seen = audit.ledger.mark(), Gated(script), b""
    with plain_upstream.answering(gated):
        async with await Client.direct(audit.address) as client:
            target = f"http://{script.host}{script.path}"
            await client.send(request_bytes("POST", target, script.host, JSON, body=script.request))
            response = await client.head()
            for piece in script.pieces:
                seen += piece
                assert await client.body_until(response, seen) == seen
                gated.open()
            assert (await client.body(response)).complete
    assert bytes(response.body) == script.body
    assert plain_upstream.request.target == script.path.encode()
    assert_recorded(await audit.ledger.row(mark), script)


async def test_ndjson_inside_a_tunnel_over_both_protocols(audit: Proxy, upstream: Upstream) -> None:
    """NDJSON inside TLS streams line by line too, over HTTP/1.1 and HTTP/2."""
    script = OLLAMA_CHAT
    for alpn in ("http/1.1", "h2"):
        gated, seen = Gated(script), b""
        with upstream.answering(gated):
            connection = await tunnel(audit, OPENAI, alpn)
            if alpn == "h2":
                async with await H2Client.over(connection) as multiplexed:
                    stream = await multiplexed.post("/api/chat", OPENAI, body=script.request)
                    await multiplexed.head(stream)
                    for piece in script.pieces:
                        seen += piece
                        assert await multiplexed.body_until(stream, seen) == seen
                        gated.open()
                    assert (await multiplexed.response(stream)).complete
            else:
                async with connection as client:
                    await client.send(request_bytes("POST", "/api/chat", OPENAI, JSON, body=script.request))
                    response = await client.head()
                    for piece in script.pieces:
                        seen += piece
                        assert await client.body_until(response, seen) == seen
                        gated.open()
                    assert (await client.body(response)).complete


async def test_the_head_arrives_before_any_body(audit: Proxy, upstream: Upstream) -> None:
    """The reply's head reaches the client while the upstream still waits with its first byte."""
    release = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await release.wait()
        await exchange.chunk(b"data: 1\n\n")
        await exchange.end()

    with upstream.answering(slow):
        async with await tunnel(audit) as client:
            await client.send(request_bytes("POST", CHAT.path, OPENAI, JSON, body=CHAT.request))
            response = await client.head()
            assert response.status == 200
            release.set()
            assert (await client.body(response)).body == b"data: 1\n\n"


async def test_200_concurrent_streams_on_one_http2_connection(audit: Proxy, upstream: Upstream) -> None:
    """200 streams on one connection are all open at once (each has its first event, none its last), then all end."""
    count, began, release = 200, 0, asyncio.Event()
    mark = audit.ledger.mark()

    async def hold(exchange: Exchange) -> None:
        nonlocal began
        number = exchange.request.values("x-number")[0]
        await exchange.stream(CHAT.content_type)
        await exchange.chunk(b": " + number + b"\n\n")
        began += 1
        await release.wait()
        await exchange.chunk(CHAT.body)
        await exchange.end()

    with upstream.answering(hold):
        async with await H2Client.over(await tunnel(audit, OPENAI, "h2")) as client:
            streams = [
                await client.post(CHAT.path, OPENAI, ("x-number", str(number)), body=CHAT.request)
                for number in range(count)
            ]
            first = [f": {number}\n\n".encode() for number in range(count)]
            for stream, expected in zip(streams, first, strict=True):
                await client.head(stream)
                assert await client.body_until(stream, expected) == expected
            assert began == count
            release.set()
            for stream, expected in zip(streams, first, strict=True):
                await client.response(stream)
                assert (stream.status, stream.ended, bytes(stream.body)) == (200, "complete", expected + CHAT.body)
    rows = await audit.ledger.rows(mark, count)
    assert {(row["outcome"], row["input_tokens"], row["output_tokens"]) for row in rows} == {("ok", *CHAT.tokens)}


async def test_200_concurrent_streams_on_200_connections(audit: Proxy, upstream: Upstream) -> None:
    """200 HTTP/1.1 clients stream at the same time, each its own bytes."""
    count, began, release = 200, asyncio.Semaphore(0), asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        number = exchange.request.values("x-number")[0]
        await exchange.stream(CHAT.content_type)
        await exchange.chunk(b": " + number + b"\n\n")
        began.release()
        await release.wait()
        await exchange.chunk(CHAT.body)
        await exchange.end()

    async def one(number: int) -> bytes:
        async with await tunnel(audit) as client:
            header = ("x-number", str(number))
            await client.send(request_bytes("POST", CHAT.path, OPENAI, JSON, header, body=CHAT.request))
            return bytes((await client.response()).body)

    with upstream.answering(hold):
        tasks = [asyncio.create_task(one(number)) for number in range(count)]
        async with asyncio.timeout(4 * PATIENCE):
            for _ in range(count):
                await began.acquire()
        release.set()
        bodies = await asyncio.gather(*tasks)
    assert bodies == [f": {number}\n\n".encode() + CHAT.body for number in range(count)]


async def test_keep_alive_mixes_json_and_streams(audit: Proxy, upstream: Upstream) -> None:
    """One client connection carries JSON, streams and JSON again; the upstream connection is reused."""
    mark = audit.ledger.mark()

    async def either(exchange: Exchange) -> None:
        if b'"stream": true' in exchange.request.body:
            await CHAT.play(exchange)
        else:
            await exchange.json(b'{"object":"list","data":[]}')

    accepted = upstream.accepted
    with upstream.answering(either):
        async with await tunnel(audit) as client:
            for number in range(6):
                if number % 2:
                    response = await client.request("GET", "/v1/models", OPENAI)
                    assert bytes(response.body) == b'{"object":"list","data":[]}'
                else:
                    response = await client.request("POST", CHAT.path, OPENAI, JSON, body=CHAT.request)
                    assert bytes(response.body) == CHAT.body
                assert response.complete
    assert upstream.accepted - accepted <= 1
    rows = await audit.ledger.rows(mark, 6)
    assert [row["endpoint"] for row in rows] == ["chat", "models"] * 3


async def test_the_upstream_pool_is_shared_by_clients(audit: Proxy, upstream: Upstream) -> None:
    """Another client's call goes over a connection that an earlier one's has left warm."""

    async def reply(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    accepted = upstream.accepted
    with upstream.answering(reply):
        for _ in range(8):
            async with await tunnel(audit) as client:
                assert (await client.request("GET", "/v1/models", OPENAI)).status == 200
    assert upstream.accepted - accepted <= 1


async def test_pipelined_requests_are_answered_in_order(audit: Proxy, upstream: Upstream) -> None:
    """Three HTTP/1.1 requests sent in one write are answered in their order, streams included."""

    async def number(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b"data: " + exchange.request.body)
        await exchange.chunk(b"\n\n")
        await exchange.end()

    with upstream.answering(number):
        async with await tunnel(audit) as client:
            await client.send(
                b"".join(
                    request_bytes("POST", f"/v1/chat/completions?n={n}", OPENAI, JSON, body=b'{"n":%d}' % n)
                    for n in range(3)
                )
            )
            for n in range(3):
                response = await client.response()
                assert (response.complete, bytes(response.body)) == (True, b'data: {"n":%d}\n\n' % n)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_stream_ends_when_the_upstream_ends(audit: Proxy, upstream: Upstream, alpn: str) -> None:
    """A reply framed by the end of the connection ends cleanly at the client, in HTTP/1.1 and HTTP/2."""

    async def until_close(exchange: Exchange) -> None:
        await exchange.start(200, [(b"content-type", CHAT.content_type.encode())])
        await exchange.send(CHAT.body)
        exchange.close()

    with upstream.answering(until_close):
        connection = await tunnel(audit, OPENAI, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = await client.response(await client.post(CHAT.path, OPENAI, body=CHAT.request))
                assert (stream.ended, bytes(stream.body)) == ("complete", CHAT.body)
        else:
            async with connection as plain:
                response = await plain.request("POST", CHAT.path, OPENAI, JSON, body=CHAT.request)
                assert (response.ending, bytes(response.body)) == ("complete", CHAT.body)
