"""HTTP/1 clients that close their sending side and go on reading: taken for leaving, at once, and never left to wait.

Python's `ssl` cannot say goodbye and go on reading, as Node's and Go's sockets can: TLS is driven by hand here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from tests.e2e.clients import PATIENCE, PIECE, Client, client_tls, request_bytes
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT
from tests.e2e.settings import OLLAMA, OPENAI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
# In which order a proxy's tasks get their turn decides what is torn down first: each way is gone many times.
TIMES = 12


class Plain:
    """An absolute-form request through the proxy."""

    def __init__(self, client: Client, proxy: Proxy) -> None:
        self.client = client
        self.request = request_bytes("POST", f"http://{OLLAMA}/api/chat", OLLAMA, JSON, body=CHAT.request)

    async def begin(self) -> None:
        """Nothing is said before the request."""

    def sealed(self, data: bytes) -> bytes:
        """`data` as it goes on the wire."""
        return data

    def goodbye(self) -> bytes:
        """What is said ahead of the FIN."""
        return b""


class Tls(Plain):
    """CONNECT and TLS, of which one half can be closed."""

    def __init__(self, client: Client, proxy: Proxy) -> None:
        super().__init__(client, proxy)
        self.request = request_bytes("POST", CHAT.path, OPENAI, JSON, body=CHAT.request)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_tls(proxy.ca).wrap_bio(self._in, self._out, server_hostname=OPENAI)

    async def begin(self) -> None:
        await self.client.send(request_bytes("CONNECT", f"{OPENAI}:443", f"{OPENAI}:443"))
        assert (await self.client.head()).status == 200
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self.client.writer.write(self._out.read())
                    self._in.write(await self.client.reader.read(PIECE))
                else:
                    self.client.writer.write(self._out.read())
                    return

    def sealed(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()

    def goodbye(self) -> bytes:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the proxy's own goodbye is not awaited
        return self._out.read()


WAYS = pytest.mark.parametrize("way", [Plain, Tls], ids=["plain", "TLS"])


def half_close(client: Client) -> None:
    """The FIN, behind all that was written: it is little, and has gone to the socket at once."""
    assert client.writer.transport.get_write_buffer_size() == 0
    raw: socket.socket = client.writer.get_extra_info("socket")
    raw.shutdown(socket.SHUT_WR)


async def end_comes(client: Client) -> None:
    """Reads until the proxy has closed. Fails if it does not."""
    async with asyncio.timeout(PATIENCE):
        try:
            while await client.reader.read(PIECE):
                pass
        except ConnectionError:
            pass  # a reset is an end too


@WAYS
@pytest.mark.parametrize("when", ["with the request", "behind the request", "before the head", "mid-stream"])
async def test_a_half_close_ends_the_call_at_once(
    audit: Proxy, upstream: Upstream, plain_upstream: Upstream, way: type[Plain], when: str
) -> None:
    """Whenever it comes, the connection is closed, the upstream left, and the whole request has one record: aborted."""
    ready = asyncio.Semaphore(0)

    async def hold(exchange: Exchange) -> None:
        if when == "mid-stream":
            await exchange.stream(CHAT.content_type)
            await exchange.chunk(CHAT.pieces[0])
        ready.release()
        await exchange.gone.wait()

    mark = audit.ledger.mark()
    with upstream.answering(hold), plain_upstream.answering(hold):
        for _ in range(TIMES):
            async with await Client.direct(audit.address) as client:
                said = way(client, audit)
                await said.begin()
                if when == "with the request":
                    client.writer.write(said.sealed(said.request) + said.goodbye())
                else:
                    client.writer.write(said.sealed(said.request))
                    if when != "behind the request":
                        await ready.acquire()
                    client.writer.write(said.goodbye())
                half_close(client)
                await end_comes(client)
    rows = await audit.ledger.rows(mark, TIMES)
    assert {row["outcome"] for row in rows} == {"aborted"}
    # Every connection has ended on our side too.
    await audit.ledger.connections(mark, TIMES)


@WAYS
@pytest.mark.parametrize("within", ["the head", "the body"])
async def test_half_a_request_is_no_call(
    audit: Proxy, upstream: Upstream, plain_upstream: Upstream, way: type[Plain], within: str
) -> None:
    """A client that stops in the middle of its request gets an end; nothing is sent upstream and nothing recorded."""
    mark = audit.ledger.mark()
    with upstream.answering(CHAT.play), plain_upstream.answering(CHAT.play):
        for _ in range(TIMES):
            async with await Client.direct(audit.address) as client:
                said = way(client, audit)
                await said.begin()
                half = said.request[:40] if within == "the head" else said.request[:-1]
                client.writer.write(said.sealed(half) + said.goodbye())
                half_close(client)
                await end_comes(client)
        # A call behind all of them: what they might have left is recorded by then.
        async with await Client.direct(audit.address) as client:
            await client.send(Plain(client, audit).request)
            assert (await client.response()).body == CHAT.body
    assert (await audit.ledger.row(mark))["outcome"] == "ok"
    assert not upstream.requests
    assert len(plain_upstream.requests) == 1
