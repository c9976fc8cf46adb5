"""What the gateway is sent that no provider would take: it is answered at once, and says what to do instead."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ENVIRON, NARROW, OPENAI, VIRTUAL, connect_to, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"content-type": "application/json"}
CHAT = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'
MESSAGES = b'{"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}'
GENERATE = "/v1beta/models/gemini-x:generateContent"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def judging(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """A gateway before one provider, for a client with a key and for one whose key is good for a model only."""
    gateway = Gateway(tmp_path_factory.mktemp("judging"))
    rules = rules_text(
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_OPENAI_KEY"}}
        },
        clients={
            "keys": [
                {"name": "ci", "sha256": hashlib.sha256(VIRTUAL.encode()).hexdigest()},
                {"name": "narrow", "sha256": hashlib.sha256(NARROW.encode()).hexdigest(), "models": ["gpt-4o"]},
            ]
        },
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI,))},
    )
    await gateway.start(rules, ENVIRON)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(judging: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=judging.url, headers={"x-api-key": VIRTUAL}, timeout=120) as client:
        yield client


async def answer(exchange: Exchange) -> None:
    await exchange.json(CHAT_JSON)


def changed(body: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(body) | fields).encode()


# path, headers, body -> status, code, param
WRONG: dict[str, tuple[str, dict[str, str], bytes, int, str, str | None]] = {
    "empty": ("/v1/chat/completions", JSON, b"", 400, "empty_body", None),
    "no JSON": ("/v1/chat/completions", JSON, b'{"model": nope}', 400, "invalid_json", None),
    "cut": ("/v1/embeddings", JSON, CHAT[:-1], 400, "invalid_json", None),
    "not UTF-8": ("/v1/chat/completions", JSON, b'{"model": "\xff"}', 400, "invalid_json", None),
    "a list": ("/v1/chat/completions", JSON, b"[]", 400, "invalid_type", None),
    "null": ("/v1/responses", JSON, b"null", 400, "invalid_type", None),
    "text": (
        *("/v1/chat/completions", {"content-type": "text/plain"}, CHAT),
        *(415, "unsupported_content_type", "Content-Type"),
    ),
    "a form": (
        *("/v1/embeddings", {"content-type": "application/x-www-form-urlencoded"}, b"model=a&input=b"),
        *(415, "unsupported_content_type", "Content-Type"),
    ),
    "a coding of nobody's": (
        *("/v1/chat/completions", {**JSON, "content-encoding": "rot13"}, CHAT),
        *(400, "invalid_encoding", "Content-Encoding"),
    ),
    "no gzip": (
        *("/v1/chat/completions", {**JSON, "content-encoding": "gzip"}, CHAT),
        *(400, "invalid_encoding", "Content-Encoding"),
    ),
    "a bomb": (
        *("/v1/chat/completions", {**JSON, "content-encoding": "gzip"}, gzip.compress(b" " * 40_000_000)),
        *(413, "request_too_large", None),
    ),
    "too many values": (
        *("/v1/embeddings", JSON, b'{"model": "m", "input": [' + b"1," * 600_000 + b"1]}"),
        *(413, "request_too_large", None),
    ),
    "no model": ("/v1/chat/completions", JSON, b'{"messages": []}', 400, "missing_required_parameter", "model"),
    "no messages": ("/v1/chat/completions", JSON, b'{"model": "m"}', 400, "missing_required_parameter", "messages"),
    "two models": ("/v1/chat/completions", JSON, b'{"model": "a", ' + CHAT[1:], 400, "ambiguous_model", "model"),
    "hot": (
        *("/v1/chat/completions", JSON, changed(CHAT, temperature=3)),
        *(400, "decimal_above_max_value", "temperature"),
    ),
    "negative": (
        *("/v1/chat/completions", JSON, changed(CHAT, max_tokens=-1)),
        *(400, "integer_below_min_value", "max_tokens"),
    ),
    "no input": ("/v1/embeddings", JSON, b'{"model": "m"}', 400, "missing_required_parameter", "input"),
    "no prompt": ("/v1/completions", JSON, b'{"model": "m"}', 400, "missing_required_parameter", "prompt"),
    "input of a number": ("/v1/responses", JSON, b'{"model": "m", "input": 5}', 400, "invalid_type", "input"),
}


@pytest.mark.parametrize(("path", "headers", "body", "status", "code", "param"), WRONG.values(), ids=WRONG)
async def test_a_bad_request_is_answered_by_itself(
    client: httpx.AsyncClient,
    upstream: Upstream,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str,
    param: str | None,
) -> None:
    """With what is wrong, and where; no provider hears of it."""
    with upstream.answering(answer):
        reply = await client.post(path, headers=headers, content=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert upstream.requests == []


async def test_the_place_of_a_mistake_is_told(client: httpx.AsyncClient) -> None:
    """Line and column of what is no JSON."""
    reply = await client.post("/v1/chat/completions", headers=JSON, content=b'{"model": "m",\n "messages": nope}')
    assert "line 2, column 14" in reply.json()["error"]["message"]


async def test_each_format_has_its_own_error(client: httpx.AsyncClient) -> None:
    """Anthropic's and Google's name no param, but their messages do."""
    claude = await client.post("/v1/messages", headers=JSON, content=changed(MESSAGES, temperature=1.5))
    gemini = await client.post(GENERATE, headers=JSON, content=b'{"contents": []}')
    assert (claude.status_code, claude.json()["type"]) == (400, "error")
    assert claude.json()["error"]["type"] == "invalid_request_error"
    assert "'temperature'" in claude.json()["error"]["message"]
    assert (gemini.status_code, gemini.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "'contents'" in gemini.json()["error"]["message"]


GOOD: dict[str, tuple[dict[str, str], bytes]] = {
    "of no type": ({}, CHAT),
    "of another JSON": ({"content-type": "application/vnd.client+json; charset=utf-8"}, CHAT),
    "in gzip": ({**JSON, "content-encoding": "gzip"}, gzip.compress(CHAT)),
    "with a mark of its order": (JSON, b"\xef\xbb\xbf" + CHAT),
    "with half a character": (JSON, CHAT.replace(b"Hi", b"\\ud83d")),
    "with what nobody knows": (JSON, changed(CHAT, of_tomorrow={"a": 1}, temperature=None)),
}


@pytest.mark.parametrize(("headers", "body"), GOOD.values(), ids=GOOD)
async def test_a_good_request_goes_as_it_came(
    client: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str], body: bytes
) -> None:
    """Byte for byte."""
    with upstream.answering(answer):
        reply = await client.post("/v1/chat/completions", headers=headers, content=body)
    assert reply.status_code == 200
    assert bytes(upstream.request.body) == body


async def test_who_calls_comes_first(judging: Gateway) -> None:
    """A stranger is told that it is one, whatever it sends; what a key is good for comes after what is wrong."""
    async with httpx.AsyncClient(base_url=judging.url, headers=JSON) as client:
        stranger = await client.post("/v1/chat/completions", content=b"{")
        narrow = await client.post("/v1/chat/completions", content=b"{", headers={"x-api-key": NARROW})
        beyond = changed(CHAT, model="gpt-5")
        forbidden = await client.post("/v1/chat/completions", content=beyond, headers={"x-api-key": NARROW})
    assert [reply.status_code for reply in (stranger, narrow, forbidden)] == [401, 400, 403]


METHODS = [
    ("GET", "/v1/embeddings", "POST"),
    ("DELETE", "/v1/chat/completions", "POST"),
    ("PUT", "/v1/models", "GET, HEAD"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
async def test_a_wrong_method_is_told_the_right_one(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """A 405 with Allow."""
    reply = await client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
    assert reply.json()["error"]["code"] == "method_not_allowed"


async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient) -> None:
    """For those who have a key."""
    assert (await client.get("/v2/anything")).status_code == 404


async def test_a_refusal_costs_nothing(client: httpx.AsyncClient, judging: Gateway) -> None:
    """Its one record says so."""
    mark = judging.ledger.mark()
    await client.post("/v1/chat/completions", headers=JSON, content=b"{}")
    row = await judging.ledger.row(mark)
    assert (row["status"], row["outcome"], row["client"], row["attempts"]) == (400, "refused", "ci", "[]")


@pytest.mark.parametrize("told", [True, False])
async def test_what_is_too_large_is_refused_while_it_comes(client: httpx.AsyncClient, *, told: bool) -> None:
    """The client that is still sending gets its answer, whether it says how much will come or not."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "'
        for _ in range(40):
            yield b"x" * 1024 * 1024

    content: Any = b"x" * 40 * 1024 * 1024 if told else pieces()
    reply = await client.post("/v1/chat/completions", headers=JSON, content=content)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_client_that_asks_before_it_sends_need_not(judging: Gateway) -> None:
    """`Expect: 100-continue` with a length beyond the limit: the refusal comes without a byte of the body."""
    address = urlsplit(judging.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-API-Key: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: 50000000\r\nExpect: 100-continue\r\n\r\n" % VIRTUAL.encode()
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize("end", [b'5\r\n{"a":XX0\r\n\r\n', b"zz\r\n"])
async def test_malformed_chunks_are_the_clients_fault(judging: Gateway, end: bytes) -> None:
    """A 400 in the shape of any other."""
    address = urlsplit(judging.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-API-Key: %b\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%b" % (VIRTUAL.encode(), end)
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "incomplete_body"
    writer.close()
