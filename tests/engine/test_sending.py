"""Sending a call again and elsewhere: by an engine whose upstream is scripted, without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from interpose.call import Origin
from interpose.limits.store import Demand
from interpose.rules.compiled import Limit, Provider, Retry, Route, Rules, Target
from interpose.rules.matching import Match
from interpose.rules.secrets import CredentialSource, SecretError
from interpose.rules.values import Rate
from interpose.secret import Secret
from interpose.upstream.client import Outgoing, UpstreamFailure

from .test_engine import COMPLETION, JSON, OPENAI, SSE, Bench, ScriptedReply, body

CLAUDE = Origin("https", "api.anthropic.com", 443)
KEYS = tuple(CredentialSource("env", (name,)) for name in ("KEY_A", "KEY_B"))
QUICK = Retry(attempts=3, low=0.001, high=1.0)
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}'
)
ASKS = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'
SPENT = b'{"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}}'


def rules(*fallback: Target, retry: Retry | None = QUICK, pool: tuple[CredentialSource, ...] = ()) -> Rules:
    providers = {
        "openai": Provider("openai", "openai", None, OPENAI, "/v1", KEYS[0], pool=pool),
        "claude": Provider("claude", "anthropic", None, CLAUDE, "", KEYS[0]),
    }
    route = Route("r", Match(), None, (Target("openai"),), fallback, retry)
    return Rules("test", providers=MappingProxyType(providers), routes=(route,))


Answer = ScriptedReply | Exception


def bench(by: Rules, *answers: Answer) -> Bench:
    """An engine whose upstream answers in that order; more calls than that fail the test."""
    left: Iterator[Answer] = iter(answers)

    def answer() -> ScriptedReply:
        given = next(left)
        if isinstance(given, Exception):
            raise given
        return given

    made = Bench(answer, by)
    made.engine._rng = lambda: 0.5
    return made


def error(status: int, data: bytes = b'{"error": {"message": "no"}}', **headers: str) -> ScriptedReply:
    told = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return ScriptedReply([data], (*JSON, *told), status)


def reset() -> UpstreamFailure:
    return UpstreamFailure("disconnected", "closed", reached=True)


def attempts(made: Bench) -> list[tuple[str, int | None, str | None]]:
    return [(each["provider"], each["status"], each["reason"]) for each in json.loads(made.record.attempts)]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (lambda: error(429), (429, "Too Many Requests")),
        (lambda: error(529), (529, "error")),
        (reset, (None, "upstream_disconnected")),
        (lambda: UpstreamFailure("connect", "no", reached=False), (None, "upstream_unreachable")),
        (lambda: UpstreamFailure("timeout", "slow", reached=True), (None, "upstream_timeout")),
        (lambda: ScriptedReply([b"half", reset()], JSON, 500), (500, "upstream_disconnected")),
    ],
)
async def test_what_passes_is_sent_again(first: Callable[[], Answer], told: tuple[int | None, str]) -> None:
    """The client sees the success alone; the record has both attempts and is one."""
    made = bench(rules(), first(), ScriptedReply([COMPLETION]))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (200, COMPLETION)
    assert attempts(made) == [("openai", *told), ("openai", 200, None)]
    record = made.record
    assert (record.outcome, record.status, record.input_tokens) == ("ok", 200, 5)
    assert len(made.upstream.sent) == 2
    usages = [each["usage"] for each in json.loads(record.attempts)]
    assert usages[0] is None
    assert usages[1]["output_tokens"] == 7


async def test_the_record_says_when_each_attempt_began_and_how_long_it_took() -> None:
    """In milliseconds from the call's arrival: one after the other, within the call's own time."""
    made = bench(rules(), error(503), ScriptedReply([COMPLETION]))
    await body(await made.handle())
    first, second = json.loads(made.record.attempts)
    assert 0 <= first["at_ms"] <= first["at_ms"] + first["took_ms"] <= second["at_ms"] + 0.001
    assert made.record.duration_ms is not None
    assert second["at_ms"] + second["took_ms"] <= made.record.duration_ms + 0.001
    assert second["took_ms"] > 0


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_does_not_pass_is_the_clients_at_once(status: int) -> None:
    """An error that is not listed goes through as it came."""
    made = bench(rules(Target("claude", "c")), error(status, b"as it is"))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (status, b"as it is")
    assert len(made.upstream.sent) == 1


async def test_rules_without_retry_send_once() -> None:
    """As ever."""
    made = bench(rules(retry=None), error(503, b"busy"))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (503, b"busy")


async def test_a_fallback_of_another_format_answers_in_the_clients() -> None:
    """What Claude says is a chat completion; the marks are those of who answered."""
    made = bench(rules(Target("claude", "claude-x")), error(503), ScriptedReply([MESSAGE]))
    reply = await made.handle(body=ASKS)
    said = orjson.loads(await body(reply))
    assert (said["object"], said["choices"][0]["message"]["content"]) == ("chat.completion", "Hi")
    assert (b"x-interpose-provider", b"claude") in reply.headers
    assert (made.record.provider, made.record.sent_model) == ("claude", "claude-x")
    assert attempts(made) == [("openai", 503, "Service Unavailable"), ("claude", 200, None)]


async def test_a_converted_reply_that_breaks_off_before_the_client_has_any_is_sent_again() -> None:
    """`truncated` in the rules: a whole reply is held until it is whole, so nothing has been said yet."""
    only_claude = rules(retry=Retry(2, frozenset(("truncated",)), 0.001, 1.0))
    route = Route("r", Match(), None, (Target("claude", "c"),), (), only_claude.routes[0].retry)
    by = Rules("test", providers=only_claude.providers, routes=(route,))
    made = bench(by, ScriptedReply([MESSAGE[:90], reset()]), ScriptedReply([MESSAGE]))
    reply = await made.handle(body=ASKS)
    assert reply.status == 200
    await body(reply)
    assert attempts(made) == [("claude", 200, "upstream_disconnected"), ("claude", 200, None)]


async def test_nothing_is_sent_again_once_the_client_has_headers() -> None:
    """A stream that breaks off is truncated, whatever the rules say."""
    on = Retry(5, frozenset(("5xx", "reset", "truncated", "timeout")), 0.001, 1.0)
    made = bench(rules(retry=on), ScriptedReply([b'data: {"choices":[]}\n\n', reset()], SSE))
    reply = await made.handle()
    with pytest.raises(UpstreamFailure):
        await body(reply)
    assert (made.record.outcome, len(made.upstream.sent)) == ("truncated", 1)


async def test_a_used_up_quota_is_asked_for_once_and_by_another_key() -> None:
    """No retry with the same credential; that one rests for the calls that follow."""
    made = bench(rules(pool=KEYS[1:]), error(429, SPENT), ScriptedReply([COMPLETION]), ScriptedReply([COMPLETION]))
    first_key = "KEY_B"  # the dice say the second of two
    await body(await made.handle())
    told = json.loads(made.record.attempts)
    assert [each["credential"] for each in told] == [f"env:{first_key}", "env:KEY_A"]
    assert told[0]["reason"] == "quota used up"
    await body(await made.handle())
    assert made.records[1].credential == "env:KEY_A"


async def test_a_used_up_quota_without_another_way_is_the_clients() -> None:
    """Sent once, and passed on byte for byte."""
    made = bench(rules(), error(429, SPENT))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (429, SPENT)
    assert (made.record.outcome, attempts(made)) == ("error", [("openai", 429, "quota used up")])


async def test_a_wish_beyond_the_longest_pause_is_not_waited_for() -> None:
    """The client is told to come back itself, in the provider's words."""
    made = bench(rules(), error(429, b"later", retry_after="120"))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (429, b"later")
    assert (b"retry-after", b"120") in reply.headers


async def test_when_all_fail_the_client_gets_the_most_useful_error_in_its_own_format() -> None:
    """Claude's 429 with its wish goes before OpenAI's 500, and is told as OpenAI would."""
    busy = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}'
    by = rules(Target("claude", "c"), retry=Retry(2))
    made = bench(by, error(500), error(429, busy, retry_after="30"))
    reply = await made.handle(body=ASKS)
    said = orjson.loads(await body(reply))
    assert (reply.status, said["error"]["message"]) == (429, "Slow down")
    assert (b"retry-after", b"30") in reply.headers
    record = made.record
    assert (record.outcome, record.status, record.provider) == ("error", 429, "claude")
    assert attempts(made) == [
        ("openai", 500, "Internal Server Error"), ("claude", 429, "Too Many Requests")
    ]  # fmt: skip


async def test_a_fallback_that_refuses_the_call_does_not_hide_the_first_failure() -> None:
    """A 401 of a provider that the client never asked for tells it nothing."""
    made = bench(rules(Target("claude", "c")), error(503, b"busy"), error(401))
    reply = await made.handle(body=ASKS)
    assert (reply.status, await body(reply)) == (503, b"busy")
    assert [each[1] for each in attempts(made)] == [503, 401]


async def test_failures_without_a_reply_end_in_one_error_of_ours() -> None:
    """Two resets and a timeout: the 502, and one record."""
    slow = UpstreamFailure("timeout", "too slow", reached=True)
    made = bench(rules(), slow, reset(), reset())
    reply = await made.handle()
    assert reply.status == 502
    assert orjson.loads(await body(reply))["error"]["code"] == "upstream_disconnected"
    assert [each[2] for each in attempts(made)] == ["upstream_timeout", *["upstream_disconnected"] * 2]


async def test_a_client_that_leaves_during_a_pause_ends_it() -> None:
    """The call is aborted with what was tried, and nothing more is sent."""
    made = bench(rules(retry=Retry(3, low=3600, high=7200)), error(503))
    task = asyncio.create_task(made.handle())
    async with asyncio.timeout(10):
        while not made.engine._live or not any(leg.over for leg in next(iter(made.engine._live)).legs):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (made.record.outcome, made.record.status) == ("aborted", None)
    assert attempts(made) == [("openai", 503, "Service Unavailable")]
    assert len(made.upstream.sent) == 1


async def test_a_body_that_streams_is_sent_once() -> None:
    """It is gone when it was sent."""

    async def pieces() -> Any:
        yield b"{}"

    made = bench(rules(), error(503, b"busy"))
    reply = await made.handle(body=pieces())
    assert (reply.status, await body(reply)) == (503, b"busy")


async def test_a_credential_that_cannot_be_had_is_a_reason_to_go_elsewhere() -> None:
    """And if there is no elsewhere, the 503 that it always was."""
    made = bench(rules(Target("claude", "c")), ScriptedReply([MESSAGE]))
    asked = made.resolve

    async def resolve(source: CredentialSource) -> Secret:
        if not made.upstream.sent and not hasattr(resolve, "failed"):
            resolve.failed = True  # type: ignore[attr-defined]
            raise SecretError("the file is gone")
        return await asked(source)

    made.engine._resolve = resolve
    reply = await made.handle(body=ASKS)
    assert reply.status == 200
    await body(reply)
    assert attempts(made) == [("openai", None, "credential_unavailable"), ("claude", 200, None)]


async def test_a_provider_that_keeps_failing_is_left_alone() -> None:
    """Once its circuit is open, a call goes to the fallback at once; without one it is a local 503."""
    by = rules(Target("claude", "c"), retry=Retry(2, low=0.001, high=0.002))
    made = Bench(lambda: error(500), by)
    sent: list[str] = []

    async def send(request: Outgoing) -> ScriptedReply:
        sent.append(request.url.origin.host)
        return error(500) if request.url.origin == OPENAI else ScriptedReply([MESSAGE])

    made.upstream.send = send  # type: ignore[method-assign]
    for _ in range(25):
        await body(await made.handle(body=ASKS))
    assert sent.count("api.openai.com") == 20
    assert sent.count("api.anthropic.com") == 25
    alone = bench(rules(retry=Retry(1)), *(error(500) for _ in range(20)))
    for _ in range(20):
        await body(await alone.handle())
    reply = await alone.handle()
    assert (reply.status, orjson.loads(await body(reply))["error"]["code"]) == (503, "provider_failing")
    assert json.loads(alone.records[-1].attempts)[0]["reason"] == "circuit open"


async def test_retries_are_a_share_of_the_calls() -> None:
    """A provider in trouble gets no multiple of them."""
    made = Bench(lambda: error(429), rules(retry=Retry(10, low=0.0001, high=0.0002)))
    for _ in range(100):
        await body(await made.handle())
    # Ten to begin with, a fifth of a retry a call, and what trickled in meanwhile (the clock ticks 1 ms a look).
    assert 100 + 20 <= len(made.upstream.sent) <= 100 + 10 + 20 + 10
    assert len(made.records) == 100


async def test_an_error_that_is_long_goes_to_the_client_as_it_comes() -> None:
    """Nobody holds a megabyte to try again."""
    long = [b"x" * 40_000, b"y" * 40_000, b"z" * 40_000]
    made = bench(rules(), ScriptedReply([*long], JSON, 503))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (503, b"".join(long))
    assert (made.record.outcome, attempts(made)) == ("error", [("openai", 503, None)])


async def test_what_could_not_take_the_call_stands_in_the_record() -> None:
    """With its reason, before what was tried."""
    by = rules(Target("claude", "c"))
    two = b'{"model": "gpt-4o", "n": 2, "messages": [{"role": "user", "content": "Hi"}]}'
    made = bench(by, ScriptedReply([COMPLETION]))
    await body(await made.handle(body=two))
    assert attempts(made) == [("claude", None, "left out: conversion_impossible"), ("openai", 200, None)]


async def test_a_retry_that_the_budget_refuses_is_charged_to_no_limit() -> None:
    """What is not sent takes nothing of what may be sent."""
    limit = Limit("sent", Match(), None, ("provider",), requests=Rate(1000, 60))
    made = Bench(lambda: error(429), replace(rules(retry=Retry(10, low=0.0001, high=0.0002)), limits=(limit,)))
    for _ in range(20):
        await body(await made.handle())
    await asyncio.gather(*made.engine.gate._settling)
    demand = Demand("sent/requests/provider=openai", "requests", 1000, 1, 60)
    answer = await made.engine.gate._store.peek([demand], made.engine.clock.now())
    # What came to nothing was given back; the last failure of each call, too.
    assert len(made.upstream.sent) > 20
    assert answer.standings[0].remaining == 1000


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (402, b'{"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request"}}'),
        (400, b'{"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to go on."}}'),
        (403, SPENT),
    ],
)
async def test_a_quota_may_be_used_up_by_any_name(status: int, data: bytes) -> None:
    """Not every provider says 429 when money is out: another key or a fallback gets the call all the same."""
    made = bench(rules(pool=KEYS[1:]), error(status, data), ScriptedReply([COMPLETION]))
    assert await body(await made.handle()) == COMPLETION
    assert [each[2] for each in attempts(made)] == ["quota used up", None]
    alone = bench(rules(), error(status, data))
    reply = await alone.handle()
    assert (reply.status, await body(reply)) == (status, data)
    # Rules that let no 429 be sent again mean this one, too.
    strict = bench(rules(retry=Retry(3, frozenset(("5xx",)))), error(status, data))
    assert (await strict.handle()).status == status


async def test_a_key_that_is_refused_is_not_asked_again() -> None:
    """Where the rules list 401, another credential gets the call, and this one no second time."""
    on = Retry(5, frozenset((401,)), 0.001, 0.01)
    made = bench(rules(retry=on, pool=KEYS[1:]), error(401), error(401, b"both"))
    reply = await made.handle()
    assert (reply.status, len(made.upstream.sent)) == (401, 2)


async def test_an_error_of_the_client_that_breaks_off_is_not_sent_again() -> None:
    """Its status says that another send would be refused, too."""
    made = bench(rules(), ScriptedReply([b'{"error"', reset()], JSON, 400))
    reply = await made.handle()
    assert (reply.status, len(made.upstream.sent)) == (502, 1)
    await body(reply)
    assert (made.record.outcome, attempts(made)) == ("error", [("openai", 400, "upstream_disconnected")])
