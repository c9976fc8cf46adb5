"""Attacks on the surface around the credential: keys in odd places, secrets that break lines, paths, upgrades.

The numbers are those of the list of attack cases; 1 to 16 are in test_binding.py.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.e2e.attacks import Watch, attack, get, ok
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls
from tests.e2e.proxy import Proxy
from tests.e2e.settings import (
    ANTHROPIC,
    ENVIRON,
    KEYLESS,
    OPENAI,
    PLACEHOLDER,
    VIRTUAL,
    acting_rules,
    canary,
    real,
)
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
BEARER = ("Authorization", f"Bearer {PLACEHOLDER}")
JSON = ("Content-Type", "application/json")


# 17-19, 23: what is not a key in its place is not touched, and never routes


async def test_17_18_19_a_placeholder_elsewhere_is_untouched(acting: Proxy, upstream: Upstream, watch: Watch) -> None:
    """In the body, the path, the query and in other headers a placeholder is text like any other."""
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": PLACEHOLDER}]}).encode()
    others = [("User-Agent", PLACEHOLDER), ("Referer", f"https://x.test/{PLACEHOLDER}"), ("traceparent", PLACEHOLDER)]
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        target = f"{CHAT}?note={PLACEHOLDER}"
        assert (await client.request("POST", target, OPENAI, BEARER, *others, JSON, body=body)).status == 200
    request = upstream.request
    assert (bytes(request.body), request.target) == (body, target.encode())
    assert [request.values(name) for name, _ in others] == [[value.encode()] for _, value in others]
    assert request.values("authorization") == [f"Bearer {real('openai')}".encode()]


async def test_20_a_placeholder_in_basic_is_replaced(acting: Proxy, upstream: Upstream, watch: Watch) -> None:
    """A placeholder as the password of Basic authentication is decoded, recognised, and does not go out."""
    coded = base64.b64encode(f"user:{PLACEHOLDER}".encode()).decode()
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        assert (await client.request("GET", MODELS, OPENAI, ("Authorization", f"Basic {coded}"))).status == 200
    (value,) = upstream.request.values("authorization")
    scheme, _, rest = value.partition(b" ")
    sent = base64.b64decode(rest) if scheme == b"Basic" else rest
    assert real("openai").encode() in sent
    assert PLACEHOLDER.encode() not in sent


async def test_23_addresses_and_keys_in_the_body_never_route(
    acting: Proxy, upstream: Upstream, stray: Upstream, watch: Watch
) -> None:
    """`api_base`, `base_url` and `api_key` in a body are the provider's to read: bytes, not instructions."""
    body = json.dumps(
        {
            "model": "gpt-4o",
            "api_base": f"https://{stray.address}/v1",
            "base_url": f"https://{stray.address}/v1",
            "api_key": VIRTUAL,
            "host": KEYLESS,
        }
    ).encode()
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        assert (await client.request("POST", CHAT, OPENAI, BEARER, JSON, body=body)).status == 200
    assert bytes(upstream.request.body) == body
    assert not stray.requests


# 27


@pytest.mark.parametrize("bad", ["line\r\nbreak", "line\nbreak", "\n"])
async def test_27_a_credential_with_a_line_break_is_a_load_error(
    authority: Authority, dial: dict[str, str], tmp_path: Path, bad: str
) -> None:
    """A secret that would end its header line is refused at the start, by name, without being shown."""
    secret = canary("broken")
    proxy = Proxy(tmp_path / "proxy")
    await proxy.launch(acting_rules(authority, dial), {**ENVIRON, "FAKE_OPENAI_KEY": secret + bad + secret})
    assert await proxy.ended() == 2
    assert "FAKE_OPENAI_KEY" in proxy.errors
    assert secret not in proxy.errors
    assert "Traceback" not in proxy.errors
    assert proxy.port == 0


async def test_27_a_missing_credential_is_a_load_error(
    authority: Authority, dial: dict[str, str], tmp_path: Path
) -> None:
    """A secret that is not there is one clear message with file and line; nothing is started."""
    proxy = Proxy(tmp_path / "proxy")
    rest = {name: value for name, value in ENVIRON.items() if name != "FAKE_HOUSE_KEY"}
    await proxy.launch(acting_rules(authority, dial), rest)
    assert await proxy.ended() == 2
    assert "FAKE_HOUSE_KEY" in proxy.errors
    assert "rules.yaml:" in proxy.errors
    assert proxy.port == 0


# 28


@pytest.mark.parametrize(
    "target",
    [
        "/v1/files/%2e%2e/organization/admin_api_keys",
        "/v1/files/%2E%2E%2Forganization",
        "/v1/files/..%2forganization",
        "/v1/files/../organization/admin_api_keys",
        "/v1/files/%252e%252e/organization",
        "/v1/files/%5c..%5corganization",
        "/v1/files/..\\organization",
        "/v1/files//organization",
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/files/a%00b",
        "/v1/files/./x",
    ],
)
async def test_28_paths_that_two_readers_read_differently(acting: Proxy, watch: Watch, target: str) -> None:
    """A path that walks around a rule about paths is a 403, and nothing is sent."""
    assert await attack(acting, f"{OPENAI}:443", get(target, OPENAI)) in (400, 403)
    assert watch.requests == 0


# 29


async def test_29_a_websocket_upgrade_is_checked_alike(acting: Proxy, watch: Watch) -> None:
    """A WebSocket upgrade with another Host is a 403, and none carries a credential."""
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    def shake(host: str) -> bytes:
        return get("/v1/realtime?model=gpt-realtime", host)[:-2] + upgrade.encode()

    assert await attack(acting, f"{OPENAI}:443", shake(ANTHROPIC)) == 403
    assert await attack(acting, f"{OPENAI}:443", shake("evil.test")) == 403
    assert await attack(acting, f"{OPENAI}:443", shake(OPENAI), sni=ANTHROPIC, verify=False) == 403
    assert watch.requests == 0


# 39


async def test_39_proxy_authorization_stays_with_the_proxy(acting: Proxy, audit: Proxy, upstream: Upstream) -> None:
    """Proxy-Authorization of the tunnel and of the request inside it never reaches the upstream."""
    secret = canary("proxy-password")
    header = ("Proxy-Authorization", "Basic " + base64.b64encode(f"user:{secret}".encode()).decode())
    for proxy in (acting, audit):
        with upstream.answering(ok):
            async with await Client.tunnel(
                proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca), headers=(header,)
            ) as client:
                assert (await client.request("GET", MODELS, OPENAI, BEARER, header)).status == 200
        assert not upstream.request.values("proxy-authorization")
        assert not upstream.request.anywhere(header[1])


# 49, 50: requests that two parsers may read differently

AMBIGUOUS = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   x",
    "lengths in one": b"Content-Length: 5, 6\r\n\r\n{}   x",
    "signed length": b"Content-Length: +2\r\n\r\n{}",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "bad chunk end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
    "folded header": b"X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in a value": b"X-Nul: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"Nonsense\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_49_50_ambiguous_requests_are_refused(acting: Proxy, watch: Watch, rest: bytes) -> None:
    """A request whose framing or headers can be read in two ways is refused, and nothing of it is sent."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {OPENAI}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n"
    smuggled = get("/v1/smuggled", OPENAI)
    status = await attack(acting, f"{OPENAI}:443", head.encode() + rest + smuggled)
    assert status is None or 400 <= status < 600
    assert watch.requests == 0
