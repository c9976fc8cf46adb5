"""`hold: content` and `hedge`, with real SDKs: replies that begin well and say nothing, and silent attempts."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, CLAUDE_SAYS, data, typed
from tests.e2e.settings import ANTHROPIC, PLACEHOLDER
from tests.e2e.test_failover import (
    HI,
    KEYS,
    SAID,
    after,
    by_openai,
    failing_rules,
    good,
    hang,
    host_of,
    reset,
    status,
    streamed,
    tried,
)
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

Handler = Callable[[Exchange], Awaitable[None]]
SSE = "text/event-stream"
CLAUDE_STARTS = CLAUDE_SAYS[: CLAUDE_SAYS.index(b"event: content_block_delta")]


def rules(
    authority: Authority,
    upstream: Upstream,
    *,
    hedge: str | None = None,
    attempts: int = 3,
    slow: str = "60s",
    idle: str = "60s",
) -> str:
    """Those of the failover tests, with every route holding, and hedging if told to."""
    document = json.loads(failing_rules(authority, upstream, attempts=attempts, slow=slow))
    for provider in document["providers"].values():
        provider["timeouts"]["idle"] = idle
    more = {"hold": "content"} | ({"hedge": hedge} if hedge is not None else {})
    document["routes"] = [route | more for route in document["routes"]]
    return json.dumps(document)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def holding(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("holding", rules(authority, upstream), KEYS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hedging(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("hedging", rules(authority, upstream, hedge="300ms"), KEYS)


def begins(*more: bytes) -> Handler:
    """A reply that begins as it should, then says that and ends; or is cut off, if there is nothing more."""

    async def handle(exchange: Exchange) -> None:
        await exchange.stream(SSE)
        await exchange.chunk(CLAUDE_STARTS if host_of(exchange) == ANTHROPIC else CHAT.pieces[0])
        for piece in more:
            await exchange.chunk(piece)
        await (exchange.end() if more else reset(exchange))

    return handle


async def overloaded(exchange: Exchange) -> None:
    """An error behind a 200, in the words of either provider."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    event = typed({"type": "error", "error": error}) if host_of(exchange) == ANTHROPIC else data({"error": error})
    await begins(event)(exchange)


async def ends(exchange: Exchange) -> None:
    """A stream that is over, in good order, before it has said anything."""
    await begins(b": nothing\n\n")(exchange)


async def begins_and_hangs(exchange: Exchange) -> None:
    await exchange.stream(SSE)
    await exchange.chunk(CLAUDE_STARTS if host_of(exchange) == ANTHROPIC else CHAT.pieces[0])
    await exchange.gone.wait()


BAD: dict[str, Handler] = {"an error": overloaded, "a cut": begins(), "an end": ends}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_stream_that_fails_before_its_content_is_not_seen(
    holding: Proxy, upstream: Upstream, shell: Shell, bad: Handler
) -> None:
    """The SDK, which retries nothing itself here, reads one complete answer."""
    shell(holding)
    mark = holding.ledger.mark()
    with upstream.answering(after(bad)):
        async with by_openai() as client:
            assert await streamed(client, "gpt-4o-mini") == (SAID, "stop")
    row = await holding.ledger.row(mark)
    assert (row["outcome"], row["status"], tried(row)) == ("ok", 200, [("openai", 200), ("openai", 200)])


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_fallback_in_another_format_takes_over_behind_a_200(
    holding: Proxy, upstream: Upstream, shell: Shell, bad: Handler
) -> None:
    """An OpenAI application reads what Claude says, and an Anthropic application what OpenAI's was to say first."""
    shell(holding)
    mark = holding.ledger.mark()
    with upstream.answering(after(bad, good, bad)):
        async with by_openai() as client:
            assert await streamed(client, "x-or-claude") == ("Good day", "stop")
        async with (
            anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as claude,
            claude.messages.stream(model="x-or-claude", max_tokens=9, messages=HI) as events,
        ):
            message = await events.get_final_message()
        assert [block.text for block in message.content if block.type == "text"] == ["Good day"]
    rows = await holding.ledger.rows(mark, 2)
    assert [tried(row) for row in rows] == [[("openai", 200), ("claude", 200)]] * 2
    assert [row["outcome"] for row in rows] == ["ok", "ok"]


async def test_when_all_fail_behind_their_200_the_client_gets_one_honest_error(
    holding: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """Its SDK raises what it would raise for the provider itself, and has read no piece of any answer."""
    shell(holding)
    mark = holding.ledger.mark()
    with upstream.answering(after(overloaded, overloaded, overloaded)):
        async with by_openai() as client:
            with pytest.raises(openai.APIError, match="Overloaded"):
                await streamed(client, "gpt-4o-mini")
    row = await holding.ledger.row(mark)
    assert (row["outcome"], len(tried(row))) == ("error", 3)


async def test_bytes_are_released_as_they_came(holding: Proxy, upstream: Upstream, shell: Shell) -> None:
    """All that was withheld, then piece by piece: the client has the first word before the second is said."""
    shell(holding)
    read = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.stream(SSE)
        for piece in CHAT.pieces[:2]:
            await exchange.chunk(piece)
        await read.wait()
        for piece in CHAT.pieces[2:]:
            await exchange.chunk(piece)
        await exchange.end()

    came = b""
    with upstream.answering(after(overloaded, slowly)):
        async with (
            httpx.AsyncClient(verify=ssl.create_default_context(cafile=holding.ca), proxy=holding.url) as client,
            client.stream(
                "POST",
                f"https://{CHAT.host}{CHAT.path}",
                content=CHAT.request,
                headers={"authorization": f"Bearer {PLACEHOLDER}", "content-type": "application/json"},
            ) as reply,
        ):
            async for piece in reply.aiter_raw():
                came += piece
                if came == b"".join(CHAT.pieces[:2]):
                    read.set()
    assert came == b"".join(CHAT.pieces)


@pytest.mark.parametrize("silence", [hang, begins_and_hangs], ids=["no head", "no content"])
async def test_a_silent_provider_is_overtaken_and_hung_up_on(
    hedging: Proxy, upstream: Upstream, shell: Shell, silence: Handler
) -> None:
    """The second one's answer is the client's, and the first's connection is closed at once."""
    shell(hedging)
    mark = hedging.ledger.mark()
    with upstream.answering(after(silence)):
        async with by_openai() as client:
            assert await streamed(client, "x-or-claude") == ("Good day", "stop")
        await upstream.requests[0].connection.finished()
        assert [request.values("host")[0].decode() for request in upstream.requests] == [CHAT.host, ANTHROPIC]
    row = await hedging.ledger.row(mark)
    told = json.loads(row["attempts"])
    assert [(each["provider"], each["reason"]) for each in told] == [("openai", "hedged: lost"), ("claude", None)]
    assert told[0]["usage"]["input_tokens"] > 0
    assert (row["outcome"], row["provider"], row["output_tokens"]) == ("ok", "claude", 4)


async def test_with_one_target_the_same_is_asked_again(hedging: Proxy, upstream: Upstream, shell: Shell) -> None:
    """By another connection, with the same bytes."""
    shell(hedging)
    with upstream.answering(after(hang)):
        async with by_openai() as client:
            assert await streamed(client, "gpt-4o-mini") == (SAID, "stop")
        first, second = upstream.requests
        await first.connection.finished()
    assert first.connection is not second.connection
    assert (first.body, first.target) == (second.body, second.target)


async def test_a_client_that_leaves_ends_both_attempts(hedging: Proxy, upstream: Upstream, shell: Shell) -> None:
    """Both connections are closed, and one record tells of both."""
    shell(hedging)
    mark = hedging.ledger.mark()
    both = asyncio.Event()
    asked: list[Exchange] = []

    async def silent(exchange: Exchange) -> None:
        asked.append(exchange)
        if len(asked) == 2:
            both.set()
        await exchange.gone.wait()

    with upstream.answering(silent):
        async with by_openai() as client:
            call = asyncio.create_task(client.chat.completions.create(model="x-or-claude", messages=HI))
            await both.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.gather(*(exchange.gone.wait() for exchange in asked))
    row = await hedging.ledger.row(mark)
    assert (row["outcome"], tried(row)) == ("aborted", [("openai", None), ("claude", None)])


STORM = 100


async def test_a_storm_of_replies_that_begin_well(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """Three of ten requests fail in any way there is, behind a 200 and by silence too, under a hundred streams at once:
    each client gets a complete answer or one honest error, nothing twice, and leaves one record; nothing of ours stays
    with the provider.
    """
    text = rules(authority, upstream, hedge="1s", attempts=4, slow="10s", idle="4s")
    proxy = await farm.get("holding-storm", text, KEYS)
    shell(proxy)
    dice = random.Random(7)
    hanging = 0

    def counted(silence: Handler) -> Handler:
        async def handle(exchange: Exchange) -> None:
            nonlocal hanging
            hanging += 1
            try:
                await silence(exchange)
            finally:
                hanging -= 1

        return handle

    ways: tuple[Handler, ...] = (
        *(status(429, (b"retry-after-ms", b"5")), status(500), status(503), reset),
        *(counted(hang), counted(begins_and_hangs), *BAD.values()),
    )

    async def storm(exchange: Exchange) -> None:
        await (dice.choice(ways) if dice.random() < 0.3 else good)(exchange)

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        try:
            said, end = await streamed(client, f"{number}-or-claude" if number % 2 else "gpt-4o-mini")
        except openai.APIError as error:
            return f"error {getattr(error, 'status_code', 200)}"
        assert end == "stop"
        assert said in (SAID, "Good day")
        return "answer"

    mark = proxy.ledger.mark()
    with upstream.answering(storm):
        limits = httpx.Limits(max_connections=None)
        async with (
            openai.DefaultAsyncHttpxClient(limits=limits, timeout=120) as http,
            openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http) as client,
        ):
            ends_of = Counter(await asyncio.gather(*(one(client, number) for number in range(STORM))))
        sent = len(upstream.requests)
        # All clients have had their answers: whoever still waits for us would wait for ever.
        while hanging:
            await asyncio.gather(*(each.finished() for each in upstream.connections if each.busy))
    rows = await proxy.ledger.rows(mark, STORM)
    outcomes = Counter(row["outcome"] for row in rows)
    failed = STORM - ends_of["answer"]
    assert outcomes == {"ok": ends_of["answer"], **({"error": failed} if failed else {})}
    # Without another send three of ten would have failed.
    assert ends_of["answer"] > 0.77 * STORM, ends_of
    assert STORM + 10 < sent < 1.6 * STORM
    # A hedge may be given up before its request has reached anybody; nothing is sent that the record does not tell.
    told = sum(len(tried(row)) for row in rows)
    assert sent <= told <= sent + STORM // 10
