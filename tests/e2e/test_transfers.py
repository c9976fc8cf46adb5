"""Calls through the proxy without rules: heads as they came, no body where there is none, odd replies as they are.

Law 1 (same format in and out: bytes untouched) seen from outside, for whatever a claimed host is asked.
"""

from __future__ import annotations

import asyncio
import gzip

import pytest
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, CHAT_JSON
from tests.e2e.settings import OLLAMA, OPENAI, canary
from tests.e2e.upstream import Exchange, Header, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
OWN_KEY = canary("own-of-transfers")


async def tunnel(proxy: Proxy, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca, *alpn))


HEADS: list[list[Header]] = [
    [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"SET-COOKIE", b"c=3")],
    [(b"X-Empty", b""), (b"X-Blank-Inside", b"a  b\tc"), (b"X-Latin", "é".encode("latin-1"))],
    [(b"X-Long", b"x" * 30_000), (b"X-Request-Id", b"req_1")],
    [(b"Location", b"https://elsewhere.test/"), (b"Retry-After", b"7"), (b"Server", b"upstream")],
]


@pytest.mark.parametrize("extra", HEADS, ids=["repeated", "odd values", "long", "meaningful"])
async def test_heads_pass_untouched(audit: Proxy, upstream: Upstream, extra: list[Header]) -> None:
    """Without rules the headers of request and reply arrive as they were sent: names, values, order, repetition."""

    async def reply(exchange: Exchange) -> None:
        await exchange.reply(b"{}", 207, [*extra, (b"content-type", b"application/json")], "Multi-Status")

    own = [("authorization", f"Bearer {OWN_KEY}"), ("X-Stainless-Lang", "python"), ("x-TWICE", "1"), ("x-twice", "2")]
    target = "/v1/odd%2Fpath;p=1/~%7E?a=%20+&b&=c&d=%E2%98%83&d=2&&e=a/b?c:@!$'()*,"
    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            response = await client.request("PUT", target, OPENAI, *own, body=b'{"a": 1}')
    framing: list[Header] = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    assert (response.status, response.headers) == (207, [*extra, *framing])
    request = upstream.request
    assert (request.method, request.target) == (b"PUT", target.encode())
    sent = [(b"Host", OPENAI.encode()), *((name.encode(), value.encode()) for name, value in own)]
    assert request.headers == [*sent, (b"Content-Length", b"8")]


async def test_hop_by_hop_headers_stay_on_their_hop(audit: Proxy, upstream: Upstream) -> None:
    """Connection, what it names, Proxy-* and TE of the client do not reach the upstream (RFC 9110, 7.6.1)."""

    async def reply(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            hops = [
                ("Connection", "keep-alive, X-Private"),
                ("X-Private", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"),
                ("Proxy-Authorization", "Basic ZmFrZTpmYWtl"),
                ("TE", "trailers"),
                ("X-Public", "1"),
            ]
            assert (await client.request("GET", "/v1/models", OPENAI, *hops)).status == 200
    names = {name.lower() for name, _ in upstream.request.headers}
    assert names == {b"host", b"x-public"}


BODILESS: list[tuple[str, int, list[Header]]] = [
    ("HEAD", 200, [(b"content-length", b"123456"), (b"x-a", b"1")]),
    ("HEAD", 200, [(b"transfer-encoding", b"chunked")]),
    ("DELETE", 204, [(b"x-a", b"1")]),
    ("GET", 304, [(b"etag", b'"1"')]),
    ("GET", 200, [(b"content-length", b"0")]),
    ("POST", 202, [(b"content-length", b"0")]),
]
# The h2 library, which plays the client, takes the content-length of a 304 for that of a body which is missing.
LENGTH_OF_304: tuple[str, int, list[Header]] = ("GET", 304, [(b"etag", b'"1"'), (b"content-length", b"99")])


@pytest.mark.parametrize(
    ("alpn", "method", "status", "headers"),
    [*((alpn, *row) for row in BODILESS for alpn in ("http/1.1", "h2")), ("http/1.1", *LENGTH_OF_304)],
)
async def test_replies_without_a_body(
    audit: Proxy, upstream: Upstream, method: str, status: int, headers: list[Header], alpn: str
) -> None:
    """HEAD, 204, 304 and empty replies end at once, keep their headers, and the connection goes on."""

    async def reply(exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            await exchange.json(b'{"next":1}')
        else:
            await exchange.start(status, headers)

    mark = audit.ledger.mark()
    with upstream.answering(reply):
        connection = await tunnel(audit, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                fixed = [(":method", method), (":scheme", "https"), (":authority", OPENAI), (":path", "/v1/x")]
                stream = await client.response(client.start(fixed))
                assert (stream.status, bytes(stream.body), stream.ended) == (status, b"", "complete")
                follow = [(":method", "GET"), (":scheme", "https"), (":authority", OPENAI), (":path", "/v1/models")]
                assert bytes((await client.response(client.start(follow))).body) == b'{"next":1}'
        else:
            async with connection as plain:
                response = await plain.request(method, "/v1/x", OPENAI)
                assert (response.status, bytes(response.body)) == (status, b"")
                kept = [pair for pair in response.headers if pair[0].lower() != b"transfer-encoding"]
                assert kept == [pair for pair in headers if pair[0] != b"transfer-encoding"]
                assert bytes((await plain.request("GET", "/v1/models", OPENAI)).body) == b'{"next":1}'
    assert [row["outcome"] for row in await audit.ledger.rows(mark, 2)] == ["ok", "ok"]


async def test_compressed_replies_pass_compressed_and_are_metered(audit: Proxy, upstream: Upstream) -> None:
    """A gzip reply arrives as the same gzip bytes, and its usage is read all the same."""
    packed = gzip.compress(CHAT_JSON, mtime=0)

    async def reply(exchange: Exchange) -> None:
        await exchange.reply(packed, 200, [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")])

    mark = audit.ledger.mark()
    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            gzipped = ("Accept-Encoding", "gzip")
            response = await client.request("POST", CHAT.path, OPENAI, JSON, gzipped, body=b'{"model":"gpt-4o-mini"}')
    assert (bytes(response.body), response.value("content-encoding")) == (packed, b"gzip")
    row = await audit.ledger.row(mark)
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (13, 5, "provider")


async def test_redirects_are_never_followed(audit: Proxy, upstream: Upstream, plain_upstream: Upstream) -> None:
    """A 3xx to another host or to the same one is the client's to follow: the upstream is asked once."""
    for status in (301, 302, 303, 307, 308):
        for location in (f"https://{OPENAI}/v1/elsewhere", f"http://{plain_upstream.address}/stolen"):

            async def reply(exchange: Exchange, status: int = status, location: str = location) -> None:
                await exchange.reply(b"moved", status, [(b"Location", location.encode())], "Moved")

            with upstream.answering(reply), plain_upstream.answering(reply):
                async with await tunnel(audit) as client:
                    response = await client.request("POST", CHAT.path, OPENAI, JSON, body=b"{}")
                assert (response.status, response.value("location")) == (status, location.encode())
                assert len(upstream.requests) == 1
                assert not plain_upstream.requests


async def test_malformed_json_passes_and_the_provider_answers(audit: Proxy, upstream: Upstream) -> None:
    """A body that is no JSON reaches the provider as it is; its 400 comes back as it is; one error record."""
    answer = b'{"error":{"message":"We could not parse the JSON body","type":"invalid_request_error"}}'

    async def reply(exchange: Exchange) -> None:
        await exchange.json(answer, 400)

    mark, broken = audit.ledger.mark(), b'{"model": "gpt-4o-mini", "messages": [\xff\xfe,]'
    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            response = await client.request("POST", CHAT.path, OPENAI, JSON, body=broken)
    assert (response.status, bytes(response.body), bytes(upstream.request.body)) == (400, answer, broken)
    row = await audit.ledger.row(mark)
    assert (row["outcome"], row["status"], row["endpoint"]) == ("error", 400, "chat")


async def test_expect_100_continue_is_answered(audit: Proxy, upstream: Upstream) -> None:
    """A client that waits for 100 before it sends its body gets it, and the upstream gets the body."""

    async def reply(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            expecting = [JSON, ("Expect", "100-continue"), ("Content-Length", "5")]
            await client.send(request_bytes("POST", CHAT.path, OPENAI, *expecting))
            async with asyncio.timeout(10):
                assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            await client.send(b"12345")
            assert (await client.response()).status == 200
    assert bytes(upstream.request.body) == b"12345"


async def test_early_hints_and_trailers_do_not_disturb(audit: Proxy, upstream: Upstream) -> None:
    """1xx replies before the answer and trailers after it are not relayed; the answer itself is, to the byte."""

    async def reply(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await exchange.stream("text/event-stream")
        await exchange.chunk(CHAT.body)
        await exchange.send(b"0\r\nX-Checksum: 1\r\n\r\n")

    with upstream.answering(reply):
        async with await tunnel(audit) as client:
            response = await client.request("POST", CHAT.path, OPENAI, JSON, body=CHAT.request)
    assert (response.status, response.complete, bytes(response.body)) == (200, True, CHAT.body)


async def test_plain_http_by_absolute_form_keeps_bytes(audit: Proxy, plain_upstream: Upstream) -> None:
    """An absolute-form call to a claimed plain-HTTP host arrives in origin-form with its bytes untouched."""

    async def reply(exchange: Exchange) -> None:
        await exchange.json(b'{"models":[]}')

    with plain_upstream.answering(reply):
        async with await Client.direct(audit.address) as client:
            for number in range(3):
                response = await client.request("GET", f"http://{OLLAMA}/api/tags?n={number}", OLLAMA, ("X-A", "1"))
                assert bytes(response.body) == b'{"models":[]}'
    assert [request.target for request in plain_upstream.requests] == [b"/api/tags?n=%d" % n for n in range(3)]
    assert plain_upstream.requests[0].headers == [(b"Host", OLLAMA.encode()), (b"X-A", b"1")]
