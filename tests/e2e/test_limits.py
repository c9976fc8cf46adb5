"""Limits, as an unmodified SDK meets them: how many calls, tokens, and calls at a time; refused, or waited for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import ANTHROPIC, OPENAI, OWN, connect_to, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]


async def limited(farm: Farm, authority: Authority, upstream: Upstream, name: str, *limits: dict[str, Any]) -> Proxy:
    """A proxy whose rules are these limits alone: calls keep their own key, and go where they were going."""
    rules = rules_text(
        limits=list(limits),
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))},
    )
    return await farm.get(f"limits-{name}", rules)


def chat(tokens: int = 13) -> bytes:
    return json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens - 4, "completion_tokens": 4, "total_tokens": tokens},
        }
    ).encode()  # fmt: skip


async def answer(exchange: Exchange) -> None:
    await exchange.json(chat())


def client() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=OWN, max_retries=0)


async def test_so_many_calls_and_no_more(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """The third is a 429 that the SDK knows, with when to come back; it is not sent; each reply says what is left."""
    proxy = await limited(farm, authority, upstream, "requests", {"name": "chat", "requests": "2/hour", "per": "ip"})
    shell(proxy)
    mark = proxy.ledger.mark()
    async with client() as sdk:
        with upstream.answering(answer):
            left = []
            for _ in range(2):
                raw = await sdk.chat.completions.with_raw_response.create(model="m", messages=HI)
                left.append(raw.headers["x-ratelimit-remaining-requests"])
            with pytest.raises(openai.RateLimitError) as caught:
                await sdk.chat.completions.create(model="m", messages=HI)
            assert len(upstream.requests) == 2
    assert left == ["1", "0"]
    headers = caught.value.response.headers
    assert 3000 < int(headers["retry-after"]) <= 3931
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert caught.value.code == "rate_limit_exceeded"
    rows = await proxy.ledger.rows(mark, 3)
    assert [row["outcome"] for row in rows] == ["ok", "ok", "limited"]


async def test_a_429_in_the_clients_own_words(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """Claude's SDK gets Claude's error, and Claude's headers with their times."""
    proxy = await limited(farm, authority, upstream, "anthropic", {"name": "none", "requests": "0/minute"})
    shell(proxy)
    async with anthropic.AsyncAnthropic(api_key=OWN, max_retries=0) as sdk:
        with upstream.answering(answer), pytest.raises(anthropic.RateLimitError) as caught:
            await sdk.messages.create(model="m", max_tokens=9, messages=HI)
        assert upstream.requests == []
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
    assert caught.value.response.headers["anthropic-ratelimit-requests-limit"] == "0"


async def test_tokens_are_settled_by_what_was_used(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A reservation of the client's own maximum is given back as far as it was not used."""
    proxy = await limited(farm, authority, upstream, "tokens", {"name": "tokens", "tokens": "1000/hour"})
    shell(proxy)
    async with client() as sdk:
        with upstream.answering(answer):
            for call in range(5):
                raw = await sdk.chat.completions.with_raw_response.create(model="m", messages=HI, max_tokens=600)
                assert int(raw.headers["x-ratelimit-remaining-tokens"]) <= 1000 - 600 - 13 * call
            with pytest.raises(openai.RateLimitError) as caught:
                await sdk.chat.completions.create(model="m", messages=HI, max_tokens=2000)
    assert caught.value.code == "request_too_large_for_limit"


async def test_tokens_that_nobody_could_estimate_count_all_the_same(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """An image tells what it has used when it is there; who comes after it finds the limit reached."""
    proxy = await limited(farm, authority, upstream, "images", {"name": "tokens", "tokens": "500/hour"})
    shell(proxy)

    async def painted(exchange: Exchange) -> None:
        usage = {"input_tokens": 10, "output_tokens": 900, "total_tokens": 910}
        await exchange.json(json.dumps({"created": 1, "data": [{"b64_json": "eA=="}], "usage": usage}).encode())

    async with client() as sdk:
        with upstream.answering(painted):
            await sdk.images.generate(model="gpt-image-1", prompt="x")
            with pytest.raises(openai.RateLimitError) as caught:
                await sdk.images.generate(model="gpt-image-1", prompt="x")
    assert caught.value.code == "rate_limit_exceeded"


async def test_one_at_a_time_in_their_order(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """Calls wait for their turn; one whose client leaves gives its place up; the upstream never sees two."""
    proxy = await limited(farm, authority, upstream, "turns", {"name": "one", "concurrent": 1, "wait": "60s"})
    shell(proxy)
    at_once = most = 0
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        await exchange.json(chat())

    async with client() as sdk:
        with upstream.answering(slow):
            calls = [asyncio.create_task(sdk.chat.completions.create(model="m", messages=HI)) for _ in range(6)]
            while not at_once:
                await asyncio.sleep(0.01)
            calls[3].cancel()
            gate.set()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert len(upstream.requests) in (5, 6)
    assert most == 1
    assert sum(isinstance(each, openai.types.chat.ChatCompletion) for each in done) == 5


async def test_two_hundred_at_once_pass_a_tight_limit_by_one_error_at_most(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """All that is used stays within the limit, but for what one answer has beyond its estimate; refunds are used up."""
    limit, allowed, error = 2000, 100, 30
    proxy = await limited(farm, authority, upstream, "tight", {"name": "tight", "tokens": f"{limit}/hour"})
    shell(proxy)
    used: list[int] = []

    async def uneven(exchange: Exchange) -> None:
        # The first one says more than it was allowed to.
        used.append(20 if used else allowed + 30 + error)
        await exchange.json(chat(used[-1]))

    async with openai.AsyncOpenAI(api_key=OWN, max_retries=0, timeout=120) as sdk:
        with upstream.answering(uneven):
            asking = (sdk.chat.completions.create(model="m", messages=HI, max_tokens=allowed) for _ in range(200))
            done = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in done} == {openai.types.chat.ChatCompletion, openai.RateLimitError}
    assert len(used) == sum(isinstance(each, openai.types.chat.ChatCompletion) for each in done)
    assert sum(used) <= limit + error
    # A call was refused only while there was no room for it.
    assert len(used) >= limit // (allowed + 30)
