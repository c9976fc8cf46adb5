"""Upstreams that do not end well: they break off, lie about lengths, talk nonsense or hang up.

The client never takes a cut for an end, and each call has exactly one ledger record that says how it ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, CHAT_JSON, MESSAGES, Script
from tests.e2e.settings import ANTHROPIC, OPENAI, audit_rules
from tests.e2e.upstream import Exchange, Header, Upstream, head_bytes

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")


async def tunnel(proxy: Proxy, host: str = OPENAI, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca, *alpn))


async def start_http1(client: Client, script: Script) -> None:
    await client.send(request_bytes("POST", script.path, script.host, JSON, body=script.request))


def cut_at(script: Script, boundary: int, how: str, seen: asyncio.Event) -> Callable[[Exchange], Awaitable[None]]:
    """Plays the first `boundary` pieces, and when the client has them, breaks off."""
    body = b"".join(script.pieces[:boundary])

    async def play(exchange: Exchange) -> None:
        if how == "content-length":
            length = str(len(script.body)).encode()
            await exchange.start(200, [(b"content-type", script.content_type.encode()), (b"content-length", length)])
            await exchange.send(body)
        else:
            await exchange.stream(script.content_type)
            for piece in script.pieces[:boundary]:
                await exchange.chunk(piece)
        await seen.wait()
        if how == "reset":
            exchange.reset()
        else:
            if how == "mid-chunk":
                await exchange.send(b"ffff\r\ndata: {")
            exchange.close()

    return play


@pytest.mark.parametrize("how", ["reset", "close", "mid-chunk", "content-length"])
@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("script", [CHAT, MESSAGES], ids=lambda script: script.name)
async def test_an_upstream_that_breaks_off_is_never_a_clean_end(
    audit: Proxy, upstream: Upstream, script: Script, alpn: str, how: str
) -> None:
    """At every event boundary: the client has all that was sent, sees a cut, and one record says truncated."""
    mark = audit.ledger.mark()
    for boundary in range(len(script.pieces)):
        seen, sent = asyncio.Event(), b"".join(script.pieces[:boundary])
        with upstream.answering(cut_at(script, boundary, how, seen)):
            connection = await tunnel(audit, script.host, alpn)
            if alpn == "h2":
                async with await H2Client.over(connection) as client:
                    stream = await client.post(script.path, script.host, body=script.request)
                    await client.head(stream)
                    await client.body_until(stream, sent)
                    seen.set()
                    await client.response(stream)
                    body, complete = bytes(stream.body), stream.complete
            else:
                async with connection as plain:
                    await start_http1(plain, script)
                    response = await plain.head()
                    await plain.body_until(response, sent)
                    seen.set()
                    await plain.body(response)
                    body, complete = bytes(response.body), response.complete
        assert not complete, f"cut after {boundary} pieces, the client saw a clean end"
        assert body in (sent, sent + b"data: {")
    rows = await audit.ledger.rows(mark, len(script.pieces))
    assert {(row["outcome"], row["status"]) for row in rows} == {("truncated", 200)}


async def test_a_stream_without_its_last_event_is_recorded_as_truncated(audit: Proxy, upstream: Upstream) -> None:
    """A stream that ends in good order but before the format's own end is relayed as it is, and named in the record."""
    mark = audit.ledger.mark()

    async def early(exchange: Exchange) -> None:
        await exchange.stream(MESSAGES.content_type)
        await exchange.chunk(MESSAGES.pieces[0])
        await exchange.end()

    with upstream.answering(early):
        async with await tunnel(audit, ANTHROPIC) as client:
            await start_http1(client, MESSAGES)
            assert bytes((await client.response()).body) == MESSAGES.pieces[0]
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["input_tokens"]) == ("truncated", 23)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_cut_before_the_head_is_a_502(audit: Proxy, upstream: Upstream, alpn: str) -> None:
    """An upstream that closes instead of answering gives the client a 502 in its format, and an error record."""
    mark = audit.ledger.mark()

    async def hang_up(exchange: Exchange) -> None:
        exchange.reset()

    with upstream.answering(hang_up):
        connection = await tunnel(audit, OPENAI, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = await client.response(await client.post(CHAT.path, OPENAI, body=CHAT.request))
                status, body = stream.status, bytes(stream.body)
        else:
            async with connection as plain:
                await start_http1(plain, CHAT)
                response = await plain.response()
                status, body = response.status, bytes(response.body)
    assert status == 502
    assert json.loads(body)["error"]["code"] == "upstream_disconnected"
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 502)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/9.9 wat\r\n\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
    ids=["version", "binary", "status", "header", "length", "two lengths"],
)
async def test_nonsense_from_the_upstream_is_a_502(audit: Proxy, upstream: Upstream, raw: bytes) -> None:
    """An upstream that does not speak HTTP gives the client a 502, and an error record."""
    mark = audit.ledger.mark()

    async def babble(exchange: Exchange) -> None:
        await exchange.send(raw)
        exchange.close()

    with upstream.answering(babble):
        async with await tunnel(audit) as client:
            await start_http1(client, CHAT)
            assert (await client.response()).status == 502
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 502)


FORGED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ((b"content-length", b"2"), b"{}" + FORGED),
        ((b"transfer-encoding", b"chunked"), b"2\r\n{}\r\n0\r\n\r\n" + FORGED),
        ((b"content-length", b"2"), b"{}" + b"\r\n" + FORGED),
    ],
    ids=["content-length", "chunked", "after a blank line"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["head and body at once", "body after the head"])
async def test_a_reply_longer_than_it_says_is_cut_at_its_length(
    farm: Farm, authority: Authority, upstream: Upstream, framing: Header, body: bytes, at_once: bool
) -> None:
    """Bytes after a reply's end are never taken for the reply to a later call, of this client or of another."""
    seen = asyncio.Event()

    async def chatty(exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            head = head_bytes(200, [framing])
            if at_once:
                await exchange.send(head + body)
            else:
                await exchange.send(head)
                await seen.wait()
                await exchange.send(body)
        else:
            await exchange.json(CHAT_JSON)

    # A proxy of its own: its pool holds no other connection that the next call could take.
    proxy = await farm.get("chatty", audit_rules(authority, upstream))
    with upstream.answering(chatty):
        for _ in range(4):
            seen.clear()
            async with await tunnel(proxy) as client:
                await client.send(request_bytes("GET", "/v1/models", OPENAI))
                response = await client.head()
                seen.set()
                assert bytes((await client.body(response)).body) == b"{}"
            async with await tunnel(proxy) as other:
                assert bytes((await other.request("POST", CHAT.path, OPENAI, JSON, body=b"{}")).body) == CHAT_JSON
