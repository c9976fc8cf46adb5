"""WebSockets: left alone where the rules leave them alone, refused by name where they would have to act."""

from __future__ import annotations

import base64
import hashlib

import pytest
from tests.e2e.clients import Client, client_tls
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = base64.b64encode(b"sixteen bytes 16")
MASK = b"\x00\x00\x00\x00"
# RFC 6455, 1.3
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())


def upgrade(key: str) -> bytes:
    return (
        f"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: {OPENAI}\r\nAuthorization: Bearer {key}\r\n"
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY.decode()}\r\n\r\n"
    ).encode()


async def test_a_websocket_passes_in_audit_only(audit: Proxy, upstream: Upstream) -> None:
    """The client's own key and messages go through both ways, and the session is recorded as one call."""
    mark, heard = audit.ledger.mark(), []

    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
        )
        heard.append(await exchange.connection.read_frame())
        await exchange.send(b"\x81\x05hello")
        heard.append(await exchange.connection.read_frame())
        await exchange.send(b"\x88\x02\x03\xe8")
        exchange.close()

    with upstream.answering(answer, reads_itself=True):
        async with await Client.tunnel(audit.address, f"{OPENAI}:443", tls=client_tls(audit.ca)) as client:
            await client.send(upgrade("sk-own-fake-websocket"))
            assert b" 101 " in await client.reader.readuntil(b"\r\n\r\n")
            await client.send(b"\x81\x82" + MASK + b"hi")
            assert await client.reader.readexactly(7) == b"\x81\x05hello"
            await client.send(b"\x88\x82" + MASK + b"\x03\xe8")
            assert await client.reader.readexactly(4) == b"\x88\x02\x03\xe8"
    assert [frame[:1] for frame in heard] == [b"\x81", b"\x88"]
    assert upstream.request.values("authorization") == [b"Bearer sk-own-fake-websocket"]
    row = await audit.ledger.row(mark)
    assert (row["status"], row["outcome"], row["endpoint"], row["asked_model"]) == (101, "ok", "realtime", None)


async def test_a_websocket_on_which_rules_act_is_refused_by_name(acting: Proxy, upstream: Upstream) -> None:
    """No credential is injected into what this version cannot carry; the client is told."""
    mark = acting.ledger.mark()
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        await client.send(upgrade("sk-dummy"))
        response = await client.response()
    assert response.status == 501
    assert b"websocket_not_supported" in bytes(response.body)
    assert (await acting.ledger.row(mark))["outcome"] == "refused"
