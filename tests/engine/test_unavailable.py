"""A provider that cannot answer, as the gateway's clients are told of it: by an engine whose upstream is scripted."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from interpose.call import Entrance
from interpose.rules.compiled import Clients, Retry
from interpose.upstream.client import UpstreamFailure

from .test_engine import COMPLETION, OPENAI, SECRET, Bench, ScriptedReply, body
from .test_sending import Answer, attempts, bench, error, reset, rules

OPEN = Clients(required=False)
# One that the gateway lets through: a conversation of no messages would be the client's own fault.
ASKED = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are counted and not waited for."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("interpose.engine.sending.asyncio.sleep", pause)
    return pauses


def gateway(*answers: Answer, retry: Retry | None = None) -> Bench:
    """An engine that asks for no keys, and a provider that answers so."""
    return bench(replace(rules(retry=retry), clients=OPEN), *answers)


async def told(made: Bench, **others: object) -> tuple[int, str, dict[str, str]]:
    """The reply's status, its error's code and its headers."""
    reply = await made.handle(entrance=Entrance.GATEWAY, body=ASKED, **others)
    said = orjson.loads(await body(reply))["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert SECRET not in said["message"]
    return reply.status, said["code"], {name.decode(): value.decode() for name, value in reply.headers}


@pytest.mark.parametrize(
    "fails",
    [
        lambda: error(500),
        lambda: error(502, b"<html>Bad gateway</html>"),
        lambda: error(503),
        lambda: error(529),
        reset,
        lambda: UpstreamFailure("connect", "cannot connect", reached=False),
        lambda: UpstreamFailure("protocol", "no HTTP", reached=True),
    ],
)
async def test_a_provider_that_is_down_is_a_503(fails: Callable[[], Answer], no_pauses: list[float]) -> None:
    """After three attempts with ever longer pauses, whatever it has said, and one record says it all."""
    made = gateway(fails(), fails(), fails())
    status, code, _ = await told(made)
    assert (status, code, len(made.upstream.sent)) == (503, "provider_unavailable", 3)
    assert no_pauses == pytest.approx([0.25, 0.5], abs=0.02)
    assert (made.record.status, made.record.outcome, len(attempts(made))) == (503, "error", 3)


async def test_the_client_is_told_who_is_down_and_not_where() -> None:
    """By the name that the rules have for it; the address is the operator's business."""
    down = [UpstreamFailure("connect", f"cannot connect to {OPENAI}: no", reached=False) for _ in range(3)]
    reply = await gateway(*down).handle(entrance=Entrance.GATEWAY, body=ASKED)
    assert orjson.loads(await body(reply))["error"]["message"] == "cannot connect to openai: no, after 3 attempts."


async def test_a_provider_that_comes_back_answers() -> None:
    """The client sees the success alone."""
    made = gateway(error(503), reset(), ScriptedReply([COMPLETION]))
    reply = await made.handle(entrance=Entrance.GATEWAY, body=ASKED)
    assert (reply.status, await body(reply)) == (200, COMPLETION)


async def test_a_provider_that_points_elsewhere_is_a_503() -> None:
    """No client is sent there, with whatever key."""
    made = gateway(error(302, b"", location="https://elsewhere.test/v1/chat/completions"))
    status, code, headers = await told(made)
    assert (status, code, "location" in headers) == (503, "provider_unavailable", False)
    assert (made.record.status, made.record.outcome, attempts(made)[0][1]) == (503, "error", 302)


async def test_a_provider_that_says_when_is_believed() -> None:
    """One that asks for more patience than a call has is not asked again; the client is told what it has said."""
    made = gateway(error(503, retry_after="120"))
    status, code, headers = await told(made)
    assert (status, code, headers["retry-after"], len(made.upstream.sent)) == (503, "provider_unavailable", "120", 1)


async def test_a_provider_that_is_too_slow_is_a_504() -> None:
    """Slow is not down."""
    slow = [UpstreamFailure("timeout", "no answer within 1 s", reached=True) for _ in range(3)]
    assert (await told(gateway(*slow)))[:2] == (504, "provider_timeout")


async def test_a_providers_own_429_stays_one() -> None:
    """As it said it, after the retries."""
    limited = b'{"error": {"message": "slower", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}'
    made = gateway(*(error(429, limited) for _ in range(3)))
    status, code, _ = await told(made)
    assert (status, code, len(made.upstream.sent)) == (429, "rate_limit_exceeded", 3)


async def test_what_is_wrong_with_the_call_is_the_clients() -> None:
    """A provider's 400 is not sent again, and comes as it was."""
    refused = b'{"error": {"message": "no", "type": "invalid_request_error", "param": "top_p", "code": "x"}}'
    made = gateway(error(400, refused))
    assert (await told(made))[:2] == (400, "x")


async def test_a_credential_that_a_provider_refuses_is_not_the_clients(caplog: pytest.LogCaptureFixture) -> None:
    """Its key is good: it gets no 401, and the log names the credential once."""
    made = gateway(error(401), error(401))
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            status, code, headers = await told(made)
            assert (status, code, headers["x-should-retry"]) == (503, "provider_unavailable", "false")
    assert [record.message for record in caplog.records] == [
        "the provider openai refuses the credential env:KEY_A (401)"
    ]


@pytest.mark.parametrize(("failure", "sent"), [(lambda: error(503), 1), (lambda: error(429), 3)])
async def test_what_may_have_been_done_is_not_done_twice(failure: Callable[[], Answer], sent: int) -> None:
    """A batch that a provider may have begun is not sent again; one that it has not listened to is."""
    made = gateway(*(failure() for _ in range(sent)))
    call = made.call()
    batch = replace(call.url, target="/v1/batches")
    reply = await made.handle(entrance=Entrance.GATEWAY, url=batch, body=b'{"endpoint": "/v1/chat/completions"}')
    await body(reply)
    assert len(made.upstream.sent) == sent


async def test_a_route_says_otherwise() -> None:
    """Its own `retry` is all there is."""
    made = gateway(error(503), retry=Retry(attempts=1))
    assert (await told(made))[:2] == (503, "provider_unavailable")
    assert [each["status"] for each in json.loads(made.record.attempts)] == [503]


async def test_one_that_keeps_failing_is_left_alone() -> None:
    """Its clients are told when it is tried again."""
    made = gateway(*(error(503) for _ in range(100)))
    for _ in range(20):
        await told(made)
    sent = len(made.upstream.sent)
    status, code, headers = await told(made)
    assert len(made.upstream.sent) == sent
    assert (status, code, int(headers["retry-after"]) >= 1) == (503, "provider_unavailable", True)


async def test_at_interception_a_client_talks_to_its_provider() -> None:
    """What that has said comes as it was, and once."""
    made = gateway(error(503, b"busy"))
    reply = await made.handle()
    assert (reply.status, await body(reply)) == (503, b"busy")
