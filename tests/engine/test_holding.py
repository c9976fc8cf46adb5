"""`hold: content`: what fails before there is any content is no reply. By an engine whose upstream is scripted."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from interpose.attempts.breaker import State
from interpose.attempts.lanes import Lane
from interpose.call import Url
from interpose.engine.preamble import LIMIT
from interpose.rules.compiled import Retry, Rules, Target, Timeouts
from interpose.upstream.client import UpstreamFailure

from .test_engine import COMPLETION, OPENAI, SSE, Bench, ScriptedReply, body
from .test_sending import ASKS, KEYS, QUICK, attempts, bench, error, reset, rules

STREAMS = b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
GOOD = (ROLE, WORD, END)


def told(message: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"error": {"message": message, **fields}}) + b"\n\n"


START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"c","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}\n\nevent: ping\ndata: {"type":"ping"}\n\n'
)
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
SAYS = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


def stream(*pieces: bytes | Exception) -> ScriptedReply:
    return ScriptedReply(list(pieces), SSE)


def holding(*fallback: Target, retry: Retry | None = QUICK, first: str = "openai") -> Rules:
    made = rules(*fallback, retry=retry)
    return replace(made, routes=(replace(made.routes[0], hold=True, targets=(Target(first),)),))


BAD: dict[str, tuple[Callable[[], ScriptedReply], str]] = {
    "an error event": (lambda: stream(ROLE, told("Busy", type="server_error")), "before any content: server_error"),
    "an error at once": (lambda: stream(told("Busy", code=503)), "before any content: 503"),
    "an error behind content in one piece": (
        lambda: stream(ROLE + WORD + told("Busy", type="server_error")),
        "before any content: server_error",
    ),
    "a document": (
        lambda: stream(b'{"error": {"message": "Busy", "type": "server_error"}}'),
        "before any content: server_error",
    ),
    "it breaks off": (lambda: stream(ROLE, reset()), "upstream_disconnected"),
    "it ends": (lambda: stream(ROLE), "upstream_disconnected"),
    "it ends inside an event": (lambda: stream(ROLE, WORD[:40]), "upstream_disconnected"),
    "nothing": (stream, "upstream_disconnected"),
    "comments alone": (lambda: stream(b": ping\n\n", b": ping\n\n"), "upstream_disconnected"),
    "it falls silent": (
        lambda: stream(ROLE, UpstreamFailure("timeout", "silent", reached=True)),
        "upstream_timeout",
    ),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
async def test_a_stream_that_fails_before_its_content_is_sent_again(
    bad: Callable[[], ScriptedReply], reason: str
) -> None:
    """The client has the second one alone, byte for byte; the record has both and is one."""
    made = bench(holding(), bad(), stream(*GOOD))
    reply = await made.handle(body=STREAMS)
    assert (reply.status, reply.stream, await body(reply)) == (200, True, b"".join(GOOD))
    assert attempts(made) == [("openai", 200, reason), ("openai", 200, None)]
    assert (made.record.outcome, made.record.status) == ("ok", 200)


async def test_without_hold_the_first_word_is_the_last() -> None:
    """What the rules do not ask for is not done: an error in a stream goes through."""
    busy = (ROLE, told("Busy"))
    made = bench(rules(), stream(*busy))
    reply = await made.handle(body=STREAMS)
    assert await body(reply) == b"".join(busy)
    assert (made.record.outcome, len(made.upstream.sent)) == ("error", 1)


async def test_a_stream_is_released_with_its_first_content_and_goes_on_as_it_comes() -> None:
    """Piece by piece, as the provider cut it; a failure after that is the client's."""
    made = bench(holding(), stream(ROLE[:30], ROLE[30:], WORD, END, reset()))
    reply = await made.handle(body=STREAMS)
    pieces = [await anext(reply.body) for _ in range(4)]
    with pytest.raises(UpstreamFailure):
        await anext(reply.body)
    assert pieces == [ROLE[:30], ROLE[30:], WORD, END]
    assert (made.record.outcome, len(made.upstream.sent)) == ("truncated", 1)


async def test_an_empty_answer_is_an_answer() -> None:
    """A stream that ends as its format does has nothing to say, and is not asked again."""
    made = bench(holding(), stream(ROLE, END))
    reply = await made.handle(body=STREAMS)
    assert await body(reply) == ROLE + END
    assert (made.record.outcome, len(made.upstream.sent)) == ("ok", 1)


async def test_claude_is_overloaded_behind_its_200_and_the_other_answers() -> None:
    """Anthropic's `overloaded_error` in a stream: what the fallback says reaches the client in its own format, once."""
    by = holding(Target("openai"), first="claude")
    made = bench(by, stream(START, OVERLOADED), stream(*GOOD))
    reply = await made.handle(body=STREAMS)
    assert (reply.status, await body(reply)) == (200, b"".join(GOOD))
    assert attempts(made) == [("claude", 200, "before any content: overloaded_error"), ("openai", 200, None)]
    # What it said that it used stands there.
    assert json.loads(made.record.attempts)[0]["usage"] == {"input_tokens": 9, "output_tokens": 1}


async def test_a_converted_stream_is_withheld_as_well() -> None:
    """Its first piece of content comes with all that was before, converted."""
    made = bench(holding(Target("claude", "c")), error(503), stream(START, *SAYS))
    reply = await made.handle(body=STREAMS)
    said = await body(reply)
    assert said.count(b'"content":"Hi"') == 1
    assert said.endswith(b"data: [DONE]\n\n")
    assert (made.record.outcome, made.record.output_tokens) == ("ok", 2)


async def test_a_whole_reply_that_is_an_error_is_sent_again() -> None:
    """A gateway's 200 with an error in its body is no answer; nor is one that ends before it has begun."""
    busy = ScriptedReply([b'{"error": {"message": "Busy", "type": "overloaded", "code": 503}}'])
    made = bench(holding(), busy, ScriptedReply([]), ScriptedReply([COMPLETION]))
    reply = await made.handle(body=ASKS)
    assert await body(reply) == COMPLETION
    assert attempts(made) == [
        ("openai", 200, "before any content: overloaded"), ("openai", 200, "upstream_disconnected"),
        ("openai", 200, None)
    ]  # fmt: skip


async def test_a_whole_reply_that_cannot_be_converted_is_sent_elsewhere() -> None:
    """A 200 of nonsense is as good as a 502, with `hold` or without."""
    for by in (holding(Target("openai"), first="claude"), rules(Target("claude", "c"))):
        first = by.routes[0].targets[0].provider
        answers = (ScriptedReply([b"<html>"]), ScriptedReply([COMPLETION]))
        made = bench(by, *(answers if first == "claude" else (error(503), ScriptedReply([b"<html>"]), *answers[1:])))
        reply = await made.handle(body=ASKS)
        assert await body(reply) == COMPLETION
        assert ("claude", 200, "upstream_reply_malformed") in attempts(made)


async def test_what_is_no_answer_of_a_model_is_not_judged() -> None:
    """A list that holds an error of something else goes through, and is not waited for."""
    listed = [b'{"error": {"message": "of an old job"}}']
    made = bench(holding(), ScriptedReply([*listed]))
    reply = await made.handle(body=b"{}", url=Url(OPENAI, "/v1/fine_tuning/jobs/j"))
    assert await body(reply) == b"".join(listed)
    assert len(made.upstream.sent) == 1


async def test_an_error_that_nobody_asked_to_send_again_goes_through_as_it_came() -> None:
    """A request that the provider refuses in its stream is refused by the next one too."""
    refused = (ROLE, told("No such field", code=400), b"data: [DONE]\n\n")
    made = bench(holding(Target("claude", "c")), stream(*refused))
    reply = await made.handle(body=STREAMS)
    assert (reply.status, await body(reply)) == (200, b"".join(refused))
    assert (made.record.outcome, len(made.upstream.sent)) == ("error", 1)


async def test_a_used_up_quota_in_a_stream_is_asked_for_once() -> None:
    """As with a 429, the credential rests."""
    made = bench(holding(), stream(told("No money", code="insufficient_quota")))
    reply = await made.handle(body=STREAMS)
    assert b"insufficient_quota" in await body(reply)
    assert attempts(made) == [("openai", 200, "quota used up")]
    assert made.engine.inforce.lanes.resting(Lane("openai", KEYS[0])) > 500


async def test_when_all_fail_the_client_gets_one_error_and_no_piece_of_another() -> None:
    """The most useful one: the provider's own, as it came; of connections that broke, a 502 of ours."""
    busy = told("Slow down", code=429)
    limited = ScriptedReply([ROLE, busy], (*SSE, (b"content-length", b"999")))
    made = bench(holding(), stream(ROLE, reset()), limited, error(500))
    reply = await made.handle(body=STREAMS)
    assert await body(reply) == ROLE + busy
    assert b"content-length" not in dict(reply.headers)
    assert (made.record.outcome, len(attempts(made))) == ("error", 3)
    broken = bench(holding(), *(stream(ROLE, reset()) for _ in range(3)))
    reply = await broken.handle(body=STREAMS)
    assert (reply.status, orjson.loads(await body(reply))["error"]["code"]) == (502, "upstream_disconnected")
    assert broken.record.outcome == "error"


async def test_a_wish_to_wait_in_the_head_of_such_a_stream_is_obeyed() -> None:
    """As with a 429: beyond the longest pause it is not asked again."""
    later = ScriptedReply([told("Later", code=429)], (*SSE, (b"retry-after", b"120")))
    made = bench(holding(), later)
    reply = await made.handle(body=STREAMS)
    assert b"Later" in await body(reply)
    assert len(made.upstream.sent) == 1


async def test_no_more_than_a_bound_is_withheld() -> None:
    """Events without content beyond it are let go as they are."""
    pings = [b": " + b"x" * 65_533 + b"\n"] * (LIMIT // 65_536 + 2)
    made = bench(holding(), stream(*pings, reset()))
    reply = await made.handle(body=STREAMS)
    with pytest.raises(UpstreamFailure):
        await body(reply)
    assert (made.record.outcome, len(made.upstream.sent)) == ("truncated", 1)


class Pausing(ScriptedReply):
    """Says its pieces, then nothing until it is told to go on."""

    def __init__(self, pieces: list[bytes | Exception], after: list[bytes | Exception]) -> None:
        super().__init__(pieces, SSE)
        self.go_on = asyncio.Event()
        self.silent = asyncio.Event()
        self._after = after

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            if not self._after:
                raise
        self.silent.set()
        await self.go_on.wait()
        self._chunks, self._after = iter(self._after), []
        return await super().__anext__()


async def test_after_first_byte_it_is_let_go() -> None:
    """A model that thinks in silence is waited for by the client itself, as without `hold`."""
    by = holding()
    hurried = replace(by.providers["openai"], timeouts=Timeouts(first_byte=0.01))
    by = replace(by, providers=MappingProxyType({**by.providers, "openai": hurried}))
    thinks = Pausing([ROLE], [WORD, END])
    made = bench(by, thinks)
    reply = await made.handle(body=STREAMS)
    assert not thinks.go_on.is_set()
    thinks.go_on.set()
    assert await body(reply) == b"".join(GOOD)
    assert len(made.upstream.sent) == 1


async def test_a_client_that_leaves_meanwhile_ends_it() -> None:
    """The provider is hung up on, and the record says what was told."""
    thinks = Pausing([START], [OVERLOADED])
    made = bench(holding(first="claude"), thinks)
    task = asyncio.create_task(made.handle(body=STREAMS))
    await thinks.silent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert thinks.closed
    record = made.record
    assert (record.outcome, record.status, record.input_tokens) == ("aborted", None, 9)
    assert attempts(made) == [("claude", 200, None)]


async def test_a_compressed_stream_is_looked_into_and_goes_through_as_it_came() -> None:
    """Both the good one and the bad one before it."""
    zipped = (*SSE, (b"content-encoding", b"gzip"))
    bad = gzip.compress(ROLE + told("Busy", code=503))
    good = gzip.compress(b"".join(GOOD))
    made = bench(holding(), ScriptedReply([bad], zipped), ScriptedReply([good[:20], good[20:]], zipped))
    reply = await made.handle(body=STREAMS)
    assert await body(reply) == good
    assert attempts(made)[0][2] == "before any content: 503"


async def test_the_breaker_counts_what_failed_behind_a_200() -> None:
    """Twenty overloaded streams open the circuit as twenty 529s would."""
    made = Bench(lambda: stream(START, OVERLOADED), holding(first="claude", retry=Retry(1)))
    for _ in range(20):
        await body(await made.handle(body=STREAMS))
    assert made.engine.inforce.lanes[Lane("claude", KEYS[0])].breaker.state is State.OPEN
    reply = await made.handle(body=STREAMS)
    assert reply.status == 503
    seconds = dict(reply.headers)[b"retry-after"]
    assert 1 <= int(seconds) <= 6


async def test_a_body_that_streams_is_not_withheld() -> None:
    """There is no second send to wait for."""

    async def pieces() -> Any:
        yield STREAMS

    made = bench(holding(), stream(ROLE, reset()))
    reply = await made.handle(body=pieces())
    assert reply.status == 200
    with pytest.raises(UpstreamFailure):
        await body(reply)


async def test_truncated_alone_is_enough_to_send_again() -> None:
    """A reply that broke off before its content is both: none, and one that broke off."""
    only = Retry(3, frozenset(("truncated",)), 0.001, 1.0)
    made = bench(holding(retry=only), stream(ROLE, reset()), stream(*GOOD))
    assert await body(await made.handle(body=STREAMS)) == b"".join(GOOD)
    neither = Retry(3, frozenset((429,)), 0.001, 1.0)
    made = bench(holding(retry=neither), stream(ROLE, reset()))
    assert (await made.handle(body=STREAMS)).status == 502
