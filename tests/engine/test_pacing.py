"""What the engine learns of how fast and busy its providers are, from what really passes."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import orjson
import pytest
from tests.engine.test_engine import COMPLETION, JSON, SSE, Bench, ScriptedReply, body

from interpose.attempts.pace import SLOW, Way
from interpose.call import Origin, Url
from interpose.rules.compiled import Provider, Rules
from interpose.upstream.client import UpstreamFailure

CLAUDE = Origin("https", "api.anthropic.com", 443)
OPENAI = Origin("https", "api.openai.com", 443)
ASKS = orjson.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "stream": True})
WHOLE = b'{"model": "m", "messages": []}'
BUSY = b'{"error": {"message": "busy", "type": "server_error"}}'


def event(kind: str, **more: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **more}) + b"\n\n"


START = event("message_start", message={"id": "m", "type": "message", "role": "assistant", "content": []})
PING = event("ping")
WORDS = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
STOP = event("message_stop")
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def claude(answer: Callable[[], ScriptedReply]) -> Bench:
    provider = Provider("claude", "anthropic", None, CLAUDE, "")
    return Bench(answer, Rules("test", providers=MappingProxyType({"claude": provider})))


CALL: dict[str, object] = {
    "url": Url(CLAUDE, "/v1/messages"),
    "headers": ((b"Host", b"api.anthropic.com"), (b"x-api-key", b"sk-own-fake")),
    "body": ASKS,
}
TO_CLAUDE = Way("claude", "m", "chat", stream=True)


async def test_what_a_stream_begins_with_is_no_content() -> None:
    """Claude's message_start and pings come at once, however long its words take."""
    bench = claude(lambda: ScriptedReply([START, PING, WORDS, STOP], SSE))
    reply = await bench.handle(**CALL)
    seen = []
    async for _ in reply.body:
        standing = bench.engine._paces.standing(TO_CLAUDE)
        seen.append((standing.expected is not None, standing.waiting, standing.busy))
    assert seen == [(False, 1, 1), (False, 1, 1), (True, 0, 1), (True, 0, 1)]
    standing = bench.engine._paces.standing(TO_CLAUDE)
    assert (standing.waiting, standing.busy) == (0, 0)
    assert standing.expected is not None
    assert standing.expected < 1


async def test_an_error_in_the_place_of_content_is_slow() -> None:
    """It came quickly, under a good status."""
    bench = claude(lambda: ScriptedReply([START, OVERLOADED], SSE))
    await body(await bench.handle(**CALL))
    assert bench.record.outcome == "error"
    assert bench.engine._paces.standing(TO_CLAUDE).expected == pytest.approx(SLOW, rel=0.01)


@pytest.mark.parametrize(
    ("answer", "slow"),
    [
        (lambda: ScriptedReply([COMPLETION], JSON), False),
        (lambda: ScriptedReply([BUSY], JSON, 503), True),
        (lambda: ScriptedReply([BUSY], JSON, 429), True),
        (lambda: ScriptedReply([BUSY], JSON, 404), None),
    ],
)
async def test_what_is_learned_of_a_whole_reply(answer: Callable[[], ScriptedReply], slow: bool | None) -> None:
    """Of a call that is sent once and passed through, too."""
    provider = Provider("openai", "openai", None, OPENAI, "/v1")
    bench = Bench(answer, Rules("test", providers=MappingProxyType({"openai": provider})))
    await body(await bench.handle(body=WHOLE))
    standing = bench.engine._paces.standing(Way("openai", "m", "chat", stream=False))
    assert (standing.waiting, standing.busy) == (0, 0)
    assert (None if standing.expected is None else standing.expected > SLOW / 2) == slow


async def test_a_provider_that_cannot_be_reached_is_slow() -> None:
    """And nothing of it stays in flight."""

    def unreachable() -> ScriptedReply:
        raise UpstreamFailure("connect", "no", reached=False)

    bench = claude(unreachable)
    await body(await bench.handle(**CALL))
    standing = bench.engine._paces.standing(TO_CLAUDE)
    assert (standing.expected, standing.busy) == (pytest.approx(SLOW, rel=0.01), 0)


async def test_a_client_that_leaves_before_anything_came_tells_nothing_new() -> None:
    """Nor does its call stay in flight."""
    bench = claude(lambda: ScriptedReply([START, WORDS, STOP], SSE))
    reply = await bench.handle(**CALL)
    await reply.body.aclose()
    standing = bench.engine._paces.standing(TO_CLAUDE)
    assert (standing.expected, standing.waiting, standing.busy) == (None, 0, 0)
