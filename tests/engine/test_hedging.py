"""`hedge`: another attempt beside one that is silent. By an engine whose upstream is scripted, without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from interpose.attempts.breaker import State
from interpose.attempts.lanes import Lane
from interpose.call import Url
from interpose.limits.periods import Period
from interpose.limits.store import Demand
from interpose.prices import Overrides, Price
from interpose.rules.compiled import Limit, Retry, Rules, Target
from interpose.rules.matching import Match
from interpose.rules.values import Budget, Rate
from interpose.upstream.client import Outgoing, UpstreamFailure

from .test_engine import COMPLETION, JSON, SSE, Bench, ScriptedReply, body
from .test_holding import GOOD, OVERLOADED, ROLE, START, STREAMS, stream
from .test_sending import ASKS, KEYS, QUICK, attempts, error, reset, rules

SOON = 0.01


def hedging(*fallback: Target, retry: Retry | None = QUICK, hold: bool = False, hedge: float = SOON) -> Rules:
    made = rules(*fallback, retry=retry)
    return replace(made, routes=(replace(made.routes[0], hold=hold, hedge=hedge),))


class Hanging(ScriptedReply):
    """A reply that says its pieces, and then nothing for as long as anybody waits."""

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            await asyncio.Event().wait()
            raise


Answer = Callable[[Outgoing], Awaitable[ScriptedReply]]


class Silent:
    """Never answers; `ended` is set when it is hung up on."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, request: Outgoing) -> ScriptedReply:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


def at_once(reply: ScriptedReply | Exception) -> Answer:
    async def answer(request: Outgoing) -> ScriptedReply:
        if isinstance(reply, Exception):
            raise reply
        return reply

    return answer


def after(event: asyncio.Event, reply: ScriptedReply | Exception) -> Answer:
    """Answers once that has happened."""

    async def answer(request: Outgoing) -> ScriptedReply:
        await event.wait()
        return await at_once(reply)(request)

    return answer


def bench(by: Rules, *answers: Answer) -> Bench:
    """An engine whose upstream answers the first request in the first way, and so on."""
    made = Bench(lambda: error(500), by)
    made.engine._rng = lambda: 0.5
    left = iter(answers)

    async def send(request: Outgoing) -> ScriptedReply:
        made.upstream.sent.append(request)
        return await next(left)(request)

    made.upstream.send = send  # type: ignore[method-assign]
    return made


def usages(made: Bench) -> list[dict[str, int] | None]:
    return [each["usage"] for each in json.loads(made.record.attempts)]


async def settled(made: Bench) -> None:
    """All that was granted has been given back or settled."""
    await asyncio.gather(*made.engine.gate._settling)


async def test_a_silent_attempt_is_overtaken_by_the_next_one() -> None:
    """The fallback's answer is the client's; the silent one is hung up on, and stands in the record with its cost."""
    silent = Silent()
    made = bench(hedging(Target("claude", "c")), silent, at_once(stream(START, *SAID)))
    reply = await made.handle(body=STREAMS)
    assert silent.ended.is_set()
    assert b'"content":"Hi"' in await body(reply)
    assert attempts(made) == [("openai", None, "hedged: lost"), ("claude", 200, None)]
    assert (made.record.provider, made.record.outcome, made.record.output_tokens) == ("claude", "ok", 2)
    assert usages(made)[0] == {"input_tokens": -(-len(STREAMS) // 4), "output_tokens": 0}
    assert json.loads(made.record.attempts)[0]["usage_source"] == "estimated"


SAID = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


async def test_with_one_target_it_is_asked_again() -> None:
    """And a route with no word of retries has two sends for silence, and none for a failure."""
    made = bench(hedging(retry=None), Silent(), at_once(ScriptedReply([COMPLETION])))
    assert await body(await made.handle(body=ASKS)) == COMPLETION
    assert attempts(made) == [("openai", None, "hedged: lost"), ("openai", 200, None)]
    failing = bench(hedging(retry=None, hedge=60), at_once(error(503, b"busy")))
    reply = await failing.handle(body=ASKS)
    assert (reply.status, await body(reply)) == (503, b"busy")


async def test_the_first_may_still_win() -> None:
    """It answers while the hedge is silent, which is then the one that is given up."""
    hedge = Silent()
    made = bench(hedging(Target("claude", "c")), after(hedge.asked, ScriptedReply([COMPLETION])), hedge)
    reply = await made.handle(body=ASKS)
    assert hedge.ended.is_set()
    assert await body(reply) == COMPLETION
    assert attempts(made) == [("openai", 200, None), ("claude", None, "hedged: lost")]
    assert made.record.provider == "openai"


async def test_a_failure_before_the_delay_goes_the_ordinary_way() -> None:
    """At once to the next one, with nothing beside it."""
    made = bench(hedging(Target("claude", "c"), hedge=60), at_once(error(503)), at_once(stream(START, *SAID)))
    await body(await made.handle(body=STREAMS))
    assert attempts(made) == [("openai", 503, "Service Unavailable"), ("claude", 200, None)]


@pytest.mark.parametrize("failure", [error(503), error(400), reset()], ids=["503", "400", "reset"])
async def test_a_hedge_that_fails_does_not_end_the_first(failure: ScriptedReply | Exception) -> None:
    """What the client never asked for tells it nothing while the first may still answer."""
    hedge = asyncio.Event()

    async def fails(request: Outgoing) -> ScriptedReply:
        hedge.set()
        return await at_once(failure)(request)

    told = asyncio.Event()

    async def first(request: Outgoing) -> ScriptedReply:
        await hedge.wait()
        while len([leg for exchange in made.engine._live for leg in exchange.legs if leg.over]) < 1:
            await asyncio.sleep(0)
        told.set()
        return ScriptedReply([COMPLETION])

    made = bench(hedging(Target("claude", "c"), retry=Retry(2)), first, fails)
    reply = await made.handle(body=ASKS)
    assert await body(reply) == COMPLETION
    assert told.is_set()
    assert [each[0] for each in attempts(made)] == ["openai", "claude"]
    assert made.record.outcome == "ok"


async def test_when_both_fail_the_client_gets_the_more_useful_error() -> None:
    """One error, one record, in the order in which they were sent."""
    asked = asyncio.Event()

    async def hedge(request: Outgoing) -> ScriptedReply:
        asked.set()
        raise reset()

    limited = error(429, b'{"error": {"message": "slow"}}', retry_after="30")
    made = bench(hedging(Target("claude", "c"), retry=Retry(2)), after(asked, limited), hedge)
    reply = await made.handle(body=ASKS)
    assert (reply.status, dict(reply.headers)[b"retry-after"]) == (429, b"30")
    await body(reply)
    assert attempts(made) == [("openai", 429, "Too Many Requests"), ("claude", None, "upstream_disconnected")]
    assert made.record.outcome == "error"


async def test_with_hold_silence_is_the_want_of_content() -> None:
    """A head and a preamble are no answer: the other one's content wins, and not a byte of the first is sent."""
    first = Hanging([ROLE], SSE)
    made = bench(hedging(hold=True), at_once(first), at_once(stream(*GOOD)))
    reply = await made.handle(body=STREAMS)
    assert await body(reply) == b"".join(GOOD)
    assert first.closed
    assert attempts(made) == [("openai", 200, "hedged: lost"), ("openai", 200, None)]


async def test_what_a_preamble_told_of_its_cost_counts() -> None:
    """Anthropic tells the input with the first event: no estimate of ours goes above the provider's word."""
    by = hedging(Target("openai"), hold=True)
    by = replace(by, routes=(replace(by.routes[0], targets=(Target("claude", "c"),)),))
    made = bench(by, at_once(Hanging([START], SSE)), at_once(stream(*GOOD)))
    await body(await made.handle(body=STREAMS))
    assert usages(made)[0] == {"input_tokens": 9, "output_tokens": 1}


async def test_an_error_in_the_preamble_of_the_hedge_is_no_answer() -> None:
    """The first one, late, is."""
    asked = asyncio.Event()

    async def hedge(request: Outgoing) -> ScriptedReply:
        asked.set()
        return stream(START, OVERLOADED)

    made = bench(hedging(Target("claude", "c"), hold=True), after(asked, stream(*GOOD)), hedge)
    assert await body(await made.handle(body=STREAMS)) == b"".join(GOOD)
    assert {each[0] for each in attempts(made)} == {"openai", "claude"}


async def test_never_more_than_two_at_a_time_and_never_more_than_attempts() -> None:
    """`retry.attempts` counts every send."""
    silents = [Silent() for _ in range(2)]
    made = bench(hedging(Target("claude", "c"), retry=Retry(2)), *silents)
    task = asyncio.create_task(made.handle(body=ASKS))
    await asyncio.gather(*(each.asked.wait() for each in silents))
    done, _ = await asyncio.wait([task], timeout=10 * SOON)
    assert not done
    assert len(made.upstream.sent) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_ends_both() -> None:
    """Both are hung up on, both stand in the one record, and all that was reserved is free."""
    silents = [Silent() for _ in range(2)]
    limit = Limit("two", Match(), None, ("provider",), concurrent=1)
    made = bench(replace(hedging(Target("claude", "c")), limits=(limit,)), *silents)
    task = asyncio.create_task(made.handle(body=ASKS))
    await asyncio.gather(*(each.asked.wait() for each in silents))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(each.ended.is_set() for each in silents)
    assert made.record.outcome == "aborted"
    assert attempts(made) == [("openai", None, None), ("claude", None, "hedged: given up")]
    await settled(made)
    for name in ("openai", "claude"):
        assert await remaining(made, f"two/concurrent/provider={name}", "concurrent", 1) == 1


async def remaining(made: Bench, key: str, kind: Any, limit: int, seconds: int | None = None) -> int:
    answer = await made.engine.gate._store.peek([Demand(key, kind, limit, 1, seconds)], made.engine.clock.now())
    (standing,) = answer.standings
    return standing.remaining


async def test_limits_are_settled_with_what_each_has_used() -> None:
    """The loser's with an estimate of what it was sent, the winner's with its provider's word, the call's with both."""
    limits = (
        Limit("each", Match(), None, ("provider",), tokens=Rate(10_000, 60)),
        Limit("all", Match(), None, (), tokens=Rate(10_000, 60)),
    )
    made = bench(replace(hedging(Target("claude", "c")), limits=limits), Silent(), at_once(stream(START, *SAID)))
    await body(await made.handle(body=STREAMS))
    await settled(made)
    sent = -(-len(STREAMS) // 4)
    assert await remaining(made, "each/tokens/provider=openai", "tokens", 10_000, 60) == 10_000 - sent
    assert await remaining(made, "each/tokens/provider=claude", "tokens", 10_000, 60) == 10_000 - 11
    assert await remaining(made, "all/tokens/", "tokens", 10_000, 60) == 10_000 - 11 - sent


async def test_a_full_limit_is_no_place_for_a_hedge() -> None:
    """The first goes on alone; nothing is in the record of what was not sent."""
    limit = Limit("none", Match(), None, ("provider",), requests=Rate(1, 60))
    by = replace(hedging(Target("claude", "c"), retry=Retry(5)), limits=(limit,))
    first = Silent()
    asked = asyncio.Event()

    async def waits(request: Outgoing) -> ScriptedReply:
        first.asked.set()
        await asked.wait()
        return ScriptedReply([COMPLETION])

    made = bench(by, waits)
    demand = Demand("none/requests/provider=claude", "requests", 1, 1, 60)
    await made.engine.gate.enter([demand], 0.0, "openai")
    task = asyncio.create_task(made.handle(body=ASKS))
    await first.asked.wait()
    done, _ = await asyncio.wait([task], timeout=5 * SOON)
    assert not done
    asked.set()
    assert await body(await task) == COMPLETION
    assert attempts(made) == [("openai", 200, None)]


async def test_hedges_are_a_share_of_the_calls_of_the_silent_one() -> None:
    """A slow provider gets no second send for each call, nor does the one beside it."""
    made = Bench(lambda: error(500), hedging(Target("claude", "c"), retry=Retry(2)))
    made.engine.clock = replace(made.engine.clock, monotonic=lambda: 0.0)
    made.engine.inforce.lanes._clock = lambda: 0.0
    go_on = asyncio.Event()

    async def send(request: Outgoing) -> ScriptedReply:
        if request.url.origin.host == "api.anthropic.com":
            return stream(START, *SAID)
        await go_on.wait()
        return stream(*GOOD)

    made.upstream.send = send  # type: ignore[method-assign]

    async def one() -> None:
        await body(await made.handle(body=STREAMS))

    # Ten are saved up, and each call brings a fifth of one: eleven bring two and a fifth.
    for batch in (10, 2, 2):
        calls = {asyncio.create_task(one()) for _ in range(11)}
        while len(made.records) < batch:
            await asyncio.wait(calls, timeout=SOON)
        await asyncio.wait(calls, timeout=10 * SOON)
        assert len(made.records) == batch
        go_on.set()
        await asyncio.gather(*calls)
        assert len(made.records) == 11
        go_on.clear()
        made.records.clear()


async def test_a_hedge_leaves_an_open_circuit_alone() -> None:
    """A provider that keeps failing is no way out; the silent one is asked again instead."""
    made = bench(hedging(Target("claude", "c")), Silent(), at_once(ScriptedReply([COMPLETION])))
    breaker = made.engine.inforce.lanes[Lane("claude", KEYS[0])].breaker
    for _ in range(20):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.leave(ticket, good=False)
    assert breaker.state is State.OPEN
    assert await body(await made.handle(body=ASKS)) == COMPLETION
    assert attempts(made) == [("openai", None, "hedged: lost"), ("openai", 200, None)]


async def test_a_probe_that_is_overtaken_leaves_the_circuit_half_open() -> None:
    """Nothing was learned of it: the next call probes again."""
    now = 0.0
    made = bench(hedging(Target("claude", "c")), Silent(), at_once(stream(START, *SAID)))
    made.engine.inforce.lanes._clock = lambda: now
    lanes = made.engine.inforce.lanes
    breaker = lanes[Lane("openai", KEYS[0])].breaker
    for _ in range(20):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.leave(ticket, good=False)
    now = 6.0
    assert breaker.state is State.HALF_OPEN
    await body(await made.handle(body=STREAMS))
    assert attempts(made)[0] == ("openai", None, "hedged: lost")
    assert breaker.state is State.HALF_OPEN
    assert breaker.enter() is not None


async def test_a_body_that_streams_is_not_hedged() -> None:
    """It can be sent once."""

    async def pieces() -> Any:
        yield ASKS

    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def late(request: Outgoing) -> ScriptedReply:
        asked.set()
        await go_on.wait()
        return ScriptedReply([COMPLETION])

    made = bench(hedging(Target("claude", "c")), late)
    task = asyncio.create_task(made.handle(body=pieces()))
    await asked.wait()
    done, _ = await asyncio.wait([task], timeout=5 * SOON)
    assert not done
    go_on.set()
    assert await body(await task) == COMPLETION


async def test_our_own_fault_in_a_hedge_fails_the_call_closed() -> None:
    """A local 500 and one record; the other attempt is hung up on."""
    silent = Silent()
    made = bench(hedging(Target("claude", "c")), silent, at_once(RuntimeError("a bug")))
    reply = await made.handle(body=ASKS)
    assert (reply.status, orjson.loads(await body(reply))["error"]["code"]) == (500, "internal_error")
    assert silent.ended.is_set()
    assert (made.record.outcome, len(attempts(made))) == ("error", 2)


async def test_a_whole_converted_reply_of_the_winner_that_breaks_off_is_sent_again() -> None:
    """As without a hedge, where the rules say so: nothing had gone to the client."""
    on = Retry(3, frozenset(("truncated", "timeout")), 0.001, 1.0)
    half = ScriptedReply([b'{"id":', UpstreamFailure("disconnected", "gone", reached=True)], JSON)
    made = bench(
        hedging(Target("claude", "c"), retry=on), Silent(), at_once(half), at_once(ScriptedReply([COMPLETION]))
    )
    assert await body(await made.handle(body=ASKS)) == COMPLETION
    assert attempts(made) == [
        ("openai", None, "hedged: lost"), ("claude", 200, "upstream_disconnected"), ("openai", 200, None)
    ]  # fmt: skip


async def test_a_hedge_leaves_a_limited_credential_alone() -> None:
    """One that rests since its provider has asked for that is no way out; the silent one is asked again instead."""
    made = bench(hedging(Target("claude", "c")), Silent(), at_once(ScriptedReply([COMPLETION])))
    made.engine.inforce.lanes.rest(Lane("claude", KEYS[0]), 60.0)
    assert await body(await made.handle(body=ASKS)) == COMPLETION
    assert attempts(made) == [("openai", None, "hedged: lost"), ("openai", 200, None)]


async def test_budgets_pay_for_what_failed_and_for_what_was_overtaken() -> None:
    """An attempt that failed behind its head, or lost against its hedge, costs its provider's budget and the call's."""
    year = Period("year")
    limits = (
        Limit("each", Match(), None, ("provider",), budget=Budget(Decimal(1), "year")),
        Limit("all", Match(), None, (), budget=Budget(Decimal(1), "year")),
    )
    prices = Overrides({"gpt-4o": Price(Decimal(2), output=Decimal(4)), "c": Price(Decimal(3), output=Decimal(5))})
    asked = -(-len(STREAMS) // 4)
    failed, answered, overtaken = 9 * 3 + 1 * 5, asked * 2 + 1 * 4, asked * 2

    async def left(made: Bench, key: str) -> int:
        demand = Demand(key, "budget", 1_000_000, 0, period=year)
        answer = await made.engine.gate._store.peek([demand], made.engine.clock.now())
        return 1_000_000 - answer.standings[0].remaining

    by = replace(hedging(Target("openai"), hold=True, hedge=60), limits=limits, prices=prices)
    by = replace(by, routes=(replace(by.routes[0], targets=(Target("claude", "c"),)),))
    made = bench(by, at_once(stream(START, OVERLOADED)), at_once(stream(*GOOD)))
    await body(await made.handle(body=STREAMS))
    await settled(made)
    costs = [each["cost_usd"] for each in json.loads(made.record.attempts)]
    assert costs == [failed / 1_000_000, answered / 1_000_000]
    assert made.record.cost_usd == pytest.approx((failed + answered) / 1_000_000)
    assert await left(made, "each/budget/provider=claude") == failed
    assert await left(made, "each/budget/provider=openai") == answered
    assert await left(made, "all/budget/") == failed + answered

    by = replace(hedging(Target("claude", "c")), limits=limits, prices=prices)
    made = bench(by, Silent(), at_once(stream(START, *SAID)))
    await body(await made.handle(body=STREAMS))
    await settled(made)
    won = 9 * 3 + 2 * 5
    assert await left(made, "each/budget/provider=openai") == overtaken
    assert await left(made, "each/budget/provider=claude") == won
    assert await left(made, "all/budget/") == overtaken + won
    assert made.record.cost_usd == pytest.approx((overtaken + won) / 1_000_000)


async def test_a_call_that_runs_no_model_is_not_hedged() -> None:
    """Two uploads of a file are two files."""
    go_on = asyncio.Event()
    made = bench(hedging(), after(go_on, ScriptedReply([COMPLETION])))
    url = Url(made.call().url.origin, "/v1/files")
    task = asyncio.create_task(made.handle(body=b"{}", url=url))
    done, _ = await asyncio.wait([task], timeout=5 * SOON)
    assert not done
    go_on.set()
    assert await body(await task) == COMPLETION
    assert attempts(made) == [("openai", 200, None)]


async def test_a_long_error_that_was_set_aside_ends_where_it_was_left() -> None:
    """What is here of it is the client's when the other one has failed, too, with no promise of more."""
    asked = asyncio.Event()

    async def hedge(request: Outgoing) -> ScriptedReply:
        asked.set()
        while not made.engine._live or not any(leg.over for each in made.engine._live for leg in each.legs):
            await asyncio.sleep(0)
        raise reset()

    cut = UpstreamFailure("disconnected", "was hung up on", reached=True)
    long = ScriptedReply([b"x" * 70_000, cut], (*JSON, (b"content-length", b"140000")), 503)
    made = bench(hedging(Target("claude", "c"), retry=Retry(2)), after(asked, long), hedge)
    reply = await made.handle(body=ASKS)
    assert (reply.status, b"content-length" in dict(reply.headers)) == (503, False)
    assert await body(reply) == b"x" * 70_000
    assert long.closed


async def test_an_answer_does_not_wait_for_the_limits_of_a_hedge() -> None:
    """A store may be slow: the first is the client's as soon as it answers, and the hedge is not sent any more."""
    asked = asyncio.Event()
    made = bench(hedging(Target("claude", "c")), after(asked, ScriptedReply([COMPLETION])))
    enter = made.engine.gate.enter
    entries = iter(["the call's", "the first one's"])

    async def slow(*about: Any) -> Any:
        if next(entries, None) is None:
            asked.set()
            await asyncio.Event().wait()
        return await enter(*about)

    made.engine.gate.enter = slow  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        assert await body(await made.handle(body=ASKS)) == COMPLETION
    assert attempts(made) == [("openai", 200, None)]
    assert len(made.upstream.sent) == 1
