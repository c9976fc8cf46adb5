"""Budgets, as unmodified SDKs meet them: so much money in a calendar period, whatever happens to the calls or to us."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.settings import ANTHROPIC, HOUSE, OPENAI, OWN, connect_to, real, rules_text
from tests.e2e.test_issued_keys import keys
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
# Of gpt-4o, 1,000 tokens each way cost $0.0125; the rules' m costs the same wherever it runs.
PRICE = {"input": 2.5, "output": 10}
COST = 0.0125


def rules(authority: Authority, upstream: Upstream, *limits: dict[str, Any], **more: Any) -> str:
    return rules_text(
        limits=list(limits),
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC, HOUSE))},
        **more,
    )


def chat(asked: int = 1000, answered: int = 1000) -> bytes:
    return json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered},
        }
    ).encode()  # fmt: skip


async def answer(exchange: Exchange) -> None:
    await exchange.json(chat())


def client(key: str = OWN) -> openai.AsyncOpenAI:
    """With the retries that the SDK has by itself."""
    return openai.AsyncOpenAI(api_key=key)


async def ask(sdk: openai.AsyncOpenAI, model: str = "gpt-4o", most: int = 1000) -> Any:
    return await sdk.chat.completions.create(model=model, messages=HI, max_tokens=most)


async def test_what_is_spent_is_refused_once_and_for_all(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """The third call is a 429 that says which budget is spent and when it starts anew; the SDK does not try again."""
    limit = {"name": "spend", "budget": "$0.03/year", "per": "ip"}
    proxy = await farm.get("budgets-openai", rules(authority, upstream, limit))
    shell(proxy)
    mark = proxy.ledger.mark()
    async with client() as sdk:
        with upstream.answering(answer):
            for _ in range(2):
                await ask(sdk)
            with pytest.raises(openai.RateLimitError) as caught:
                await ask(sdk)
            assert len(upstream.requests) == 2
    assert caught.value.code == "insufficient_quota"
    assert "The budget of $0.03 a year (spend, ip=127.0.0.1) is spent" in caught.value.message
    assert "-01-01 00:00 UTC" in caught.value.message
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert 0 < int(headers["retry-after"]) <= 86_400
    rows = await proxy.ledger.rows(mark, 3)
    assert [(row["outcome"], row["cost_usd"]) for row in rows] == [("ok", COST), ("ok", COST), ("limited", None)]
    assert rows[0]["price_version"].startswith("genai-prices ")


async def test_claudes_sdk_is_refused_in_its_own_words(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A call that alone may cost more than the budget is refused at once, and not tried again."""
    proxy = await farm.get("budgets-anthropic", rules(authority, upstream, {"name": "tiny", "budget": "$0.01/year"}))
    shell(proxy)
    mark = proxy.ledger.mark()
    async with anthropic.AsyncAnthropic(api_key=OWN) as sdk:
        with upstream.answering(answer), pytest.raises(anthropic.RateLimitError) as caught:
            await sdk.messages.create(model="claude-opus-4-6", max_tokens=1000, messages=HI)
        assert upstream.requests == []
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
    assert "is less than what this call alone needs" in str(caught.value)
    await proxy.ledger.row(mark)


async def test_a_budget_holds_through_a_crash(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """What was spent and recorded before a kill -9 is spent after the next start: by client and by provider."""
    text = rules(
        authority,
        upstream,
        {"name": "by-ip", "match": {"model": "gpt-4o"}, "budget": "$0.03/year", "per": "ip"},
        {"name": "by-provider", "match": {"model": "m"}, "budget": "$0.03/year", "per": ["provider", "key"]},
        providers={
            "house": {"format": "openai", "base_url": f"https://{HOUSE}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}}
        },
        routes=[{"name": "house", "match": {"model": "m"}, "to": {"provider": "house"}}],
        prices={"m": PRICE},
    )
    environ = {"FAKE_HOUSE_KEY": real("house")}
    first = await farm.launch("budgets-crash", text, environ)
    shell(first)
    mark = first.ledger.mark()
    async with client() as sdk:
        with upstream.answering(answer):
            for model in ("gpt-4o", "gpt-4o", "m", "m"):
                await ask(sdk, model)
    await first.ledger.rows(mark, 4)
    os.kill(first.pid, signal.SIGKILL)
    await first.ended()
    second = await farm.launch("budgets-again", text, environ, "--state", str(first.state))
    second.state = first.state
    shell(second)
    async with client() as sdk:
        with upstream.answering(answer):
            for model in ("gpt-4o", "m"):
                with pytest.raises(openai.RateLimitError) as caught:
                    await ask(sdk, model)
                assert caught.value.code == "insufficient_quota"
            await ask(sdk, "gpt-4o-mini")
            assert len(upstream.requests) == 1


async def test_many_calls_at_once_do_not_spend_what_is_not_there(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """50 calls at the same time: what each may cost is reserved before it is sent, so the budget is not overdrawn."""
    proxy = await farm.get("budgets-crowd", rules(authority, upstream, {"name": "crowd", "budget": "$0.1/year"}))
    shell(proxy)
    mark = proxy.ledger.mark()

    async def exact(exchange: Exchange) -> None:
        await exchange.json(chat(1, 1000))

    async with openai.AsyncOpenAI(api_key=OWN, max_retries=0) as sdk:
        with upstream.answering(exact):
            done = await asyncio.gather(*(ask(sdk) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(each, openai.RateLimitError) for each in done) == 50 - 9
    rows = await proxy.ledger.rows(mark, 50)
    spent = sum(row["cost_usd"] or 0 for row in rows)
    assert 0.1 - 0.0101 < spent <= 0.1


async def test_a_stream_that_is_cut_off_costs_what_it_used(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A client that leaves pays for what it was sent, by estimate, and gets the rest of its reservation back."""
    limit = {"name": "cut", "budget": "$0.015/year"}
    proxy = await farm.get("budgets-cut", rules(authority, upstream, limit))
    shell(proxy)
    mark = proxy.ledger.mark()

    async def begun(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
        delta = {**piece, "choices": [{"index": 0, "delta": {"content": "x" * 400}, "finish_reason": None}]}
        await exchange.chunk(b"data: " + json.dumps(delta).encode() + b"\n\n")
        await exchange.gone.wait()

    async with client() as sdk:
        with upstream.answering(begun):
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=HI, max_tokens=1000, stream=True)
            async for _ in stream:
                break
            await stream.close()
            row = await proxy.ledger.row(mark)
        assert row["outcome"] == "aborted"
        assert row["usage_source"] == "estimated"
        assert row["output_tokens"] == 100
        assert row["cost_usd"] == pytest.approx((row["input_tokens"] * 2.5 + 100 * 10) / 1_000_000)
        with upstream.answering(answer):
            await ask(sdk)


async def test_a_key_has_a_budget_of_its_own(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """Keys of the rules and keys that were issued: each may spend its own, and `keys list` tells it."""
    text = rules(
        authority,
        upstream,
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_HOUSE_KEY"}}
        },
        clients={"required": True},
    )
    proxy = await farm.get("budgets-keys", text, {"FAKE_HOUSE_KEY": real("house")})
    shell(proxy)
    poor = await keys(proxy, "add", "poor", "--budget", "$0.02/year")
    rich = await keys(proxy, "add", "rich", "--budget", "$1/year")
    listed = {each["name"]: each["budget"] for each in json.loads(await keys(proxy, "list", "--format", "json"))}
    assert listed == {"poor": "$0.02/year", "rich": "$1/year"}
    async with client(poor) as one, client(rich) as other:
        with upstream.answering(answer):
            await ask(one)
            with pytest.raises(openai.RateLimitError) as caught:
                await ask(one)
            await ask(other)
    assert "The budget of $0.02 a year of this key is spent" in caught.value.message


async def test_what_has_no_price_is_let_through_and_told(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A budget cannot hold what nobody knows the price of: the log says so once, and the record has no cost."""
    proxy = await farm.get("budgets-unknown", rules(authority, upstream, {"name": "blind", "budget": "$0.01/year"}))
    shell(proxy)
    mark = proxy.ledger.mark()

    async def unnamed(exchange: Exchange) -> None:
        await exchange.json(chat().replace(b"gpt-4o", b"my-own"))

    async with client() as sdk:
        with upstream.answering(unnamed):
            for _ in range(3):
                await ask(sdk, "my-own")
    rows = await proxy.ledger.rows(mark, 3)
    assert [row["cost_usd"] for row in rows] == [None] * 3
    assert proxy.errors.count("the budget blind cannot hold calls of the model my-own") == 1
