"""Upstreams that attack or are merely rude: echoed credentials, nonsense in mid-stream, answers at the wrong moment.

What they say is never passed on as if it were in order, and never costs a client, or another call, more than it must.
Upstreams that break off are in test_cuts.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random

import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, Response, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client, Stream
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT
from tests.e2e.settings import OPENAI, PLACEHOLDER, audit_rules, canary, real
from tests.e2e.upstream import Exchange, Gone, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", f"Bearer {PLACEHOLDER}")
MIB = 1 << 20
# What is to happen at once may take this long on a busy machine, in seconds; it is far below any timeout of the proxy.
SOON = 10.0
ALPN = pytest.mark.parametrize("alpn", ["http/1.1", "h2"])


async def tunnel(proxy: Proxy, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca, *alpn))


async def ask(proxy: Proxy, alpn: str, *headers: tuple[str, str]) -> Response | Stream:
    """The whole reply to one call of a chat completion, over either HTTP."""
    connection = await tunnel(proxy, alpn)
    if alpn == "h2":
        lower = [(name.lower(), value) for name, value in headers]
        async with await H2Client.over(connection) as client:
            return await client.response(await client.post(CHAT.path, OPENAI, *lower, body=CHAT.request))
    async with connection as plain:
        return await plain.request("POST", CHAT.path, OPENAI, JSON, *headers, body=CHAT.request)


ECHOES = {
    "name": b"HTTP/1.1 200 OK\r\nX Echo: %s\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX-Echo: %s\x00\r\n\r\n",
    "status line": b"%s\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nX-Echo: a\r%s: x\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
}


@ALPN
@pytest.mark.parametrize("reply", ECHOES.values(), ids=ECHOES.keys())
async def test_a_malformed_reply_that_echoes_the_credential(
    acting: Proxy, upstream: Upstream, reply: bytes, alpn: str
) -> None:
    """Nonsense that quotes the injected key is a 502, and the key is neither in what the client gets nor recorded."""
    key, mark = real("openai"), acting.ledger.mark()

    async def echo(exchange: Exchange) -> None:
        (value,) = exchange.request.values("authorization")
        assert value == f"Bearer {key}".encode()
        await exchange.send(reply % value.removeprefix(b"Bearer "))
        exchange.close()

    with upstream.answering(echo):
        got = await ask(acting, alpn, BEARER)
    assert got.status == 502
    seen = bytes(got.body) + b"".join(name + value for name, value in got.headers)
    assert key.encode() not in seen
    row = await acting.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 502)
    assert key not in json.dumps(row)


@ALPN
@pytest.mark.parametrize("garbage", [b"zzz\r\n", b"5\r\nhelloXX", b"-1\r\n"], ids=["size", "end", "negative"])
@pytest.mark.parametrize("closes", [True, False], ids=["and closes", "and stays"])
async def test_garbage_in_the_middle_of_a_stream(
    audit: Proxy, upstream: Upstream, garbage: bytes, closes: bool, alpn: str
) -> None:
    """A stream that goes on as no HTTP ends broken at once, whether the upstream closes or not; recorded truncated."""
    mark, seen = audit.ledger.mark(), asyncio.Event()

    async def babble(exchange: Exchange) -> None:
        await exchange.stream(CHAT.content_type)
        await exchange.chunk(CHAT.pieces[0])
        await seen.wait()
        await exchange.send(garbage)
        if closes:
            exchange.close()
        else:
            await exchange.gone.wait()

    with upstream.answering(babble):
        connection = await tunnel(audit, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client, asyncio.timeout(SOON):
                stream = await client.head(await client.post(CHAT.path, OPENAI, body=CHAT.request))
                await client.body_until(stream, CHAT.pieces[0])
                seen.set()
                await client.response(stream)
                body, complete = bytes(stream.body), stream.complete
        else:
            async with connection as plain, asyncio.timeout(SOON):
                await plain.send(request_bytes("POST", CHAT.path, OPENAI, JSON, body=CHAT.request))
                response = await plain.head()
                await plain.body_until(response, CHAT.pieces[0])
                seen.set()
                await plain.body(response)
                body, complete = bytes(response.body), response.complete
    assert not complete
    assert body in (CHAT.pieces[0], CHAT.pieces[0] + b"hello")
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("truncated", 200)


@ALPN
@pytest.mark.parametrize("upgrade", ["foo", "websocket", "h2c"])
async def test_a_101_that_nobody_asked_for(audit: Proxy, upstream: Upstream, upgrade: str, alpn: str) -> None:
    """An upstream that switches protocols unasked gives the client a 502, and is hung up on."""
    mark = audit.ledger.mark()

    async def switch(exchange: Exchange) -> None:
        await exchange.start(101, [(b"Upgrade", upgrade.encode()), (b"Connection", b"upgrade")], "Switching Protocols")
        await exchange.send(b"hello")
        async with asyncio.timeout(SOON):
            await exchange.gone.wait()

    with upstream.answering(switch):
        got = await ask(audit, alpn)
        await upstream.request.connection.finished()
    assert got.status == 502
    assert json.loads(got.body)["error"]["code"] == "upstream_protocol_error"
    assert b"hello" not in got.body
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 502)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"])
async def test_a_request_on_a_stale_connection_is_sent_once(
    farm: Farm, authority: Authority, upstream: Upstream, method: str
) -> None:
    """An upstream that closes a kept connection instead of answering gets the call once, idempotent or not: a 502."""
    calls = 0

    async def stale(exchange: Exchange) -> None:
        nonlocal calls
        if exchange.request.path == "/v1/models":
            await exchange.json(b"{}")
        else:
            calls += 1
            exchange.close()

    # A proxy of its own: its pool holds no other connection that the call could take.
    proxy = await farm.get("stale", audit_rules(authority, upstream))
    with upstream.answering(stale):
        async with await tunnel(proxy) as client:
            assert (await client.request("GET", "/v1/models", OPENAI)).status == 200
            mark = proxy.ledger.mark()
            body = b"abc" if method in ("PUT", "POST") else None
            await client.send(request_bytes(method, "/v1/files/x", OPENAI, body=body))
            assert (await client.response(method)).status == 502
        row = await proxy.ledger.row(mark)
        kept, again = upstream.requests
    assert again.connection is kept.connection, "the connection was not a kept one: nothing was tried"
    assert calls == 1
    assert (row["outcome"], row["status"], len(json.loads(row["attempts"]))) == ("error", 502, 1)


@ALPN
async def test_an_upstream_that_answers_before_it_has_read(audit: Proxy, upstream: Upstream, alpn: str) -> None:
    """A reply whose head comes early and whose end comes after the upload's: both arrive to the byte."""
    mark, seen, body = audit.ledger.mark(), asyncio.Event(), random.Random(12).randbytes(12 * MIB)
    received = b""

    async def early(exchange: Exchange) -> None:
        nonlocal received
        await exchange.stream("application/json")
        await seen.wait()
        await exchange.connection.read_body(exchange.request)
        received = hashlib.sha256(exchange.request.body).digest()
        await exchange.chunk(b'{"ok":1}')
        await exchange.end()

    with upstream.answering(early, reads_itself=True):
        connection = await tunnel(audit, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = client.upload("/v1/files", OPENAI, ("content-length", str(len(body))))
                sending = asyncio.create_task(client.send(stream, body, end=True))
                await client.head(stream)
                seen.set()
                await client.response(stream)
                await sending
                status, reply, complete = stream.status, bytes(stream.body), stream.complete
        else:
            async with connection as plain:
                sending = asyncio.create_task(plain.send(request_bytes("POST", "/v1/files", OPENAI, body=body)))
                response = await plain.head()
                seen.set()
                await plain.body(response)
                await sending
                status, reply, complete = response.status, bytes(response.body), response.complete
    assert (status, reply, complete) == (200, b'{"ok":1}', True)
    assert received == hashlib.sha256(body).digest()
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("ok", 200)


async def refuse_early(exchange: Exchange) -> None:
    """A 413 before anything of the body has been read, framed as the request asks for; the rest is not read either."""
    if exchange.request.path == "/v1/models":
        await exchange.json(b"{}")
        return
    if exchange.request.values("x-reply") == [b"chunked"]:
        await exchange.stream("application/json", 413)
        await exchange.chunk(b'{"error":{"message":"too large"}}')
        await exchange.end()
    else:
        await exchange.json(b'{"error":{"message":"too large"}}', 413)
    await exchange.gone.wait()


# Of 20 MiB the client sends so many, more than the proxy holds, and then nothing until it has its answer.
WHOLE = 20 * MIB
BEGUN = 9 * MIB
TOO_LARGE = b'{"error":{"message":"too large"}}'
FRAMING = pytest.mark.parametrize("framing", ["content-length", "chunked"])


@FRAMING
@pytest.mark.parametrize("uploads", ["content-length", "chunked"])
async def test_an_early_refusal_ends_before_its_upload(
    audit: Proxy, upstream: Upstream, framing: str, uploads: str
) -> None:
    """Over HTTP/1.1 the whole 413 comes while the upload pauses, and the connection is good once the rest is sent."""
    mark = audit.ledger.mark()
    size = ("Content-Length", str(WHOLE)) if uploads == "content-length" else ("Transfer-Encoding", "chunked")

    def part(count: int) -> bytes:
        piece = bytes(MIB)
        return b"".join(piece if uploads == "content-length" else b"%x\r\n%b\r\n" % (MIB, piece) for _ in range(count))

    with upstream.answering(refuse_early, reads_itself=True):
        async with await tunnel(audit) as client, asyncio.timeout(2 * SOON):
            await client.send(request_bytes("POST", "/v1/files", OPENAI, size, ("X-Reply", framing)))
            await client.send(part(BEGUN // MIB))
            response = await client.response()
            assert (response.status, response.ending, bytes(response.body)) == (413, "complete", TOO_LARGE)
            await client.send(part((WHOLE - BEGUN) // MIB) + (b"0\r\n\r\n" if uploads == "chunked" else b""))
            assert (await client.request("GET", "/v1/models", OPENAI)).status == 200
    first, second = await audit.ledger.rows(mark, 2)
    assert (first["outcome"], first["status"], second["outcome"]) == ("error", 413, "ok")


@FRAMING
async def test_an_early_refusal_ends_before_its_upload_over_http2(
    audit: Proxy, upstream: Upstream, framing: str
) -> None:
    """Over HTTP/2 the whole 413 comes while the upload pauses, and the streams beside and after it are well."""
    mark = audit.ledger.mark()
    with upstream.answering(refuse_early, reads_itself=True):
        async with await H2Client.over(await tunnel(audit, "h2")) as client, asyncio.timeout(2 * SOON):
            stream = client.upload("/v1/files", OPENAI, ("content-length", str(WHOLE)), ("x-reply", framing))
            await client.send(stream, bytes(BEGUN))
            await client.response(stream)
            assert (stream.status, stream.ended, bytes(stream.body)) == (413, "complete", TOO_LARGE)
            other = client.start(
                [(":method", "GET"), (":scheme", "https"), (":authority", OPENAI), (":path", "/v1/models")]
            )
            assert (await client.response(other)).status == 200
            try:
                # Nobody wants it any more: it is dropped, or the stream is reset.
                await client.send(stream, bytes(WHOLE - BEGUN), end=True)
            except ConnectionError:
                pass
            assert (await client.response(await client.post("/v1/models", OPENAI))).status == 200
    rows = await audit.ledger.rows(mark, 3)
    assert [(row["outcome"], row["status"]) for row in rows] == [("error", 413), ("ok", 200), ("ok", 200)]


async def test_the_end_of_a_stream_after_its_reader_has_left(audit: Proxy, upstream: Upstream) -> None:
    """The openai SDK hangs up on [DONE]; where HTTP's own end comes only after that, if at all, the call is ok."""
    mark, left = audit.ledger.mark(), asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.stream(CHAT.content_type)
        for piece in CHAT.pieces:
            await exchange.chunk(piece)
        await left.wait()
        try:
            await exchange.end()
        except Gone:
            pass  # the proxy waits a moment, and may be right to have given up

    def read(client: openai.OpenAI) -> str:
        said = ""
        with client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], stream=True
        ) as stream:
            for chunk in stream:
                said += "".join(choice.delta.content or "" for choice in chunk.choices)
        return said

    transport = openai.DefaultHttpxClient(proxy=audit.url, verify=client_tls(audit.ca), trust_env=False)
    with (
        upstream.answering(play),
        openai.OpenAI(
            api_key=canary("own-of-leaver"), base_url=f"https://{OPENAI}/v1", max_retries=0, http_client=transport
        ) as client,
    ):
        assert await asyncio.to_thread(read, client) == "Good morning ☀"
        row = await audit.ledger.row(mark)
        left.set()
    assert (row["outcome"], row["status"], row["stream"]) == ("ok", 200, 1)
    assert (row["input_tokens"], row["output_tokens"]) == CHAT.tokens
