"""The harness can fail: without a proxy between, the upstream and the clients see each other to the byte, and a changed
byte, a cut, a reset, a wrong certificate and a held-back chunk are all seen as what they are.
"""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Request, Upstream, unscripted

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = bytes(range(256)) * 40


async def connect(upstream: Upstream, authority: Authority, sni: str = OPENAI) -> Client:
    return await Client.direct(("127.0.0.1", upstream.port), tls=authority.client_context(), sni=sni)


async def test_bytes_are_kept_in_both_directions(upstream: Upstream, authority: Authority) -> None:
    """A request arrives exactly as it was sent, and so does its reply, call after call."""

    async def echo(exchange: Exchange) -> None:
        await exchange.reply(bytes(exchange.request.body), 201, [(b"X-Odd", b"a"), (b"x-odd", b"b")])

    with upstream.answering(echo):
        async with await connect(upstream, authority) as client:
            for number in range(3):
                raw = request_bytes(
                    "POST", f"/v1/echo?n={number}", OPENAI, ("X-Twice", "1"), ("x-twice", "2"), body=BODY
                )
                await client.send(raw)
                response = await client.response()
                assert (response.status, bytes(response.body), response.ending) == (201, BODY, "complete")
                assert response.headers[:2] == [(b"X-Odd", b"a"), (b"x-odd", b"b")]
                assert upstream.requests[number].head + upstream.requests[number].body == raw
        assert len({id(request.connection) for request in upstream.requests}) == 1
        assert upstream.sni == [OPENAI]


async def test_a_flipped_byte_is_seen(upstream: Upstream, authority: Authority) -> None:
    """An upstream that flips one byte of the reply is found out by comparison."""

    async def flip(exchange: Exchange) -> None:
        changed = bytearray(exchange.request.body)
        changed[-1] ^= 1
        await exchange.reply(bytes(changed))

    with upstream.answering(flip):
        async with await connect(upstream, authority) as client:
            response = await client.request("POST", "/v1/flip", OPENAI, body=BODY)
    assert response.complete
    assert response.body != BODY


async def test_chunk_framing_is_kept_and_taken_off(upstream: Upstream, authority: Authority) -> None:
    """A chunked request is kept with its framing, a chunked reply is read without."""

    async def reply(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        for piece in (b"data: 1\n\n", b"data: 2\n\n"):
            await exchange.chunk(piece)
        await exchange.end()

    with upstream.answering(reply):
        async with await connect(upstream, authority) as client:
            framed = b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
            await client.send(request_bytes("POST", "/v1/x", OPENAI, ("Transfer-Encoding", "chunked")) + framed)
            response = await client.response()
    assert (bytes(upstream.request.raw_body), bytes(upstream.request.body)) == (framed, b"abcd")
    assert (bytes(response.body), response.ending) == (b"data: 1\n\ndata: 2\n\n", "complete")


async def test_a_gate_holds_the_second_chunk_back(upstream: Upstream, authority: Authority) -> None:
    """What the upstream has not sent yet does not arrive: a gate opened by the test separates two chunks."""
    gate = asyncio.Event()

    async def gated(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b"first")
        await gate.wait()
        await exchange.chunk(b"second")
        await exchange.end()

    with upstream.answering(gated):
        async with await connect(upstream, authority) as client:
            await client.send(request_bytes("GET", "/v1/x", OPENAI))
            response = await client.head()
            assert await client.body_until(response, b"first") == b"first"
            gate.set()
            assert (await client.body(response)).body == b"firstsecond"


@pytest.mark.parametrize(
    ("how", "ending"),
    [("closed before the last chunk", "closed"), ("reset", "reset"), ("content-length too large", "closed")],
)
async def test_a_cut_is_no_end(upstream: Upstream, authority: Authority, how: str, ending: str) -> None:
    """A body that stops before its framing says so never counts as complete."""

    async def cut(exchange: Exchange) -> None:
        if how == "content-length too large":
            await exchange.start(200, [(b"Content-Length", b"100")])
            await exchange.send(b"short")
        else:
            await exchange.stream("text/event-stream")
            await exchange.chunk(b"short")
        await released.wait()
        if how == "reset":
            exchange.reset()
        else:
            exchange.close()

    released = asyncio.Event()
    with upstream.answering(cut):
        async with await connect(upstream, authority) as client:
            await client.send(request_bytes("GET", "/v1/x", OPENAI))
            response = await client.head()
            await client.body_until(response, b"short")
            released.set()
            await client.body(response)
    assert (bytes(response.body), response.ending) == (b"short", ending)


async def test_leaving_is_seen_at_once(upstream: Upstream, authority: Authority) -> None:
    """A handler that waits learns that its client has gone."""
    seen = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b"first")
        await exchange.gone.wait()
        seen.set()

    with upstream.answering(wait):
        client = await connect(upstream, authority)
        await client.send(request_bytes("GET", "/v1/x", OPENAI))
        await client.head()
        client.abort()
        async with asyncio.timeout(10):
            await seen.wait()


async def test_a_slow_reader_stops_the_upstream(upstream: Upstream, authority: Authority) -> None:
    """Bytes that nobody reads are not written without end: `written` stands still far below the whole."""
    whole = 256 << 20
    stuck = asyncio.Event()

    async def pour(exchange: Exchange) -> None:
        await exchange.start(200, [(b"Content-Length", str(whole).encode())])
        asyncio.get_running_loop().call_later(1, stuck.set)
        while not exchange.gone.is_set():
            await exchange.send(bytes(1 << 16))

    with upstream.answering(pour):
        async with await connect(upstream, authority) as client:
            await client.send(request_bytes("GET", "/v1/x", OPENAI))
            await client.head()
            await stuck.wait()
            assert 0 < upstream.request.connection.written < 64 << 20


async def test_wrong_certificates_are_refused(authority: Authority) -> None:
    """Expired, foreign and misnamed certificates fail a verifying client, and no request arrives."""
    for context in (
        authority.server_context([OPENAI], expired=True),
        authority.server_context(["other.test"]),
        Authority(authority.pem.parent / "stranger", "A stranger").server_context([OPENAI]),
    ):
        async with Upstream(context) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(server, authority)
            assert not server.requests
            assert server.sni == [OPENAI]


async def test_an_unexpected_call_stands_out(upstream: Upstream, authority: Authority) -> None:
    """Without a script the upstream answers 418, and a handler's exception reaches the test."""
    async with await connect(upstream, authority) as client:
        assert (await client.request("GET", "/v1/x", OPENAI)).status == 418

    async def fail(exchange: Exchange) -> None:
        raise RuntimeError("from the handler")

    async def call() -> None:
        with upstream.answering(fail):
            async with await connect(upstream, authority) as client:
                await client.send(request_bytes("GET", "/v1/x", OPENAI))
                assert await client.at_end()

    with pytest.raises(ExceptionGroup) as caught:
        await call()
    assert [str(error) for error in caught.value.exceptions] == ["from the handler"]
    assert upstream.handler is unscripted


async def test_malformed_framing_is_a_failure(plain_upstream: Upstream) -> None:
    """The upstream's parser takes no ambiguous framing: both lengths at once, two lengths, a bad chunk end."""

    async def send(raw: bytes) -> None:
        with plain_upstream.answering(unscripted):
            async with await Client.direct(("127.0.0.1", plain_upstream.port)) as client:
                await client.send(raw)
                assert await client.at_end()

    for headers, body in (
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        (b"Content-Length: 3\r\nContent-Length: 4", b"abcd"),
        (b"Transfer-Encoding: chunked", b"1\r\nabc\r\n"),
    ):
        with pytest.raises(ExceptionGroup):
            await send(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n" + body)


async def test_h1_and_plain_clients_share_the_upstream(plain_upstream: Upstream) -> None:
    """The plain upstream records the request's anatomy: method, target, every value of a repeated header."""
    with plain_upstream.answering(unscripted):
        async with await Client.direct(("127.0.0.1", plain_upstream.port)) as client:
            await client.send(b"DELETE /a%2Fb?q=%20 HTTP/1.1\r\nhOsT: x\r\nA: 1\r\na:2\r\n\r\n")
            await client.response()
    request: Request = plain_upstream.request
    assert (request.method, request.target, request.values("A")) == (b"DELETE", b"/a%2Fb?q=%20", [b"1", b"2"])


async def test_client_contexts_verify() -> None:
    """Only a test that attacks does not verify."""
    assert client_tls(None).verify_mode is ssl.CERT_NONE
