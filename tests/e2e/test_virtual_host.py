"""The gateway at a host of the rules that nobody has: through the interceptor, without a name or a server behind it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from tests.e2e.attacks import Watch, attack, direct, get
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, VECTOR, providers
from tests.e2e.runtimes import Held, Run
from tests.e2e.settings import (
    ANTHROPIC,
    ENVIRON,
    OPENAI,
    PLACEHOLDER,
    UNKNOWN,
    VIRTUAL,
    connect_to,
    digest,
    real,
    rules_text,
)
from tests.e2e.test_modes import curl
from tests.e2e.upstream import Exchange, Upstream

from interpose import intercept
from interpose.hosts.pages import PAGES

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST = "ai.internal"
BASE = f"https://{HOST}/v1"
HI: Any = [{"role": "user", "content": "Hi"}]
BEARER = ("Authorization", f"Bearer {VIRTUAL}")
KEY = ("-H", f"Authorization: Bearer {VIRTUAL}")
BODY = json.dumps({"model": "gpt-4", "messages": HI}).encode()
SENT = ("-H", "Content-Type: application/json", "-d", BODY.decode())


def virtual_rules(authority: Authority, upstream: Upstream, **sections: Any) -> str:
    """Claude and OpenAI behind the virtual host; files go to the latter."""

    def provider(name: str, form: str, url: str) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{name.upper()}_KEY"}}

    intercept = {"virtual_host": HOST, "placeholders": [PLACEHOLDER], **sections.pop("intercept", {})}
    return rules_text(
        **{
            "providers": {
                "openai": provider("openai", "openai", f"https://{OPENAI}/v1"),
                "claude": provider("anthropic", "anthropic", f"https://{ANTHROPIC}"),
            },
            "models": [{"id": "gpt-4", "provider": "claude", "model": "claude-simulated"}],
            "intercept": intercept,
            "clients": {"keys": [{"name": "ci", "sha256": digest(VIRTUAL)}]},
            "routes": [{"name": "files", "match": {"host": HOST, "path": "/v1/files"}, "to": {"provider": "openai"}}],
            "upstream": {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))},
            **sections,
        }
    )


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("virtual-host", virtual_rules(authority, upstream), ENVIRON)


@pytest_asyncio.fixture(loop_scope="session")
async def sdk(proxy: Proxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=BASE, api_key=VIRTUAL, max_retries=0, http_client=through(proxy)) as client:
        yield client


def through(proxy: Proxy) -> httpx.AsyncClient:
    return httpx.AsyncClient(proxy=proxy.url, verify=client_tls(proxy.ca, "h2", "http/1.1"), trust_env=False)


async def test_an_sdk_finds_the_gateway_there(sdk: openai.AsyncOpenAI, proxy: Proxy, upstream: Upstream) -> None:
    """Claude answers for gpt-4, whole and as a stream; embeddings come from OpenAI. The records name the entrance."""
    mark = proxy.ledger.mark()
    with upstream.answering(providers):
        whole = await sdk.chat.completions.create(model="gpt-4", messages=HI)
        assert (whole.choices[0].message.content, whole.model) == ("Bonjour", "gpt-4")
        assert upstream.requests[0].values("x-api-key") == [real("anthropic").encode()]
        stream = await sdk.chat.completions.create(model="gpt-4", messages=HI, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(said) == "Bonjour"
        embedded = await sdk.embeddings.create(model="text-embedding-3-small", input="Hi")
        assert embedded.data[0].embedding == list(VECTOR)
    assert not any(request.anywhere(VIRTUAL) for request in upstream.requests)
    rows = await proxy.ledger.rows(mark, 3)
    assert {(row["entrance"], row["host"], row["client"], row["outcome"]) for row in rows} == {
        ("gateway", HOST, "ci", "ok")
    }
    assert [row["provider"] for row in rows] == ["claude", "claude", "openai"]


async def test_any_format_is_spoken_there(proxy: Proxy, upstream: Upstream) -> None:
    """An Anthropic client gets a model of OpenAI's."""
    async with anthropic.AsyncAnthropic(
        base_url=f"https://{HOST}",
        api_key=VIRTUAL,
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(proxy=proxy.url, verify=client_tls(proxy.ca), trust_env=False),
    ) as client:
        with upstream.answering(providers):
            reply = await client.messages.create(model="gpt-4o-mini", max_tokens=9, messages=HI)
    assert reply.content[0].type == "text"
    assert upstream.request.path == CHAT.path


async def test_plain_http_comes_in_too(proxy: Proxy, upstream: Upstream) -> None:
    """By HTTP_PROXY, on whichever port: nothing listens there anyhow."""
    for origin in (f"http://{HOST}", f"http://{HOST}:8080", f"https://{HOST}:8443"):
        with upstream.answering(providers):
            status, out, errors = await curl(
                "-x", proxy.url, "--cacert", str(proxy.ca), *KEY, *SENT, f"{origin}/v1/chat/completions"
            )
        assert status == 0, errors
        assert json.loads(out)["choices"][0]["message"]["content"] == "Bonjour"


async def test_nothing_is_looked_up_or_dialled_for_it(
    authority: Authority, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by mistake: whatever the outcome, the only names that are looked up are those of providers."""
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def noted(host: Any, *rest: Any, **more: Any) -> Any:
        asked.append(str(host))
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    async with intercept(virtual_rules(authority, upstream), environ=ENVIRON) as proxy:
        mounts = httpx.AsyncClient(proxy=proxy.url, verify=proxy.ssl_context(), trust_env=False)
        async with mounts as client:
            with upstream.answering(providers):
                for scheme in ("https", "http"):
                    url = f"{scheme}://{HOST}/v1/chat/completions"
                    answered = await client.post(url, headers=dict([BEARER]), content=BODY)
                    assert answered.status_code == 200, answered.text
                    assert (await client.get(f"{scheme}://{HOST}/nothing", headers=dict([BEARER]))).status_code == 404
                    assert (await client.get(f"{scheme}://{HOST}/healthz")).json() == {"status": "ok"}
            # Once the rules name it no more, it is no host of anybody's on the connections that there are.
            await proxy.reload(virtual_rules(authority, upstream, intercept={"virtual_host": "other.internal"}))
            gone = await client.get(f"https://{HOST}/v1/models", headers=dict([BEARER]))
            assert (gone.status_code, gone.json()["error"]["code"]) == (403, "host_not_claimed")
            # What is dialled is looked up: the watch would have seen it.
            with pytest.raises(httpx.HTTPError):
                await client.get("https://nowhere.invalid/")
        calls = await proxy.calls()
    assert [(call.entrance, call.status) for call in calls] == [
        *[("gateway", status) for status in (200, 404) * 2],
        ("intercept", 403),
    ]
    assert HOST not in asked
    assert "nowhere.invalid" in asked


async def test_the_gateways_pages_are_there(proxy: Proxy) -> None:
    """Without a key and without a record; at a provider's own host the same path is the provider's."""
    async with through(proxy) as client:
        for path in PAGES:
            page = await client.get(f"https://{HOST}{path}")
            assert page.status_code == 200, path
        assert (await client.get(f"https://{HOST}/readyz")).json() == {"status": "ok", "stale": None}
        head = await client.head(f"http://{HOST}/healthz")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.post(f"https://{HOST}/healthz")).status_code == 405


async def test_a_page_of_a_providers_host_is_the_providers(proxy: Proxy, upstream: Upstream) -> None:
    """What the gateway calls its pages is nothing but a path elsewhere."""

    async def theirs(exchange: Exchange) -> None:
        await exchange.json(b'{"theirs": true}')

    async with through(proxy) as client:
        with upstream.answering(theirs):
            assert (await client.get(f"https://{OPENAI}/healthz")).json() == {"theirs": True}


async def test_rules_that_cannot_be_used_are_told(farm: Farm, authority: Authority, upstream: Upstream) -> None:
    """By the page for balancers, as by interpose serve."""
    proxy = await farm.launch("virtual-stale", virtual_rules(authority, upstream), ENVIRON)
    (proxy.folder / "rules.yaml").write_text("version: 2\n")
    async with through(proxy) as client, asyncio.timeout(30):
        while (stale := (await client.get(f"https://{HOST}/readyz")).json()["stale"]) is None:
            await asyncio.sleep(0.05)
    assert "rules.yaml cannot be used since" in stale


REFUSED = [
    ({}, 401),
    ({"authorization": f"Bearer {UNKNOWN}"}, 401),
    ({"authorization": f"Bearer {PLACEHOLDER}"}, 401),
    ({"authorization": f"Bearer {VIRTUAL}", "x-api-key": UNKNOWN}, 401),
]


@pytest.mark.parametrize(("headers", "status"), REFUSED)
async def test_every_call_needs_a_key(proxy: Proxy, upstream: Upstream, headers: dict[str, str], status: int) -> None:
    """Though the rules do not say clients.required: this is the gateway, and its errors are the gateway's."""
    before = len(upstream.requests)
    async with through(proxy) as client:
        reply = await client.post(f"{BASE}/chat/completions", headers=headers, content=BODY)
    assert reply.status_code == status
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
    assert len(upstream.requests) == before


async def test_a_key_in_the_proxys_url_is_one(proxy: Proxy, upstream: Upstream) -> None:
    """As for every call that comes through us."""
    url = proxy.url.replace("http://", f"http://{VIRTUAL}@")
    with upstream.answering(providers):
        status, out, errors = await curl("-x", url, "--cacert", str(proxy.ca), *SENT, f"{BASE}/chat/completions")
    assert (status, json.loads(out)["model"]) == (0, "gpt-4"), errors


async def test_rules_may_ask_for_no_key(authority: Authority, upstream: Upstream) -> None:
    """clients.required: false holds for this entrance, too."""
    rules = virtual_rules(authority, upstream, clients={"required": False})
    async with intercept(rules, environ=ENVIRON) as proxy:
        client = openai.DefaultAsyncHttpxClient(proxy=proxy.url, verify=proxy.ssl_context(), trust_env=False)
        async with openai.AsyncOpenAI(base_url=BASE, api_key=PLACEHOLDER, http_client=client) as sdk:
            with upstream.answering(providers):
                reply = await sdk.chat.completions.create(model="gpt-4", messages=HI)
    assert reply.choices[0].message.content == "Bonjour"


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1/nothing", "/v2/x/y"])
async def test_other_paths_are_not_found(proxy: Proxy, path: str) -> None:
    """For whoever has a key."""
    async with through(proxy) as client:
        reply = await client.post(f"https://{HOST}{path}", headers=dict([BEARER]), content=b"{}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_route")


async def test_many_streams_share_a_connection(proxy: Proxy, upstream: Upstream) -> None:
    """HTTP/2, each stream as it comes."""
    held = Held()
    async with await Client.tunnel(proxy.address, f"{HOST}:443", tls=client_tls(proxy.ca, "h2")) as client:
        h2 = await H2Client.over(client)
        body = json.dumps({"model": "gpt-4", "messages": HI, "stream": True}).encode()
        with upstream.answering(held):
            streams = [
                await h2.post("/v1/chat/completions", HOST, ("authorization", BEARER[1]), body=body) for _ in range(20)
            ]
            for stream in streams:
                while b"Bonjour" not in stream.body:
                    assert await h2.piece(stream)
                assert not stream.complete
            for place in range(len(streams)):
                await held.let_go(place)
            for stream in streams:
                while await h2.piece(stream):
                    pass
                assert stream.complete
                assert stream.body.endswith(b"data: [DONE]\n\n")
        assert {bytes(stream.value("content-type") or b"").partition(b";")[0] for stream in streams} == {
            b"text/event-stream"
        }


async def test_who_leaves_a_stream_ends_it(proxy: Proxy, sdk: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """The provider is hung up on, the record says aborted."""
    mark = proxy.ledger.mark()
    with upstream.answering(Held()):
        stream = await sdk.chat.completions.create(model="gpt-4", messages=HI, stream=True)
        await anext(aiter(stream))
        await stream.close()
        async with asyncio.timeout(30):
            await upstream.request.connection.gone.wait()
    assert (await proxy.ledger.row(mark))["outcome"] == "aborted"


async def test_large_bodies_are_read_as_the_gateway_reads_them(proxy: Proxy, upstream: Upstream) -> None:
    """A conversation of 12 MiB is converted; a file of 40 MiB streams to where a route sends it."""
    large = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "x" * (12 << 20)}]}).encode()
    async with through(proxy) as client:
        with upstream.answering(providers):
            reply = await client.post(f"{BASE}/chat/completions", headers=dict([BEARER]), content=large, timeout=60)
        assert reply.status_code == 200, reply.text
        assert upstream.request.path == "/v1/messages"
        assert len(upstream.request.body) > 12 << 20

        async def taken(exchange: Exchange) -> None:
            await exchange.json(json.dumps({"bytes": len(exchange.request.body)}).encode())

        with upstream.answering(taken):
            reply = await client.post(f"{BASE}/files", headers=dict([BEARER]), content=bytes(40 << 20), timeout=60)
    assert reply.json() == {"bytes": 40 << 20}
    assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]


async def test_a_websocket_is_refused_by_name(proxy: Proxy, upstream: Upstream) -> None:
    """With what to do instead; the gateway has no sessions."""
    before = len(upstream.requests)
    async with await Client.tunnel(proxy.address, f"{HOST}:443", tls=client_tls(proxy.ca)) as client:
        reply = await client.request(
            "GET", "/v1/realtime?model=gpt-realtime", HOST, BEARER, ("Connection", "Upgrade"), ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        )  # fmt: skip
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "no_websockets")
    assert len(upstream.requests) == before


async def test_the_binding_holds_there_too(proxy: Proxy, watch: Watch) -> None:
    """Tunnel, handshake and request name the same host or the call is refused, whichever of them is the virtual one."""
    chat = "/v1/models"
    for target, sni, host in (
        (HOST, HOST, OPENAI),
        (OPENAI, OPENAI, HOST),
        (HOST, OPENAI, HOST),
        (OPENAI, HOST, OPENAI),
        (HOST, OPENAI, OPENAI),
        (HOST, HOST, f"{HOST}.evil.test"),
        (HOST, HOST, f"{HOST}:8443"),
    ):
        assert await attack(proxy, f"{target}:443", get(chat, host), sni=sni) == 403, (target, sni, host)
    refused = await direct(proxy, get(f"http://{HOST}{chat}", OPENAI))
    assert refused is not None
    assert refused.status == 403
    assert watch.requests == 0


async def test_a_stream_names_the_same_authority(proxy: Proxy, watch: Watch) -> None:
    """Under HTTP/2, where each stream could name another."""
    for target, authority in ((HOST, OPENAI), (OPENAI, HOST)):
        async with await Client.tunnel(proxy.address, f"{target}:443", tls=client_tls(proxy.ca, "h2")) as client:
            h2 = await H2Client.over(client)
            stream = await h2.post("/v1/chat/completions", authority, ("authorization", BEARER[1]), body=BODY)
            assert (await h2.head(stream)).status == 403
    assert watch.requests == 0


async def test_socks_clients_find_it(farm: Farm, authority: Authority, upstream: Upstream) -> None:
    """By name; by an address, as where the system leads connections to us, it is known by its handshake or Host."""
    proxy = await farm.get("virtual-socks", virtual_rules(authority, upstream), ENVIRON, "--mode", "socks5")
    trust = ("--cacert", str(proxy.ca), *KEY, *SENT)
    by_address = ("--resolve", f"{HOST}:443:203.0.113.9", "--resolve", f"{HOST}:80:203.0.113.9")
    for way in (("--socks5-hostname",), (*by_address, "--socks5")):
        for scheme in ("https", "http"):
            with upstream.answering(providers):
                status, out, errors = await curl(
                    *way, f"127.0.0.1:{proxy.port}", *trust, f"{scheme}://{HOST}/v1/chat/completions"
                )
            assert (status, json.loads(out)["model"]) == (0, "gpt-4"), errors


async def test_a_reverse_proxy_can_stand_for_it(farm: Farm, authority: Authority, upstream: Upstream) -> None:
    """The gateway at an address of its own, with mitmproxy in front."""
    rules = virtual_rules(authority, upstream)
    proxy = await farm.get("virtual-reverse", rules, ENVIRON, "--mode", f"reverse:https://{HOST}")
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(providers):
            reply = await sdk.chat.completions.create(model="gpt-4", messages=HI)
    assert reply.choices[0].message.content == "Bonjour"


async def test_programs_under_interpose_run_find_it(authority: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """By their environment alone; what they exclude from proxies does not hide it."""
    run = Run(tmp_path, virtual_rules(authority, upstream), {"NO_PROXY": "localhost,.internal", "KEY": VIRTUAL})
    url, header = f"{BASE}/chat/completions", "-HAuthorization: Bearer "
    sent = f"-H 'Content-Type: application/json' -d '{BODY.decode()}'"
    script = f"curl -sS '{header}'$KEY {sent} {url} http{url.removeprefix('https')}"
    with upstream.answering(providers):
        program = await run.start("sh", "-c", script)
        assert await program.ended() == 0, await program.errors()
    assert program.out.count(b'"content":"Bonjour"') == 2
    assert f"rules rules.yaml, gateway at {BASE}" in await program.errors()
    assert len(await run.ledger.rows("", 2)) == 2
