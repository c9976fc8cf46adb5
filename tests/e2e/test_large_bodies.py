"""Bodies larger than what the proxy keeps: 100 MiB up and down, to the byte, at the pace of the slower side.

Nothing is gathered in memory: the peak of the proxy's resident size is looked at where the system tells it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Gone, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
MIB = 1 << 20
PIECES = 100
PIECE = random.Random(7).randbytes(MIB)


def piece(number: int) -> bytes:
    """The `number`th mebibyte of a body in which no two mebibytes are equal."""
    return number.to_bytes(8, "big") + PIECE[8:]


def digest() -> str:
    total = hashlib.sha256()
    for number in range(PIECES):
        total.update(piece(number))
    return total.hexdigest()


async def tunnel(proxy: Proxy, *alpn: str, receive_buffer: int | None = None) -> Client:
    return await Client.tunnel(
        proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca, *alpn), receive_buffer=receive_buffer
    )


def peak_memory(proxy: Proxy) -> int | None:
    """The largest resident size that the proxy has had, in bytes; None where the system does not tell."""
    status = Path(f"/proc/{proxy.pid}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak(proxy: Proxy) -> int | None:
    """Begins the peak anew at the present size, which is returned; proc(5), clear_refs."""
    reset = Path(f"/proc/{proxy.pid}/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return peak_memory(proxy)


def assert_memory(proxy: Proxy, before: int | None, allowed: int) -> None:
    after = peak_memory(proxy)
    if before is not None and after is not None:
        print(f"peak memory grew by {(after - before) / MIB:.1f} MiB")
        assert after - before < allowed


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_100_mb_upload_arrives_to_the_byte(audit: Proxy, upstream: Upstream, alpn: str) -> None:
    """100 MiB sent to a file endpoint arrive exactly, and are not gathered in the proxy's memory."""
    before, received = forget_peak(audit), hashlib.sha256()

    async def count(exchange: Exchange) -> None:
        received.update(exchange.request.body)
        await exchange.json(b'{"id":"file-1","object":"file","bytes":%d}' % len(exchange.request.body))

    with upstream.answering(count):
        connection = await tunnel(audit, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                body = b"".join(piece(number) for number in range(PIECES))
                stream = await client.response(await client.post("/v1/files", OPENAI, body=body))
                status, reply = stream.status, bytes(stream.body)
        else:
            async with connection as plain:
                size = ("Content-Length", str(PIECES * MIB))
                await plain.send(request_bytes("POST", "/v1/files", OPENAI, size))
                for number in range(PIECES):
                    await plain.send(piece(number))
                response = await plain.response()
                status, reply = response.status, bytes(response.body)
    assert (status, reply) == (200, b'{"id":"file-1","object":"file","bytes":%d}' % (PIECES * MIB))
    assert received.hexdigest() == digest()
    assert_memory(audit, before, 64 * MIB)


async def test_a_chunked_upload_of_unknown_length_arrives_to_the_byte(audit: Proxy, upstream: Upstream) -> None:
    """A chunked request body larger than the proxy keeps arrives exactly."""
    received = hashlib.sha256()

    async def count(exchange: Exchange) -> None:
        received.update(exchange.request.body)
        await exchange.json(b"{}")

    with upstream.answering(count):
        async with await tunnel(audit) as client:
            await client.send(request_bytes("POST", "/v1/files", OPENAI, ("Transfer-Encoding", "chunked")))
            for number in range(PIECES):
                await client.send(b"%x\r\n%b\r\n" % (MIB, piece(number)))
            await client.send(b"0\r\n\r\n")
            assert (await client.response()).status == 200
    assert received.hexdigest() == digest()


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_100_mb_download_arrives_to_the_byte(audit: Proxy, upstream: Upstream, alpn: str, framing: str) -> None:
    """100 MiB of a file's content arrive exactly, and are not gathered in the proxy's memory."""
    before = forget_peak(audit)

    async def serve(exchange: Exchange) -> None:
        if framing == "chunked":
            await exchange.stream("application/octet-stream")
            for number in range(PIECES):
                await exchange.chunk(piece(number))
            await exchange.end()
        else:
            await exchange.start(200, [(b"Content-Length", str(PIECES * MIB).encode())])
            for number in range(PIECES):
                await exchange.send(piece(number))

    with upstream.answering(serve):
        connection = await tunnel(audit, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = client.start(
                    [(":method", "GET"), (":scheme", "https"), (":authority", OPENAI), (":path", "/v1/files/f/content")]
                )
                await client.response(stream)
                complete, body = stream.complete, stream.body
        else:
            async with connection as plain:
                response = await plain.request("GET", "/v1/files/f/content", OPENAI)
                complete, body = response.complete, response.body
    assert complete
    assert hashlib.sha256(body).hexdigest() == digest()
    assert_memory(audit, before, 64 * MIB)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_slow_client_slows_the_upstream(audit: Proxy, upstream: Upstream, alpn: str) -> None:
    """While the client does not read, the upstream soon cannot write; when it reads again, it gets every byte."""
    before, stuck, whole, already = forget_peak(audit), asyncio.Event(), PIECES * MIB, 0

    async def pour(exchange: Exchange) -> None:
        nonlocal already
        # The connection may have served other calls before.
        already = exchange.connection.written
        await exchange.start(200, [(b"Content-Length", str(whole).encode())])
        watcher = asyncio.create_task(watch(exchange))
        try:
            for number in range(PIECES):
                await exchange.send(piece(number))
        finally:
            watcher.cancel()
            stuck.set()

    async def watch(exchange: Exchange) -> None:
        # Standing still for a second is what "slowed" looks like from the upstream's side.
        written = -1
        while exchange.connection.written != written:
            written = exchange.connection.written
            await asyncio.sleep(1)
        stuck.set()

    with upstream.answering(pour):
        connection = await tunnel(audit, alpn, receive_buffer=1 << 16)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = client.start(
                    [(":method", "GET"), (":scheme", "https"), (":authority", OPENAI), (":path", "/v1/files/f/content")]
                )
                await client.head(stream)
                await stuck.wait()
                written = upstream.request.connection.written - already
                await client.response(stream)
                complete, body = stream.complete, stream.body
        else:
            async with connection as plain:
                await plain.send(request_bytes("GET", "/v1/files/f/content", OPENAI))
                response = await plain.head()
                await stuck.wait()
                written = upstream.request.connection.written - already
                await plain.body(response)
                complete, body = response.complete, response.body
    print(f"the upstream stood still after {written / MIB:.1f} of {PIECES} MiB")
    assert written < whole / 2
    assert complete
    assert hashlib.sha256(body).hexdigest() == digest()
    assert_memory(audit, before, 80 * MIB)


async def test_a_slow_upstream_slows_the_upload(audit: Proxy, upstream: Upstream) -> None:
    """While the upstream does not read, a large upload soon cannot be written; when it reads, it gets every byte."""
    before, read, received = forget_peak(audit), asyncio.Event(), hashlib.sha256()

    async def wait(exchange: Exchange) -> None:
        await read.wait()
        await exchange.connection.read_body(exchange.request)
        received.update(exchange.request.body)
        await exchange.json(b"{}")

    sent = 0
    with upstream.answering(wait, reads_itself=True):
        async with await tunnel(audit) as client:
            await client.send(request_bytes("POST", "/v1/files", OPENAI, ("Content-Length", str(PIECES * MIB))))

            async def send() -> None:
                nonlocal sent
                for number in range(PIECES):
                    await client.send(piece(number))
                    sent += 1

            sending, last = asyncio.create_task(send()), -1
            while sent != last and not sending.done():
                last = sent
                await asyncio.sleep(1)
            stood_at = sent
            read.set()
            await sending
            assert (await client.response()).status == 200
    print(f"the client stood still after {stood_at} of {PIECES} MiB")
    assert stood_at < PIECES / 2
    assert received.hexdigest() == digest()
    assert_memory(audit, before, 80 * MIB)


async def test_an_early_answer_to_an_unfinished_upload(audit: Proxy, upstream: Upstream) -> None:
    """An upstream that refuses an upload before it is complete is heard: the client gets its 413."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.reply(b'{"error":{"message":"too large"}}', 413, [(b"Connection", b"close")], "Too Large")
        try:
            await exchange.connection.read_body(exchange.request)
        except Gone:
            pass  # nobody sends the rest: as good an end

    with upstream.answering(refuse, reads_itself=True):
        async with await tunnel(audit) as client:
            await client.send(request_bytes("POST", "/v1/files", OPENAI, ("Content-Length", str(20 * MIB))))
            for number in range(12):
                await client.send(piece(number))
            response = await client.head()
            assert response.status == 413
