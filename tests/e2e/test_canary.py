"""Credentials leave no trace: a proxy that has seen every kind of trouble has written down none of the secrets in it.

The providers' credentials, the clients' own keys and virtual keys are looked for in every file that the proxy has
written (ledger, CA folder, whatever else), in its messages, and in every reply that it makes itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, ConnectRefused, Response, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT
from tests.e2e.settings import (
    BAD,
    CANARIES,
    ENVIRON,
    EXPIRED,
    GEMINI,
    KEYLESS,
    NARROW,
    OPENAI,
    OWN,
    PLACEHOLDER,
    UNKNOWN,
    VIRTUAL,
    acting_rules,
    real,
)
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
KEYS = (OWN, VIRTUAL, EXPIRED, NARROW, UNKNOWN)


async def echo(exchange: Exchange) -> None:
    """Says back everything that came, in headers and body, as an error: the worst that a provider may do."""
    head = exchange.request.head.decode("latin-1")
    key = (exchange.request.values("authorization") or exchange.request.values("x-goog-api-key") or [b""])[0]
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {head}", "code": "invalid_api_key"}})
    await exchange.reply(
        body.encode(), 401, [(b"X-Echo", key), (b"WWW-Authenticate", b'Bearer realm="' + key + b'"')], f"Bad {key!r}"
    )


async def reset(exchange: Exchange) -> None:
    await exchange.stream(CHAT.content_type)
    await exchange.chunk(b"data: " + exchange.request.head.replace(b"\r\n", b" ") + b"\n\n")
    exchange.reset()


async def hang_up(exchange: Exchange) -> None:
    exchange.reset()


async def babble(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 " + exchange.request.head + b"\r\n\r\n")
    exchange.close()


async def call(proxy: Proxy, host: str, raw: bytes, sni: str | None = None) -> Response | None:
    try:
        async with await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(None), sni=sni) as client:
            await client.send(raw)
            return await client.response()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, ConnectRefused):
        return None


def post(host: str, path: str, *headers: tuple[str, str], model: str = "gpt-4o", extra: str = "") -> bytes:
    return request_bytes("POST", path, host, *headers, JSON, body=json.dumps({"model": model, "x": extra}).encode())


def troubles(key: str) -> list[tuple[str, bytes, str | None]]:
    """(host, request, server name): everything that is done with one key, in every place where it can stand."""
    chat, bearer = CHAT.path, ("Authorization", f"Bearer {key}")
    basic = ("Authorization", "Basic " + base64.b64encode(f"user:{key}".encode()).decode())
    return [
        (OPENAI, post(OPENAI, chat, bearer), None),
        (OPENAI, post(OPENAI, chat, basic), None),
        (OPENAI, post(OPENAI, f"{chat}?key={key}"), None),
        (OPENAI, post(OPENAI, f"/v1/unknown/{key[:4]}?api_key={key}", ("x-api-key", key)), None),
        (OPENAI, post(OPENAI, chat, ("api-key", key), ("x-goog-api-key", real("openai"))), None),
        (OPENAI, post(OPENAI, chat, bearer, model="house-1"), None),
        (OPENAI, post(OPENAI, chat, bearer, model="keyless-1"), None),
        (OPENAI, post(OPENAI, chat, bearer, extra=key), None),
        (OPENAI, post("other.test", chat, bearer), None),
        (OPENAI, post(OPENAI, chat, bearer), "other.test"),
        (OPENAI, post(OPENAI, "/v1/files/%2e%2e/x", bearer), None),
        (
            OPENAI,
            request_bytes("POST", chat, OPENAI, bearer, JSON, body=b'{"model": "' + key.encode() + b'", \xff'),
            None,
        ),
        (
            OPENAI,
            b"GET / HTTP/1.1\r\nHost: " + OPENAI.encode() + b"\r\nAuthorization : Bearer " + key.encode() + b"\r\n\r\n",
            None,
        ),
        (OPENAI, b"nonsense " + key.encode() + b"\r\n\r\n", None),
        (GEMINI, post(GEMINI, f"/v1beta/models/gemini-2.5-flash:generateContent?key={key}"), None),
        (KEYLESS, post(KEYLESS, chat, bearer), None),
        *((f"{bad}.test", post(f"{bad}.test", chat, bearer), None) for bad in BAD),
        ("nowhere.test", post("nowhere.test", chat, bearer), None),
    ]


async def test_no_secret_is_left_anywhere(
    farm: Farm, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """After every trouble with every key the proxy stops well, and none of the secrets is in anything it wrote."""
    dead = {**dial, "azure.test:443": "127.0.0.1:1"}
    proxy = await farm.launch("canary", acting_rules(authority, dead), ENVIRON)
    local: list[bytes] = []
    for handler in (echo, reset, hang_up, babble):
        with upstream.answering(handler):
            for key in (*KEYS, PLACEHOLDER):
                for host, raw, sni in troubles(key):
                    response = await call(proxy, host, raw, sni)
                    if response is not None and response.value("x-interpose-id"):
                        local.append(response.head)
                        # What the provider says back is the client's to read; what we say ourselves is not.
                        if b"Incorrect API key provided: " not in response.body and response.status != 200:
                            local.append(bytes(response.body))
            tunnel = await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca, "h2"))
            async with await H2Client.over(tunnel) as client:
                stream = await client.post(CHAT.path, OPENAI, ("authorization", f"Bearer {OWN}"), body=b"{}")
                client.cancel(stream)
    with upstream.answering(echo):
        response = await call(proxy, OPENAI, post(OPENAI, CHAT.path, ("Authorization", f"Bearer {PLACEHOLDER}")))
        assert response is not None
        assert response.status == 401
        assert real("openai").encode() in response.body, "the echo did not work, so that nothing was tried"
        assert real("openai").encode() not in response.head
    assert len(proxy.ledger.after()) > 300
    assert await proxy.stop() == 0
    written = proxy.left_behind()
    assert "state/usage.db" in written
    found = [f"{name} holds {key}" for name, data in written.items() for key in CANARIES if key.encode() in data]
    found += [
        f"a reply of ours holds {key}: {said!r}" for said in local for key in ENVIRON.values() if key.encode() in said
    ]
    assert not found, "\n".join(found)


async def test_the_search_finds_what_is_there(farm: Farm, authority: Authority, dial: dict[str, str]) -> None:
    """A secret in a file or in the messages of a proxy is found: the search above can fail."""
    proxy = await farm.launch("leaky", acting_rules(authority, dial), ENVIRON)
    assert await proxy.stop() == 0
    leak = proxy.state / "ca" / "leak.txt"
    leak.write_text(f"x{OWN}y")
    try:
        assert [name for name, data in proxy.left_behind().items() if OWN.encode() in data] == ["state/ca/leak.txt"]
        proxy.stderr.append(f"oops {OWN}")
        assert OWN.encode() in proxy.left_behind()["(stderr)"]
    finally:
        proxy.stderr.pop()
        leak.unlink()
