"""`quota_below`, with unmodified SDKs: what the provider says of itself leads the calls that follow elsewhere."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.replies import CHAT, CHAT_JSON, MESSAGES_JSON
from tests.e2e.settings import ANTHROPIC, HOUSE, OPENAI, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.test_failover import host_of, streamed
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Header, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]


async def test_a_provider_whose_quota_ends_is_spared(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """Batch work goes elsewhere, streamed or not, as soon as a reply has told it; other calls stay, bytes untouched."""

    def provider(form: str, url: str, key: str) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{key}_KEY"}}

    rules = rules_text(
        providers={
            "openai": provider("openai", f"https://{OPENAI}/v1", "OPENAI"),
            "claude": provider("anthropic", f"https://{ANTHROPIC}", "ANTHROPIC"),
            "house": provider("openai", f"https://{HOUSE}/v1", "HOUSE"),
        },
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {
                "name": "spare",
                "match": {"header": {"x-work": "batch"}, "quota_below": "20%"},
                "to": {"provider": "house", "model": "house-model"},
            },
            {
                "name": "week",
                "match": {"host": ANTHROPIC, "quota_below": {"claude": "10%"}},
                "to": {"provider": "house", "model": "house-model"},
            },
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    keys = {f"FAKE_{name.upper()}_KEY": real(name) for name in ("openai", "anthropic", "house")}
    proxy = await farm.get("quotas", rules, keys)
    shell(proxy)
    remaining, used = 50, 0.5

    async def answer(exchange: Exchange) -> None:
        told: list[Header] = [
            (b"x-ratelimit-limit-requests", b"100"),
            (b"x-ratelimit-remaining-requests", b"%d" % remaining),
            (b"x-ratelimit-reset-requests", b"1h0m0s"),
        ]
        kind = (b"content-type", b"application/json")
        if host_of(exchange) == ANTHROPIC:
            told = [(b"anthropic-ratelimit-unified-7d-utilization", str(used).encode())]
            await exchange.reply(MESSAGES_JSON, 200, [kind, *told])
        elif host_of(exchange) == OPENAI:
            await exchange.reply(CHAT_JSON, 200, [kind, *told])
        elif b'"stream"' in exchange.request.body:
            await exchange.stream("text/event-stream")
            for piece in CHAT.pieces:
                await exchange.chunk(piece)
            await exchange.end()
        else:
            await exchange.json(CHAT_JSON)

    with upstream.answering(answer):
        batch = openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, default_headers={"x-work": "batch"})
        async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as plain, batch:
            await batch.chat.completions.create(model="m", messages=HI)
            remaining = 10
            raw = await plain.chat.completions.with_raw_response.create(model="m", messages=HI)
            assert (raw.content, raw.headers["x-ratelimit-remaining-requests"]) == (CHAT_JSON, "10")
            await batch.chat.completions.create(model="m", messages=HI)
            await streamed(batch, "m")
            await plain.chat.completions.create(model="m", messages=HI)
            remaining = 90
            await plain.chat.completions.create(model="m", messages=HI)
            await batch.chat.completions.create(model="m", messages=HI)
        hosts = [request.values("host")[0].decode() for request in upstream.requests]
        assert hosts == [OPENAI, OPENAI, HOUSE, HOUSE, OPENAI, OPENAI, OPENAI]
        async with anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as claude:
            for share in (0.5, 0.93, 0.93):
                used = share
                reply = await claude.messages.create(model="c", max_tokens=9, messages=HI)
                assert reply.role == "assistant"
        hosts = [request.values("host")[0].decode() for request in upstream.requests]
        assert hosts[-3:] == [ANTHROPIC, ANTHROPIC, HOUSE]
