"""Large requests on their way: they reach the upstream while they arrive, and an end on either side is one for both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, CHAT_JSON
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Gone, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
PIECES = 24
# What is kept whole before a body streams through, with some to spare.
ENOUGH = 10
PIECE = bytes(range(256)) * 4096
# How a chunked body ends; PIECE does not hold it.
LAST_CHUNK = b"\r\n0\r\n\r\n"
FRAMINGS = ("content-length", "chunked", "h2")


class Sender:
    """A client that sends a body of PIECES mebibytes piece by piece, in one of FRAMINGS."""

    def __init__(self, client: Client, framing: str, path: str) -> None:
        self._client = client
        self._framing = framing
        self._path = path
        self._http2: H2Client | None = None

    async def begin(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self._client)
        if self._framing == "h2":
            self._http2 = await stack.enter_async_context(await H2Client.over(self._client))
            self._stream = self._http2.upload(self._path, OPENAI, ("content-type", "application/json"))
            return
        length = {"content-length": ("Content-Length", str(PIECES * MIB)), "chunked": ("Transfer-Encoding", "chunked")}
        head = request_bytes("POST", self._path, OPENAI, ("Content-Type", "application/json"), length[self._framing])
        await self._client.send(head)

    async def send(self, pieces: int, *, last: bool = False) -> None:
        for number in range(pieces):
            end = last and number == pieces - 1
            if self._http2 is not None:
                await self._http2.send(self._stream, PIECE, end=end)
            elif self._framing == "chunked":
                await self._client.send(b"%x\r\n%b\r\n%b" % (MIB, PIECE, b"0\r\n\r\n" if end else b""))
            else:
                await self._client.send(PIECE)

    async def answer(self) -> tuple[int, bytes]:
        if self._http2 is not None:
            stream = await self._http2.response(self._stream)
            return stream.status, bytes(stream.body)
        response = await self._client.response()
        return response.status, bytes(response.body)

    async def leave(self) -> None:
        if self._http2 is not None:
            self._http2.cancel(self._stream)
        else:
            self._client.abort()


@pytest.fixture
async def sender(audit: Proxy) -> Callable[[str, str], Awaitable[Sender]]:
    async def make(framing: str, path: str) -> Sender:
        tls = client_tls(audit.ca, "h2" if framing == "h2" else "http/1.1")
        return Sender(await Client.tunnel(audit.address, f"{OPENAI}:443", tls=tls), framing, path)

    return make


Make = Callable[[str, str], Awaitable[Sender]]


class Taking:
    """An upstream that tells when the first mebibyte of a body has come, and then does what the test says."""

    def __init__(self, then: Callable[[Exchange, Taking], Awaitable[None]]) -> None:
        self._then = then
        self.began = asyncio.Event()
        self._received = 0
        self._tail = b""

    async def _some(self, exchange: Exchange) -> None:
        data = await exchange.connection.read_some()
        self._received += len(data)
        self._tail = (self._tail + data)[-len(LAST_CHUNK) :]

    async def read(self, exchange: Exchange) -> None:
        """The whole body, in either framing."""
        lengths = exchange.request.values("content-length")
        while self._received < int(lengths[0]) if lengths else self._tail != LAST_CHUNK:
            await self._some(exchange)

    async def __call__(self, exchange: Exchange) -> None:
        while self._received < MIB:
            await self._some(exchange)
        self.began.set()
        await self._then(exchange, self)

    def __hash__(self) -> int:
        return id(self)


@pytest.mark.parametrize("path", ["/v1/files", CHAT.path])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_upload_arrives_while_it_is_being_sent(
    audit: Proxy, upstream: Upstream, sender: Make, framing: str, path: str
) -> None:
    """The upstream has its first mebibyte before the client sends its last; a chat's usage is metered all the same."""

    async def answer(exchange: Exchange, taking: Taking) -> None:
        await taking.read(exchange)
        await exchange.json(CHAT_JSON)

    mark, taking = audit.ledger.mark(), Taking(answer)
    with upstream.answering(taking, reads_itself=True):
        async with AsyncExitStack() as stack:
            client = await sender(framing, path)
            await client.begin(stack)
            await client.send(ENOUGH)
            async with asyncio.timeout(30):
                await taking.began.wait()
            await client.send(PIECES - ENOUGH, last=True)
            assert await client.answer() == (200, CHAT_JSON)
    row = await audit.ledger.row(mark)
    chat = path == CHAT.path
    assert (row["endpoint"], row["outcome"]) == ("chat" if chat else "files", "ok")
    assert (row["input_tokens"], row["output_tokens"]) == ((13, 5) if chat else (None, None))


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_client_that_leaves_in_mid_upload_takes_the_upstream_with_it(
    audit: Proxy, upstream: Upstream, sender: Make, framing: str
) -> None:
    """The upstream's connection breaks off before the body is whole, so that no half is taken for it: aborted."""
    broke = asyncio.Event()

    async def wait(exchange: Exchange, taking: Taking) -> None:
        with pytest.raises(Gone):
            await taking.read(exchange)
        broke.set()

    mark, taking = audit.ledger.mark(), Taking(wait)
    with upstream.answering(taking, reads_itself=True):
        async with AsyncExitStack() as stack:
            client = await sender(framing, "/v1/files")
            await client.begin(stack)
            await client.send(ENOUGH)
            async with asyncio.timeout(30):
                await taking.began.wait()
                await client.leave()
                await broke.wait()
            row = await audit.ledger.row(mark)
    assert (row["endpoint"], row["outcome"]) == ("files", "aborted")


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_upstream_that_resets_in_mid_upload_is_an_error_at_once(
    audit: Proxy, upstream: Upstream, sender: Make, framing: str
) -> None:
    """The client hears of it while it is still sending, as a 502, and not only when it is done: one record."""

    async def reset(exchange: Exchange, taking: Taking) -> None:
        exchange.reset()

    mark, taking = audit.ledger.mark(), Taking(reset)
    with upstream.answering(taking, reads_itself=True):
        async with AsyncExitStack() as stack:
            client = await sender(framing, "/v1/files")
            await client.begin(stack)
            await client.send(ENOUGH)
            status, body = await client.answer()
            row = await audit.ledger.row(mark)
    assert status == 502
    assert b"error" in body
    assert (row["endpoint"], row["outcome"], row["status"]) == ("files", "error", 502)
