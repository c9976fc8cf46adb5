"""Keys that `interpose keys` makes and revokes while an interceptor runs."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import HOUSE, OPENAI, connect_to, real, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


async def keys(proxy: Proxy, *arguments: str) -> str:
    """What the command prints; it shares nothing with the proxy but the state folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "interpose",
        "keys",
        *arguments,
        "--state",
        str(proxy.state),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_a_key_is_good_at_once_and_refused_soon(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """Made, used for what it is good for, revoked, made anew: the interceptor runs all the while."""
    rules = rules_text(
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}},
            "house": {"format": "openai", "base_url": f"https://{HOUSE}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}},
        },
        clients={"required": True},
        routes=[{"name": "house", "match": {"model": "house-*"}, "to": {"provider": "house"}}],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    proxy = await farm.get("issued-keys", rules, {"FAKE_HOUSE_KEY": real("house")})
    shell(proxy)

    async def answer(exchange: Exchange) -> None:
        await exchange.json(b'{"choices": []}')

    async def ask(key: str, path: str = "chat/completions", **more: Any) -> tuple[int, str | None]:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as client:
            reply = await client.post(f"https://{OPENAI}/v1/{path}", json={**BODY, **more})
        return reply.status_code, reply.json().get("error", {}).get("code")

    with upstream.answering(answer):
        assert await ask("vk-fake-unknown") == (401, "invalid_api_key")
        key = await keys(proxy, "add", "ci", "--models", "*4o*", "--endpoints", "chat", "--providers", "openai")
        mark = proxy.ledger.mark()
        assert await ask(key) == (200, None)
        assert upstream.request.values("authorization") == [f"Bearer {real('house')}".encode()]
        assert (await proxy.ledger.row(mark))["client"] == "ci"
        assert await ask(key, model="o3") == (403, "model_not_permitted")
        assert await ask(key, "embeddings") == (403, "endpoint_not_permitted")
        assert await ask(key, model="house-4o") == (403, "provider_not_permitted")
        assert len(upstream.requests) == 1
        await keys(proxy, "revoke", "ci")
        async with asyncio.timeout(10):
            while (await ask(key))[0] == 200:
                pass
        assert await ask(key) == (401, "invalid_api_key")
        again = await keys(proxy, "add", "ci")
        assert await ask(again, model="o3") == (200, None)
    listed = json.loads(await keys(proxy, "list", "--format", "json"))
    assert sorted(row["state"] for row in listed) == ["good", "revoked"]


async def test_keys_that_cannot_be_read_let_nobody_in(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A broken file is our fault: 503, which clients try again, and nothing is sent."""
    rules = rules_text(
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}}
        },
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    proxy = await farm.get("broken-keys", rules, {"FAKE_HOUSE_KEY": real("house")})
    shell(proxy)
    (proxy.state / "keys.db").write_bytes(b"no database " * 100)

    async def never(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    with upstream.answering(never):
        async with httpx.AsyncClient(headers={"authorization": "Bearer vk-fake-key"}) as client:
            reply = await client.post(f"https://{OPENAI}/v1/chat/completions", json=BODY)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "keys_unavailable")
        assert upstream.requests == []
