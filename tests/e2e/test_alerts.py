"""Alerts of a running gateway, as whoever they wake up gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ENVIRON, VIRTUAL, gateway_rules
from tests.e2e.test_gateway import HI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALERTS = [
    {"name": "errors", "when": "error_rate > 50%", "window": "4s", "min_requests": 3},
    {"name": "spend", "when": "budget >= 80%"},
    {"name": "quota", "when": "quota < 10%"},
]


@pytest_asyncio.fixture(loop_scope="session")
async def told() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """A webhook's URL, and what it gets."""
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        got.put_nowait(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/FAKE-HOOK-SECRET", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/${{HOOK}}", got
    await runner.cleanup()


async def test_somebody_is_told_when_it_begins_and_when_it_is_over(
    tmp_path: Path, authority: Authority, upstream: Upstream, told: tuple[str, asyncio.Queue[dict[str, Any]]]
) -> None:
    """Of errors, of a budget and of a provider's quota; the webhook's secret is seen nowhere."""
    url, got = told
    rules = gateway_rules(
        authority,
        upstream,
        alerts=[{**alert, "notify": ["log", {"webhook": url}]} for alert in ALERTS],
        limits=[{"name": "team", "per": "client", "budget": "$1/day"}],
        prices={"gpt-4o": {"input": 0, "output": 90000}},
    )
    gateway = Gateway(tmp_path)
    await gateway.start(rules, {**ENVIRON, "HOOK": "FAKE-HOOK-SECRET"})

    async def answer(exchange: Exchange) -> None:
        await exchange.json(b'{"error": {"message": "no"}}', 400)

    async def nearly_empty(exchange: Exchange) -> None:
        quota = {"limit": "100", "remaining": "7", "reset": "60s"}
        headers = [(f"x-ratelimit-{name}-requests".encode(), value.encode()) for name, value in quota.items()]
        await exchange.reply(CHAT_JSON, 200, [(b"content-type", b"application/json"), *headers])

    async def next_one() -> tuple[str, str, str | None]:
        async with asyncio.timeout(60):
            content = await got.get()
        return content["alert"], content["state"], content["subject"]

    try:
        async with httpx.AsyncClient(headers={"x-api-key": VIRTUAL}, timeout=60) as client:
            body = {"model": "gpt-4o-mini", "messages": HI}
            with upstream.answering(answer):
                for _ in range(3):
                    assert (await client.post(f"{gateway.base_url}/chat/completions", json=body)).status_code == 400
            assert await next_one() == ("errors", "firing", None)
            assert await next_one() == ("errors", "resolved", None)
            with upstream.answering(nearly_empty):
                body = {"model": "gpt-4o", "messages": HI, "max_tokens": 9}
                reply = await client.post(f"{gateway.base_url}/chat/completions", json=body)
                assert reply.status_code == 200, reply.text
        assert sorted([await next_one(), await next_one()], key=str) == [
            ("quota", "firing", "openai (env:FAKE_OPENAI_KEY)"),
            ("spend", "firing", "team, client=ci"),
        ]
    finally:
        assert await gateway.stop() == 0, gateway.errors
    assert "alert [firing] errors: error_rate is 100%, of 3 calls in 4s (error_rate > 50%)" in gateway.errors
    assert not [name for name, content in gateway.left_behind().items() if b"FAKE-HOOK-SECRET" in content]
