"""A virtual key in the proxy's URL says who calls: with curl, httpx and an SDK, in tunnels and in plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, ConnectRefused, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT_JSON
from tests.e2e.runtimes import launch, runtime
from tests.e2e.settings import (
    EXPIRED,
    NARROW,
    OLLAMA,
    OPENAI,
    OWN,
    PLACEHOLDER,
    UNKNOWN,
    VIRTUAL,
    connect_to,
    digest,
    real,
    rules_text,
)
from tests.e2e.test_issued_keys import keys
from tests.e2e.test_sdks import Shell, curl, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
CHAT = f"https://{OPENAI}/v1/chat/completions"
ASKS = {"model": "gpt-4o", "messages": HI}
KEYS = (VIRTUAL, NARROW, EXPIRED, UNKNOWN)


async def guarded(farm: Farm, authority: Authority, upstream: Upstream, plain: Upstream) -> Proxy:
    """A proxy whose clients need a key, wherever they show it."""
    rules = rules_text(
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}}
        },
        intercept={"hosts": [OPENAI, OLLAMA], "placeholders": [PLACEHOLDER]},
        clients={
            "required": True,
            "keys": [
                {"name": "ci", "sha256": digest(VIRTUAL)},
                {"name": "narrow", "sha256": digest(NARROW), "models": ["gpt-4o*"]},
                {"name": "past", "sha256": digest(EXPIRED), "expires": "2020-01-01"},
            ],
        },
        upstream={"ca": str(authority.pem), "connect_to": {**connect_to(upstream), OLLAMA: plain.address}},
    )
    return await farm.get("proxy-keys", rules, {"FAKE_HOUSE_KEY": real("house")})


async def answer(exchange: Exchange) -> None:
    await exchange.json(CHAT_JSON)


def url(proxy: Proxy, login: str) -> str:
    return proxy.url.replace("://", f"://{login}@")


def basic(user: str, password: str) -> tuple[str, str]:
    return "Proxy-Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def tells_no_key(upstream: Upstream) -> None:
    for request in upstream.requests:
        assert request.values("proxy-authorization") == []
        assert not any(request.anywhere(key) for key in KEYS)


async def test_an_sdk_is_known_by_its_proxys_url(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The application keeps its placeholder; the key in HTTPS_PROXY is who it is, and goes nowhere."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    shell(proxy)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, url(proxy, f"ci:{VIRTUAL}"))
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o", messages=HI)
        # Its own key would be good for no other provider; who it is does not depend on it.
        async with openai.AsyncOpenAI(api_key=OWN, max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o", messages=HI)
        assert {request.values("authorization")[0] for request in upstream.requests} == {
            f"Bearer {real('house')}".encode()
        }
        tells_no_key(upstream)
    assert [row["client"] for row in await proxy.ledger.rows(mark, 2)] == ["ci", "ci"]


@pytest.mark.parametrize("login", [f"ci:{VIRTUAL}", VIRTUAL, f":{VIRTUAL}", f"{VIRTUAL}:"])
async def test_curl_may_write_the_key_in_each_way(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, shell: Shell, login: str
) -> None:
    """As the password of its name, or alone."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    variables = shell(proxy) | {"CURL_CA_BUNDLE": str(proxy.ca), "HTTPS_PROXY": url(proxy, login)}
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        sent = ("-H", "Content-Type: application/json", "-d", json.dumps(ASKS))
        assert await curl(variables, *sent, CHAT) == CHAT_JSON
        tells_no_key(upstream)
    assert (await proxy.ledger.row(mark))["client"] == "ci"


async def test_node_shows_the_key_in_its_proxys_url_by_itself(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, tmp_path: Path
) -> None:
    """With a user beside it: without one, Node keeps the key to itself."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    headers = {"content-type": "application/json", "authorization": f"Bearer {PLACEHOLDER}"}
    asked = json.dumps({"method": "POST", "headers": headers, "body": json.dumps(ASKS)})
    script = f"fetch({json.dumps(CHAT)}, {asked}).then(reply => console.log(reply.status))"
    environ = {
        "HTTPS_PROXY": url(proxy, f"ci:{VIRTUAL}"),
        "NODE_USE_ENV_PROXY": "1",
        "NODE_EXTRA_CA_CERTS": str(proxy.ca),
        "NODE_NO_WARNINGS": "1",
    }
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        program = await launch([runtime("node24"), "-e", script], environ, tmp_path)
        assert (await program.ended(), program.out.strip()) == (0, b"200"), await program.errors()
        tells_no_key(upstream)
    assert (await proxy.ledger.row(mark))["client"] == "ci"


@pytest.mark.parametrize(
    "login", [f"other:{VIRTUAL}", f"ci:{UNKNOWN}", UNKNOWN, f"ci:{EXPIRED}", EXPIRED, f"narrow:{VIRTUAL}", "ci:secret"]
)
async def test_a_key_that_is_not_good_opens_no_tunnel(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, shell: Shell, login: str
) -> None:
    """407, which clients know, for hosts of the rules and any other; nothing is dialled."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    shell(proxy)
    with upstream.answering(answer), plain_upstream.answering(answer):
        for place in (f"https://{OPENAI}/v1/models", f"https://127.0.0.1:{plain_upstream.port}/"):
            async with httpx.AsyncClient(proxy=url(proxy, login)) as client:
                with pytest.raises(httpx.ProxyError, match="407"):
                    await client.get(place)
        assert upstream.requests == plain_upstream.requests == []
    user, _, password = login.partition(":")
    with pytest.raises(ConnectRefused) as caught:
        await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=None, headers=(basic(user, password),))
    assert caught.value.response.value("proxy-authenticate") == b'Basic realm="interpose"'


async def test_other_proxies_passwords_say_nothing(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, shell: Shell
) -> None:
    """What is left over of another proxy is no key of ours: the tunnel stands, and the call needs a key of its own."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    shell(proxy)
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        async with httpx.AsyncClient(proxy=url(proxy, "user:secret")) as client:
            refused = await client.post(CHAT, json=ASKS)
            own = await client.post(CHAT, json=ASKS, headers={"Authorization": f"Bearer {VIRTUAL}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert own.status_code == 200
        tells_no_key(upstream)
    assert [row["client"] for row in await proxy.ledger.rows(mark, 2)] == [None, "ci"]


async def test_a_calls_own_key_goes_before_its_proxys(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream, shell: Shell
) -> None:
    """One program of many on a machine may have its own; what a key is not good for is refused, by either."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    shell(proxy)
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        async with httpx.AsyncClient(proxy=url(proxy, f"ci:{VIRTUAL}")) as client:
            reply = await client.post(CHAT, json=ASKS, headers={"Authorization": f"Bearer {NARROW}"})
            assert reply.status_code == 200
        async with httpx.AsyncClient(proxy=url(proxy, NARROW)) as client:
            reply = await client.post(CHAT, json={**ASKS, "model": "o3"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "model_not_permitted")
    assert [row["client"] for row in await proxy.ledger.rows(mark, 2)] == ["narrow", "narrow"]


async def test_plain_http_says_it_with_each_request(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream
) -> None:
    """To a host of the rules it is the call's client, or a 407 with its record; to any other it is taken out."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    mark = proxy.ledger.mark()
    body = json.dumps({"model": "m", "messages": HI, "stream": False}).encode()
    kind = ("Content-Type", "application/json")
    elsewhere = f"127.0.0.1:{plain_upstream.port}"

    def ask(host: str, path: str, *headers: tuple[str, str]) -> bytes:
        return request_bytes("POST", f"http://{host}{path}", host, kind, *headers, body=body)

    async with await Client.direct(proxy.address) as client:
        with plain_upstream.answering(answer):
            said = []
            for headers in ([basic("ci", VIRTUAL)], [], [basic("ci", UNKNOWN)]):
                await client.send(ask(OLLAMA, "/api/chat", *headers))
                response = await client.response()
                said.append((response.status, response.value("proxy-authenticate")))
            assert said == [(200, None), (401, None), (407, b'Basic realm="interpose"')]
            assert len(plain_upstream.requests) == 1
            await client.send(ask(elsewhere, "/page", basic("ci", VIRTUAL)))
            assert (await client.response()).status == 200
            await client.send(ask(elsewhere, "/page", basic("user", "secret")))
            assert (await client.response()).status == 200
            assert len(plain_upstream.requests) == 3
            await client.send(ask(elsewhere, "/page", basic("ci", UNKNOWN)))
            assert (await client.response()).status == 407
            assert len(plain_upstream.requests) == 3
            tells_no_key(plain_upstream)
    rows = await proxy.ledger.rows(mark, 3)
    assert [(row["client"], row["status"], row["outcome"]) for row in rows] == [
        ("ci", 200, "ok"),
        (None, 401, "refused"),
        (None, 407, "refused"),
    ]


async def test_a_key_that_is_revoked_ends_its_tunnels_calls(
    farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream
) -> None:
    """The tunnel that it has opened stands, but carries nothing more for it; a new one is not opened."""
    proxy = await guarded(farm, authority, upstream, plain_upstream)
    key = await keys(proxy, "add", "desk")
    body = json.dumps(ASKS).encode()
    ask = request_bytes("POST", "/v1/chat/completions", OPENAI, ("Content-Type", "application/json"), body=body)
    headers = (basic("desk", key),)
    tunnel = await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=client_tls(proxy.ca), headers=headers)
    async with tunnel as client:
        with upstream.answering(answer):
            await client.send(ask)
            assert (await client.response()).status == 200
            await keys(proxy, "revoke", "desk")
            async with asyncio.timeout(10):
                while True:
                    await client.send(ask)
                    response = await client.response()
                    if response.status != 200:
                        break
    assert (response.status, json.loads(response.body)["error"]["code"]) == (401, "revoked_proxy_key")
    with pytest.raises(ConnectRefused, match="407"):
        await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=None, headers=headers)
    for content in proxy.left_behind().values():
        assert key.encode() not in content
