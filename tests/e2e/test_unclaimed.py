"""What is not ours passes as if we were not there: law 8."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import PATIENCE, Client, ConnectRefused
from tests.e2e.proxy import Proxy
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_tunnel_is_not_decrypted(audit: Proxy, stray: Upstream, authority: Authority) -> None:
    """The client's TLS is with the host itself, whose authority is the only one trusted here; nothing is recorded."""
    mark = audit.ledger.mark()

    async def answer(exchange: Exchange) -> None:
        await exchange.json(b'{"from": "the host itself"}')

    with stray.answering(answer):
        trust = authority.client_context()
        async with await Client.tunnel(audit.address, stray.address, tls=trust, sni="evil.test") as client:
            response = await client.request("GET", "/v1/models", "evil.test")
    assert response.status == 200
    assert audit.ledger.after(mark) == []


async def test_plain_http_streams_both_ways(audit: Proxy, plain_stray: Upstream) -> None:
    """A local server's stream arrives piece by piece; mitmproxy by itself would hold it until it is whole."""
    second = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b"data: first\n\n")
        async with asyncio.timeout(PATIENCE):
            await second.wait()
        await exchange.chunk(b"data: second\n\n")
        await exchange.end()

    with plain_stray.answering(answer):
        async with await Client.direct(audit.address) as client:
            target = f"http://{plain_stray.address}/events"
            await client.send(f"GET {target} HTTP/1.1\r\nHost: {plain_stray.address}\r\n\r\n".encode())
            response = await client.head()
            assert await client.body_until(response, b"data: first\n\n") == b"data: first\n\n"
            second.set()
            assert (await client.body(response)).body == b"data: first\n\ndata: second\n\n"


async def test_a_host_that_cannot_be_reached_is_a_502_and_no_tunnel(audit: Proxy) -> None:
    """The client learns it at CONNECT, as from any proxy."""
    with pytest.raises(ConnectRefused) as refused:
        await Client.tunnel(audit.address, "127.0.0.1:1", tls=None)
    assert refused.value.response.status == 502


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
async def test_metadata_addresses_are_never_reached(audit: Proxy, host: str) -> None:
    """What hands out a cloud's credentials is refused, in a tunnel and in plain HTTP."""
    with pytest.raises(ConnectRefused) as refused:
        await Client.tunnel(audit.address, f"{host}:443", tls=None)
    assert refused.value.response.status == 403
    async with await Client.direct(audit.address) as client:
        await client.send(f"GET http://{host}/latest HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await client.response()).status == 403
