"""`prefer`, with an unmodified SDK: the target that does well gets the calls."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import HOUSE, OPENAI, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.test_failover import good, host_of, tried
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]


async def preferring(farm: Farm, authority: Authority, upstream: Upstream, prefer: str) -> Proxy:
    def provider(host: str, key: str) -> dict[str, object]:
        return {"format": "openai", "base_url": f"https://{host}/v1", "credential": {"env": f"FAKE_{key}_KEY"}}

    rules = rules_text(
        providers={"openai": provider(OPENAI, "OPENAI"), "house": provider(HOUSE, "HOUSE")},
        intercept={"placeholders": [PLACEHOLDER]},
        models=[{"id": "m", "provider": "openai", "model": "dear"}, {"id": "m", "provider": "house", "model": "cheap"}],
        prices={"dear": {"input": 5, "output": 50}, "cheap": {"input": 0.1, "output": 0.1}},
        routes=[{"name": "best", "to": [{"provider": "openai"}, {"provider": "house"}], "prefer": prefer}],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    keys = {f"FAKE_{name.upper()}_KEY": real(name) for name in ("openai", "house")}
    return await farm.get(f"prefer-{prefer}", rules, keys)


async def test_who_fails_is_not_fast(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """The first call finds out, and is answered all the same; those that follow go to the other at once."""
    proxy = await preferring(farm, authority, upstream, "fastest")
    shell(proxy)

    async def answer(exchange: Exchange) -> None:
        if host_of(exchange) == OPENAI:
            await exchange.json(b'{"error": {"message": "no"}}', 503)
        else:
            await good(exchange)

    mark = proxy.ledger.mark()
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(answer):
            for _ in range(4):
                await client.chat.completions.create(model="m", messages=HI)
    rows = await proxy.ledger.rows(mark, 4)
    assert [tried(row) for row in rows] == [[("openai", 503), ("house", 200)], *[[("house", 200)]] * 3]


async def test_who_is_busy_gets_no_more(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """A call that is still streaming counts; when it has ended, its target is as good as before."""
    proxy = await preferring(farm, authority, upstream, "least_busy")
    shell(proxy)
    gate = asyncio.Event()
    mark = proxy.ledger.mark()

    async def held(exchange: Exchange) -> None:
        await gate.wait()
        await good(exchange)

    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(held):
            calls = []
            for number in range(4):
                calls.append(asyncio.create_task(client.chat.completions.create(model="m", messages=HI)))
                while len(upstream.requests) <= number:
                    await asyncio.sleep(0.01)
            hosts = [request.values("host")[0].decode() for request in upstream.requests]
            gate.set()
            await asyncio.gather(*calls)
            await proxy.ledger.rows(mark, 4)
            await client.chat.completions.create(model="m", messages=HI)
            hosts.append(upstream.requests[-1].values("host")[0].decode())
    assert hosts == [OPENAI, HOUSE, OPENAI, HOUSE, OPENAI]


async def test_who_is_cheap_is_asked_first(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """By the rules' own prices, for each target's model; the dearer one answers where that fails."""
    proxy = await preferring(farm, authority, upstream, "cheapest")
    shell(proxy)
    down = False

    async def answer(exchange: Exchange) -> None:
        if down and host_of(exchange) == HOUSE:
            await exchange.json(b'{"error": {"message": "no"}}', 503)
        else:
            await good(exchange)

    mark = proxy.ledger.mark()
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(answer):
            for failing in (False, True):
                down = failing
                await client.chat.completions.create(model="m", messages=HI)
    rows = await proxy.ledger.rows(mark, 2)
    assert [tried(row) for row in rows] == [[("house", 200)], [("house", 503), ("openai", 200)]]
    assert [row["sent_model"] for row in rows] == ["cheap", "dear"]
