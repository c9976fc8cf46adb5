"""Retries and failover, with real SDKs against a provider that fails in every way it can."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, CHAT_JSON, CLAUDE_SAYS, MESSAGES_JSON
from tests.e2e.settings import ANTHROPIC, HOUSE, OPENAI, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Header, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HI: Any = [{"role": "user", "content": "Hi"}]
SAID = "Good morning ☀"
ON = [429, "5xx", "connect", "timeout", "reset"]


def failing_rules(authority: Authority, upstream: Upstream, *, attempts: int, slow: str = "60s") -> str:
    """OpenAI first, by a pool of keys for a model `pool-…`; a model `…-or-claude` falls back to Claude."""
    quick = {"attempts": attempts, "on": ON, "backoff": "10ms..20s"}

    def provider(form: str, url: str, *keys: str) -> dict[str, object]:
        credential = [{"env": f"FAKE_{key}_KEY"} for key in keys]
        return {
            "format": form,
            "base_url": url,
            "credential": credential,
            "timeouts": {"connect": slow, "first_byte": slow},
        }

    return rules_text(
        providers={
            "openai": provider("openai", f"https://{OPENAI}/v1", "OPENAI"),
            "pool": provider("openai", f"https://{HOUSE}/v1", "HOUSE", "AZURE"),
            "claude": provider("anthropic", f"https://{ANTHROPIC}", "ANTHROPIC"),
        },
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {"name": "pool", "match": {"model": "pool-*"}, "to": {"provider": "pool"}, "retry": quick},
            {
                "name": "either",
                "match": {"model": "*-or-claude"},
                "to": {"provider": "openai", "model": "gpt-4o-mini"},
                "fallback": [{"provider": "claude", "model": "claude-x"}],
                "retry": quick,
            },
            {"name": "again", "match": {"endpoint": "chat"}, "to": {"provider": "openai"}, "retry": quick},
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )


KEYS = {f"FAKE_{name.upper()}_KEY": real(name) for name in ("openai", "anthropic", "house", "azure")}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def again(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    """Another proxy of these rules: a circuit is to stay closed, however much fails in the tests of each."""
    return await farm.get("failing-once", failing_rules(authority, upstream, attempts=3), KEYS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def failing(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("failing", failing_rules(authority, upstream, attempts=3), KEYS)


def host_of(exchange: Exchange) -> str:
    return exchange.request.values("host")[0].decode()


async def good(exchange: Exchange) -> None:
    """A whole or streamed success, in the format of the host."""
    streamed = json.loads(exchange.request.body).get("stream") is True
    claude = host_of(exchange) == ANTHROPIC
    if not streamed:
        await exchange.json(MESSAGES_JSON if claude else CHAT_JSON)
        return
    await exchange.stream("text/event-stream")
    for piece in (CLAUDE_SAYS[:300], CLAUDE_SAYS[300:]) if claude else CHAT.pieces:
        await exchange.chunk(piece)
    await exchange.end()


def after(*failures: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """Fails in these ways, one for each request, then does well."""
    left = list(failures)

    async def handle(exchange: Exchange) -> None:
        await (left.pop(0) if left else good)(exchange)

    return handle


def status(code: int, *headers: Header, message: str = "not now") -> Callable[[Exchange], Awaitable[None]]:
    async def handle(exchange: Exchange) -> None:
        error = {"message": message, "type": "server_error", "code": None, "param": None}
        shape = {"type": "error", "error": {"type": "api_error", "message": message}}
        body = shape if host_of(exchange) == ANTHROPIC else {"error": error}
        await exchange.reply(json.dumps(body).encode(), code, [(b"content-type", b"application/json"), *headers])

    return handle


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def hang(exchange: Exchange) -> None:
    await exchange.gone.wait()


@asynccontextmanager
async def by_openai() -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        yield client


async def streamed(client: openai.AsyncOpenAI, model: str) -> tuple[str, str | None]:
    """The text and the finish reason of a streamed completion."""
    text, end = "", None
    async for chunk in await client.chat.completions.create(model=model, messages=HI, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            end = choice.finish_reason or end
    return text, end


def tried(row: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(each["provider"], each["status"]) for each in json.loads(row["attempts"])]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (status(429, (b"retry-after-ms", b"20")), 429),
        (status(503), 503),
        (status(529), 529),
        (reset, None),
    ],
    ids=["429", "503", "529", "reset"],
)
async def test_a_failure_then_success(
    again: Proxy,
    upstream: Upstream,
    shell: Shell,
    failure: Callable[[Exchange], Awaitable[None]],
    told: int | None,
    stream: bool,
) -> None:
    """The SDK, which retries nothing itself here, sees the success alone."""
    shell(again)
    mark = again.ledger.mark()
    with upstream.answering(after(failure)):
        async with by_openai() as client:
            if stream:
                assert await streamed(client, "gpt-4o-mini") == (SAID, "stop")
            else:
                reply = await client.chat.completions.create(model="gpt-4o-mini", messages=HI)
                assert reply.choices[0].message.content == SAID
        first, second = upstream.requests
    assert (first.body, first.target) == (second.body, second.target)
    row = await again.ledger.row(mark)
    assert (row["outcome"], row["status"], tried(row)) == ("ok", 200, [("openai", told), ("openai", 200)])


async def test_a_hang_then_a_timeout_then_success(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """A provider that takes the call and says nothing is hung up on, and asked again."""
    proxy = await farm.get("hurried", failing_rules(authority, upstream, attempts=2, slow="2s"), KEYS)
    shell(proxy)
    mark = proxy.ledger.mark()
    with upstream.answering(after(hang)):
        async with by_openai() as client:
            assert await streamed(client, "gpt-4o-mini") == (SAID, "stop")
        await upstream.requests[0].connection.finished()
    row = await proxy.ledger.row(mark)
    assert tried(row) == [("openai", None), ("openai", 200)]
    assert json.loads(row["attempts"])[0]["reason"] == "upstream_timeout"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_openai_application_falls_back_to_claude(
    failing: Proxy, upstream: Upstream, shell: Shell, stream: bool
) -> None:
    """In its own format, streamed piece by piece; OpenAI's key goes to OpenAI and Claude's to Claude."""
    shell(failing)
    mark = failing.ledger.mark()
    with upstream.answering(after(status(500))):
        async with by_openai() as client:
            if stream:
                assert await streamed(client, "x-or-claude") == ("Good day", "stop")
            else:
                reply = await client.chat.completions.create(model="x-or-claude", messages=HI)
                assert reply.choices[0].message.content
                assert reply.model == "x-or-claude"
        first, second = upstream.requests
    assert first.values("authorization") == [f"Bearer {real('openai')}".encode()]
    assert not first.anywhere(real("anthropic"))
    assert second.values("x-api-key") == [real("anthropic").encode()]
    assert not second.anywhere(real("openai"))
    row = await failing.ledger.row(mark)
    assert (row["provider"], row["sent_model"], row["outcome"]) == ("claude", "claude-x", "ok")
    assert tried(row) == [("openai", 500), ("claude", 200)]
    assert json.loads(row["attempts"])[1]["usage"]["output_tokens"] == row["output_tokens"]


async def test_a_stream_of_a_fallback_comes_as_it_is_written(failing: Proxy, upstream: Upstream, shell: Shell) -> None:
    """The client has read the first word before the provider says the second."""
    shell(failing)
    read = asyncio.Event()

    async def claude(exchange: Exchange) -> None:
        middle = CLAUDE_SAYS.index(b"day") - 100
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS[:middle])
        await read.wait()
        await exchange.chunk(CLAUDE_SAYS[middle:])
        await exchange.end()

    with upstream.answering(after(status(503), claude)):
        async with by_openai() as client:
            text = ""
            async for chunk in await client.chat.completions.create(model="a-or-claude", messages=HI, stream=True):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                if text == "Good ":
                    read.set()
    assert text == "Good day"


async def test_when_both_fail_the_client_gets_the_better_error_in_its_own_format(
    failing: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Claude's 429, with how long to wait, as OpenAI's; the 500s are in the record."""
    shell(failing)
    limited = status(429, (b"retry-after", b"33"), message="Too fast for Claude")
    mark = failing.ledger.mark()
    with upstream.answering(after(status(500), limited, status(500))):
        async with by_openai() as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="x-or-claude", messages=HI)
    assert caught.value.response.headers["retry-after"] == "33"
    assert "Too fast for Claude" in str(caught.value)
    row = await failing.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 429)
    assert tried(row) == [("openai", 500), ("claude", 429), ("openai", 500)]


async def test_an_anthropic_application_is_told_in_its_own_format(
    failing: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Nobody answers at all: one error of ours, which its SDK understands."""
    shell(failing)
    mark = failing.ledger.mark()
    with upstream.answering(after(reset, reset, reset)):
        async with anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as client:
            with pytest.raises(anthropic.InternalServerError) as caught:
                await client.messages.create(model="x-or-claude", max_tokens=9, messages=HI)
    assert caught.value.status_code == 502
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    row = await failing.ledger.row(mark)
    assert (row["outcome"], len(tried(row))) == ("error", 3)


async def test_a_key_of_a_pool_that_is_limited_makes_way_and_rests(
    failing: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """The other key answers at once, and this one is left alone for as long as its provider asked."""
    shell(failing)
    limited: set[bytes] = set()

    async def one_of_two(exchange: Exchange) -> None:
        (key,) = exchange.request.values("authorization")
        if not limited:
            limited.add(key)
        await (status(429, (b"retry-after", b"60")) if key in limited else good)(exchange)

    mark = failing.ledger.mark()
    with upstream.answering(one_of_two):
        async with by_openai() as client:
            for _ in range(6):
                await client.chat.completions.create(model="pool-x", messages=HI)
        assert len(upstream.requests) == 7
    rows = await failing.ledger.rows(mark, 6)
    assert [len(tried(row)) for row in rows] == [2, 1, 1, 1, 1, 1]
    assert len({row["credential"] for row in rows}) == 1


async def test_a_client_that_leaves_during_the_pause_ends_it(failing: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Nothing is sent for it any more."""
    shell(failing)
    answered = asyncio.Event()

    async def limited(exchange: Exchange) -> None:
        await status(429, (b"retry-after", b"15"))(exchange)
        answered.set()

    mark = failing.ledger.mark()
    with upstream.answering(limited):
        async with by_openai() as client:
            call = asyncio.create_task(client.chat.completions.create(model="gpt-4o-mini", messages=HI))
            await answered.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        row = await failing.ledger.row(mark)
        assert len(upstream.requests) == 1
    assert (row["outcome"], tried(row)) == ("aborted", [("openai", 429)])


STORM = 100


async def test_a_storm_of_failures(farm: Farm, authority: Authority, upstream: Upstream, shell: Shell) -> None:
    """Three of ten requests fail in any way under a hundred streams at once: each client gets a complete answer or one
    honest error, nothing twice, and leaves one record.
    """
    proxy = await farm.get("failing-storm", failing_rules(authority, upstream, attempts=4), KEYS)
    shell(proxy)
    dice = random.Random(5)
    ways = (status(429, (b"retry-after-ms", b"5")), status(500), status(503), reset)

    async def storm(exchange: Exchange) -> None:
        await (dice.choice(ways) if dice.random() < 0.3 else good)(exchange)

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        try:
            text, end = await streamed(client, f"{number}-or-claude" if number % 2 else "gpt-4o-mini")
        except openai.APIStatusError as error:
            return f"error {error.status_code}"
        assert end == "stop"
        assert text in (SAID, "Good day")
        return "answer"

    mark = proxy.ledger.mark()
    with upstream.answering(storm):
        limits = httpx.Limits(max_connections=None)
        async with (
            openai.DefaultAsyncHttpxClient(limits=limits, timeout=120) as http,
            openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http) as client,
        ):
            ends = Counter(await asyncio.gather(*(one(client, number) for number in range(STORM))))
        sent = len(upstream.requests)
    rows = await proxy.ledger.rows(mark, STORM)
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes == {"ok": ends["answer"], **({"error": STORM - ends["answer"]} if ends["answer"] < STORM else {})}
    # Without another send three of ten would have failed; with one for each, the budget of retries would not have held.
    assert ends["answer"] > 0.77 * STORM, ends
    assert STORM + 10 < sent < 1.6 * STORM
    assert sum(len(tried(row)) for row in rows) == sent
